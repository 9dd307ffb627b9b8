// Tables for lib/verdict.h itself: which interval, which step, which word, which generation; told by the record of a packet that
// the host sends to the workload (TCP to port P looks for key 6 << 16 | P).
import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { ipcacheKey } from '../agent/ipcache/address.ts';
import { action, ipcache_flag, type Judgement } from './types.gen.ts';
import { Bench, here, type TestStep } from './testing/bench.ts';
import { frame } from './testing/packet.ts';

const a = { ipv4: '10.0.0.1', ipv6: 'fd00::1', mac: '02:00:00:00:00:01' };
const host = '10.0.0.254';
const allow = action.ACTION_ALLOW;
const deny = action.ACTION_DENY;
const defaultDeny = action.ACTION_DEFAULT_DENY;
const tcp = 6 * 65536;

let bench: Bench;
let policies = 0;
let port = 1000;
beforeAll(() => { bench = new Bench(); });
afterAll(() => { bench.close(); });
beforeEach(() => {
  bench.datapath.control.set(0, { generation: 10 });
  bench.prefix(`${host}/32`, 1, { flags: ipcache_flag.IPCACHE_HOST, classId: 2 });
  for (const classId of [0, 2, 3]) for (let word = 0; word < 8; word += 1) setWord(classId, word, 0n);
});

/** The workload's ingress judgement of a first TCP packet. */
function judged(to: number, policy: number): Judgement {
  bench.endpoint({ ifindex: here, ...a, ingress: policy });
  return judgedAsIs(to);
}
function judgedAsIs(to: number): Judgement {
  port += 1;
  return bench.run('to_workload', frame().ip(host, a.ipv4).tcp(port, to, 'S').bytes()).records[0]!.ingress;
}
const setWord = (classId: number, word: number, value: bigint): void => { bench.classWord(classId, word, value); };

describe('the interval', () => {
  /** Bounds 0, then TCP port 1, 11, 21 ...: each interval has its number's parity as its answer. */
  const policyOf = (count: number): number => {
    policies += 1;
    setWord(2, 0, 1n);
    bench.policy(policies, { defaultAction: defaultDeny, intervals: Array.from({ length: count }, (_, index) => ({
      lower: index === 0 ? 0 : tcp + (index - 1) * 10 + 1, steps: [{ mask: 1n, action: index % 2 === 0 ? allow : deny }],
    })) });
    return policies;
  };
  const expected = (to: number, count: number): number => Math.min(count - 1, to < 1 ? 0 : Math.floor((to - 1) / 10) + 1);

  test.each([1, 2, 3, 10, 11, 12, 17, 18, 186, 187, 188, 289, 290, 1000, 3178, 3179, 3180, 4914, 6500])('%i intervals: every bound, one below and one above', (count) => {
    const policy = policyOf(count);
    const picked = [...new Set([1, 2, 3, Math.floor(count / 2), Math.floor(count / 2) + 1, count - 2, count - 1])].filter((index) => index >= 1);
    const ports = [0, 65_535, ...picked.flatMap((index) => [(index - 1) * 10, (index - 1) * 10 + 1, (index - 1) * 10 + 2])].filter((to) => to >= 0 && to <= 65_535);
    for (const to of ports) {
      const { interval, action: found, policy: by } = judged(to, policy);
      expect([to, interval, found, by]).toEqual([to, expected(to, count), expected(to, count) % 2 === 0 ? allow : deny, policy]);
    }
  });

  test('a policy that is not there', () => {
    policies += 1;
    expect(judged(80, policies).action).toBe(defaultDeny);
    expect(judged(80, 4000).action).toBe(defaultDeny);
    expect(judged(80, 1_000_000).action).toBe(defaultDeny);
  });

  test('policy 0: the direction is not enforced', () => {
    expect(judged(80, 0)).toMatchObject({ policy: 0, action: action.ACTION_NONE });
  });
});

describe('the steps', () => {
  interface Row { readonly name: string; readonly words?: readonly bigint[]; readonly column?: number; readonly classId?: number; readonly defaultAction?: number; readonly steps: readonly TestStep[]; readonly found: { action: number; bits?: bigint; word?: number } }
  const high = 1n << 63n;
  const rows: readonly Row[] = [
    { name: 'no step (NO_STEP): the default, allow', defaultAction: allow, steps: [], found: { action: allow } },
    { name: 'no step (NO_STEP): the default, deny', steps: [], found: { action: defaultDeny } },
    { name: 'no bit in common: the default, allow', words: [2n], defaultAction: allow, steps: [{ mask: 1n, action: deny }], found: { action: allow } },
    { name: 'no bit in common: the default, deny', words: [2n], steps: [{ mask: 1n, action: allow }], found: { action: defaultDeny } },
    { name: 'all common bits are told, no others', words: [0b1110n], steps: [{ mask: 0b0111n, action: allow }], found: { action: allow, bits: 0b0110n } },
    { name: 'bit 63', words: [high], steps: [{ mask: high, action: allow }], found: { action: allow, bits: high } },
    { name: 'the first step that matches decides: deny', words: [3n], steps: [{ mask: 1n, action: deny }, { mask: 2n, action: allow }], found: { action: deny, bits: 1n } },
    { name: 'the first step that matches decides: allow', words: [3n], steps: [{ mask: 2n, action: allow }, { mask: 1n, action: deny }], found: { action: allow, bits: 2n } },
    { name: 'a later step', words: [4n], steps: [{ mask: 1n, action: deny }, { mask: 2n, action: deny }, { mask: 4n, action: allow }], found: { action: allow, bits: 4n } },
    { name: 'a word above 0', words: [0n, 0n, 8n], steps: [{ mask: 8n, action: deny }, { mask: 8n, word: 2, action: allow }], found: { action: allow, bits: 8n, word: 2 } },
    { name: 'the last word of a row', words: [...new Array<bigint>(255).fill(0n), 1n], steps: [{ mask: 1n, word: 255, action: allow }], found: { action: allow, bits: 1n, word: 255 } },
    { name: 'a column: words count from there', words: [1n, 0n, 0n, 16n], column: 3, steps: [{ mask: 1n, action: deny }, { mask: 16n, action: allow }], found: { action: allow, bits: 16n } },
    { name: 'a column and a word', words: [0n, 0n, 0n, 0n, 32n], column: 3, steps: [{ mask: 32n, word: 1, action: allow }], found: { action: allow, bits: 32n, word: 1 } },
    { name: 'class 0', classId: 0, words: [64n], steps: [{ mask: 64n, action: allow }], found: { action: allow, bits: 64n } },
    { name: 'class 3', classId: 3, words: [64n], steps: [{ mask: 64n, action: allow }], found: { action: allow, bits: 64n } },
    { name: 'the last of 32 steps', words: [1n], steps: [...new Array<TestStep>(31).fill({ mask: 2n, action: deny }), { mask: 1n, action: allow }], found: { action: allow, bits: 1n } },
    { name: 'a 33rd step is out of reach', words: [1n], steps: [...new Array<TestStep>(32).fill({ mask: 2n, action: deny }), { mask: 1n, action: allow }], found: { action: defaultDeny } },
  ];

  test.each(rows.map((row) => [row.name, row] as const))('%s', (_, row) => {
    const classId = row.classId ?? 2;
    bench.prefix(`${host}/32`, 1, { flags: ipcache_flag.IPCACHE_HOST, classId });
    row.words?.forEach((value, word) => { setWord(classId, word, value); });
    policies += 1;
    bench.policy(policies, { defaultAction: row.defaultAction ?? defaultDeny, column: row.column ?? 0, intervals: [{ lower: 0, steps: row.steps }] });
    const { action: found, bits, word } = judged(80, policies);
    expect({ action: found, bits, word }).toEqual({ bits: 0n, word: 0, ...row.found });
  });

  test('a step does not run on into the next interval', () => {
    setWord(2, 0, 1n);
    policies += 1;
    bench.policy(policies, { defaultAction: defaultDeny, intervals: [{ lower: 0, steps: [{ mask: 2n, action: deny }] }, { lower: tcp + 80, steps: [{ mask: 1n, action: allow }] }] });
    expect([judged(79, policies).action, judged(80, policies).action]).toEqual([defaultDeny, allow]);
  });
});

describe('the generation', () => {
  const top = 2 ** 32;
  const rows: readonly { name: string; generation: number; since: number; now: boolean }[] = [
    { name: 'since long ago', generation: 10, since: 0, now: true },
    { name: 'since the one before', generation: 10, since: 9, now: true },
    { name: 'since now', generation: 10, since: 10, now: true },
    { name: 'from the next one on', generation: 10, since: 11, now: false },
    { name: 'far in the future', generation: 10, since: 10 + 2 ** 31 - 1, now: false },
    { name: 'across 2^32: since before the wrap', generation: 1, since: top - 2, now: true },
    { name: 'across 2^32: from after the wrap on', generation: top - 2, since: 1, now: false },
    { name: 'at 2^32 - 1, from 0 on', generation: top - 1, since: 0, now: false },
    { name: 'at 0, since 2^32 - 1', generation: 0, since: top - 1, now: true },
    { name: 'around 2^31: since below it', generation: 2 ** 31 + 1, since: 2 ** 31 - 1, now: true },
    { name: 'around 2^31: from above it on', generation: 2 ** 31 - 1, since: 2 ** 31 + 1, now: false },
  ];
  let before = 0;
  let after = 0;
  beforeAll(() => {
    [before, after] = [policies + 1, policies + 2];
    policies += 2;
    for (const policy of [before, after]) bench.policy(policy, { defaultAction: defaultDeny, intervals: [{ lower: 0, steps: [{ mask: 1n, action: allow }] }] });
  });

  test.each(rows.map((row) => [row.name, row] as const))('an endpoint row, %s', (_, { generation, since, now }) => {
    bench.endpoint({ ifindex: here, ...a });
    bench.datapath.endpoints.set(here, { ...bench.datapath.endpoints.get(here)!, since, ingress_policy: [before, after] });
    bench.datapath.control.set(0, { generation });
    expect(judgedAsIs(80).policy).toBe(now ? after : before);
  });

  test.each(rows.map((row) => [row.name, row] as const))('an ipcache row, %s', (_, { generation, since, now }) => {
    bench.endpoint({ ifindex: here, ...a, ingress: before });
    setWord(3, 0, 1n);
    const peer = [{ identity: 501, class_id: 2 }, { identity: 502, class_id: 3 }];
    bench.datapath.ipcache.set(ipcacheKey(`${host}/32`), { peer, since, ifindex: 0, flags: ipcache_flag.IPCACHE_HOST, node: { word: new Uint8Array(16) } });
    bench.datapath.control.set(0, { generation });
    port += 1;
    const record = bench.run('to_workload', frame().ip(host, a.ipv4).tcp(port, 80, 'S').bytes()).records[0]!;
    expect([record.source_identity, record.ingress.action, record.generation]).toEqual(now ? [502, allow, generation] : [501, defaultDeny, generation]);
  });
});
