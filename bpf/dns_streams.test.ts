// Streams through the proxy of DNS by TCP, broken ones among them: nothing is forwarded that the kernel has not allowed. Those that once did harm, and
// random ones; `npm run fuzz -- dns-tcp --minutes N` goes on for longer.
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { framed } from '../agent/names/server/upstream.ts';
import { stepsOf } from './testing/dns-steps.ts';
import { dnsStreams, type Step, type Streams } from './testing/dns-streams.ts';
import { address, answer, query } from './testing/dns.ts';

let streams: Streams;
beforeAll(async () => { streams = await dnsStreams(); });
afterAll(async () => { await streams.close(); });

const name = 'www.example.test';
const asks = (times = 1, of = name): Step => ({ kind: 'client', bytes: Buffer.concat(Array.from({ length: times }, (_, id) => framed(query({ id, name: of })))).toString('hex') });
const answers = (message: Buffer, cut = 1): Step => ({ kind: 'answer', of: 0, bytes: message.toString('hex'), cut });
const whole = answer({ name, answers: [address('203.0.113.9'), address('2001:db8:9::9')] });
const long: Step = { kind: 'client', bytes: framed(query({ name, tail: Buffer.alloc(4_096) })).toString('hex') };

const rows: readonly { name: string; steps: readonly Step[]; sees: Partial<Streams['seen']> }[] = [
  { name: 'a query of more than a page', steps: [long, asks(), answers(whole)], sees: { refused: 1, forwarded: 1, answered: 1 } },
  { name: 'no socket to be had', steps: [{ kind: 'no way there' }, asks(40)], sees: { refused: 40, forwarded: 0 } },
  { name: 'an address that is cut short', steps: [asks(), answers(whole.subarray(0, 48))], sees: { refused: 1, answered: 0 } },
  { name: 'refused queries behind which the client ends, more than it reads', steps: [asks(8_000, 'www.example.org'), { kind: 'client ends' }, { kind: 'client reads' }, { kind: 'client reads' }], sees: { refused: 8_000, reset: 0 } },
];

describe.each([{ family: 'IPv4', at: 0 }, { family: 'IPv6', at: 1 }])('$family', ({ at }) => {
  test.each(rows)('$name', ({ steps, sees }) => {
    const before = { ...streams.seen };
    expect(streams.run(steps, at)).toBeUndefined();
    expect(Object.fromEntries(Object.keys(sees).map((key) => [key, streams.seen[key as keyof typeof before] - before[key as keyof typeof before]]))).toEqual(sees);
  });
});

const seeds = process.env['WEIR_SLOWNESS'] === undefined ? 2_000 : 100;
test(`${seeds} random streams`, () => {
  const before = { ...streams.seen };
  for (let seed = 1; seed <= seeds; seed += 1) {
    const fault = streams.run(stepsOf(seed), seed & 1);
    if (fault !== undefined) throw new Error(`seed ${seed}: ${fault}`);
  }
  for (const key of ['forwarded', 'refused', 'answered', 'reset'] as const) expect(streams.seen[key] - before[key]).toBeGreaterThan(seeds / 4);
}, 300_000);
