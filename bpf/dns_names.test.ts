// The recorded cases of names and patterns, judged by the kernel: each as the only DNS rule, asked for by a packet. Then many at once. Names
// that no packet can bear walk the same rows in user space.
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { readCases, type FqdnCase } from '../agent/policy/cases.ts';
import { fqdnMatcher, fqdnSelector } from '../agent/policy/fqdn.ts';
import { PolicyReconciler } from '../agent/policy/reconciler.ts';
import { Bench } from './testing/bench.ts';
import { query } from './testing/dns.ts';
import { ends, families, imageOf, prefixes } from './testing/dns-world.ts';
import { frame } from './testing/packet.ts';
import { dns_counter } from './types.gen.ts';

let bench: Bench;
let policy: PolicyReconciler;
beforeAll(() => {
  bench = new Bench();
  policy = new PolicyReconciler(bench.datapath);
});
afterAll(() => { bench.close(); });

const [f] = families;
const rule = (items: readonly object[]): string => `- toEndpoints: [{matchLabels: {app: dns}}]\n  toPorts: [{ports: [{port: "53", protocol: UDP}], rules: {dns: ${JSON.stringify(items)}}}]\n`;
let port = 20_000;
function isSent(name: string): boolean {
  port = port > 60_000 ? 20_000 : port + 1;
  const refused = (): bigint => bench.datapath.dns.counter(dns_counter.DNS_COUNT_REFUSED);
  const before = refused();
  const { verdict } = bench.run('from_workload', frame().ip(f.own, f.dns).udp(port, 53, query({ name })).bytes());
  expect([name, verdict]).toEqual([name, 'redirect']);
  return refused() === before;
}
/** The wire has neither an empty label nor a name without its final dot. */
const isOnWire = (name: string): boolean => name.endsWith('.') && (name === '.' || (!name.startsWith('.') && !name.includes('..')));

const cases = readCases<FqdnCase & { matches: boolean }>(join(import.meta.dirname, '..', 'agent', 'policy', 'testdata', 'fqdn.jsonl'));
const [onWire, offWire] = [cases.filter(({ qname }) => isOnWire(qname)), cases.filter(({ qname }) => !isOnWire(qname))];
const apply = async ({ matchName, matchPattern }: FqdnCase): Promise<void> => {
  await policy.apply(imageOf(rule([matchName === undefined ? { matchPattern } : { matchName }])), prefixes, ends);
};

test('fqdn.jsonl: 57 cases by packets, 5 by rows', () => { expect([onWire.length, offWire.length]).toEqual([57, 5]); });

test.each(onWire)('fqdn.jsonl: $id: $qname', async (one) => {
  await apply(one);
  expect(isSent(one.qname)).toBe(one.matches);
});

test.each(offWire)('fqdn.jsonl: $id: "$qname", which no packet can bear', async (one) => {
  await apply(one);
  expect(policy.dns.matching(one.qname).length > 0).toBe(one.matches);
});

test('patterns and names at random, all of a policy at once', async () => {
  let state = 7;
  const below = (limit: number): number => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * limit);
  };
  const label = (letters: string): string => Array.from({ length: 1 + below(3) }, () => letters[below(letters.length)]).join('');
  const name = (letters: string): string => Array.from({ length: 1 + below(3) }, () => label(letters)).join('.');
  for (let round = 0; round < 20; round += 1) {
    const items = Array.from({ length: 6 }, () => (below(3) === 0 ? { matchName: name('ab-') } : { matchPattern: `${below(4) === 0 ? '**.' : ''}${name('ab*')}` }));
    const matchers = items.map((item) => fqdnMatcher(fqdnSelector(item)));
    await policy.apply(imageOf(rule(items)), prefixes, ends);
    for (let index = 0; index < 100; index += 1) {
      const asked = `${name('ab-')}.`;
      expect([round, JSON.stringify(items), asked, isSent(asked)]).toEqual([round, JSON.stringify(items), asked, matchers.some((matches) => matches(asked))]);
    }
  }
}, 120_000);
