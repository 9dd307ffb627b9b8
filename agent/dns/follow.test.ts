// What the agent does beside the kernel: records as flows, names that come late, addresses that go, a restart. On loaded programs, without
// workloads.
import { appendFileSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { setImmediate as immediate, setTimeout as sleep } from 'node:timers/promises';
import { Bench, ticksAgo } from '../../bpf/testing/bench.ts';
import { address, answer, query } from '../../bpf/testing/dns.ts';
import { egress, ends, families, imageOf, prefixes } from '../../bpf/testing/dns-world.ts';
import { frame } from '../../bpf/testing/packet.ts';
import { dns_counter, dns_event, dns_limit, type DnsRecord } from '../../bpf/types.gen.ts';
import { Observer } from '../../hubble/observer.ts';
import { endpointTable } from '../endpoint/tables.ts';
import { PolicyReconciler } from '../policy/reconciler.ts';
import { mappedBytes } from '../ipcache/address.ts';
import { DnsCache } from './cache.ts';
import { followDns, type Dns } from './follow.ts';
import { dnsUsageOf, sweepAddresses } from './sweeper.ts';

const [f] = families;
let dir: string;
let bench: Bench;
let policy: PolicyReconciler;
let observer: Observer;
let dns: Dns;
const endpoints = endpointTable();

const begin = (): void => {
  policy = new PolicyReconciler(bench.datapath, join(dir, 'numbers.json'));
  observer = new Observer({ nodeName: 'n', version: '0' });
  dns = followDns({ datapath: bench.datapath, reconciler: policy.dns, endpoints, observer, lookups: observer.entries.lookups, log: (line) => { throw new Error(line); }, savePath: join(dir, 'names.jsonl') });
};
beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'weir-dns-'));
  bench = new Bench();
  endpoints.write(ends);
  begin();
  await policy.apply(imageOf(egress), prefixes, ends);
});
afterEach(async () => {
  await dns.stop();
  bench.close();
  rmSync(dir, { recursive: true });
});

let port = 30_000;
function lookUp(name: string, ...addresses: string[]): void {
  port += 1;
  bench.run('from_workload', frame().ip(f.own, f.dns).udp(port, 53, query({ name })).bytes());
  bench.run('to_workload', frame().ip(f.dns, f.own).udp(53, port, answer({ name, answers: addresses.map((one) => address(one)) })).bytes());
}
const connects = (dport: number): boolean => {
  port += 1;
  return bench.run('from_workload', frame().ip(f.own, f.target).tcp(port, dport, 'S').bytes()).records[0]!.egress.action === 1;
};
const flows = async (count: number): Promise<(string | undefined)[]> => {
  for (let turn = 0; turn < 100 && observer.ring.next < count; turn += 1) await sleep(20);
  return Array.from({ length: observer.ring.next }, (_, number) => observer.entries.flow(number)!.Summary);
};
const expire = (): void => {
  const { addresses } = bench.datapath.dns;
  for (const [key, { source }] of addresses.entries()) addresses.set(key, { source: source.map((one) => (one.selector === 0 ? one : { ...one, expires: ticksAgo(1) })) });
};

test('answers and refusals become flows', async () => {
  lookUp('www.example.test', '203.0.113.9', '2001:db8:9::9');
  lookUp('www.example.org');
  expect(await flows(2)).toEqual(['DNS Answer "203.0.113.9,2001:db8:9::9" TTL: 300 (www.example.test. A)', 'DNS Query www.example.org. A, refused: no rule allows the name']);
  expect(observer.entries.flow(0)).toMatchObject({ verdict: 1, l7: { type: 2, dns: { query: 'www.example.test.', ips: ['203.0.113.9', '2001:db8:9::9'], ttl: 300, rcode: 0, qtypes: ['A'] } }, is_reply: { value: true } });
  expect(observer.entries.flow(1)).toMatchObject({ verdict: 2, l7: { type: 1, dns: { query: 'www.example.org.', ips: [], rcode: 5 } } });
});

test('a pattern that comes later knows what was learned before; one that goes takes it along', async () => {
  lookUp('www.example.test', f.target);
  await flows(1);
  expect([connects(443), connects(8443)]).toEqual([true, false]);
  const late = '- toFQDNs: [{matchPattern: "ww*.example.test"}]\n  toPorts: [{ports: [{port: "8443", protocol: TCP}]}]\n';
  await policy.apply(imageOf(egress + late), prefixes, ends);
  expect([connects(443), connects(8443)]).toEqual([true, true]);
  await policy.apply(imageOf(egress), prefixes, ends);
  expect([connects(443), connects(8443)]).toEqual([true, false]);
});

test('the next agent goes on with what was learned, under the same numbers', async () => {
  lookUp('www.example.test', f.target);
  await dns.stop();
  begin();
  policy.adopt(ends);
  expect(connects(443)).toBe(true);
  await policy.apply(imageOf(egress), prefixes, ends);
  expect(connects(443)).toBe(true);
  lookUp('exact.test', f.target);
  expect(connects(80)).toBe(true);
});

test('the next agent knows the names of addresses, also when this one ends in the middle of a line', async () => {
  lookUp('www.example.test', f.target, '203.0.113.10');
  await flows(1);
  await dns.stop();
  appendFileSync(join(dir, 'names.jsonl'), '[1,1,"half');
  begin();
  policy.adopt(ends);
  expect(dns.cache.namesOf(1, Buffer.from(mappedBytes(f.target)).toString('latin1'))).toEqual(['www.example.test.']);
  const late = '- toFQDNs: [{matchPattern: "ww*.example.test"}]\n  toPorts: [{ports: [{port: "8443", protocol: TCP}]}]\n';
  await policy.apply(imageOf(egress + late), prefixes, ends);
  expect(connects(8443)).toBe(true);
});

test('the file of names is bounded', async () => {
  const cache = new DnsCache(bench.datapath.dns, join(dir, 'many.jsonl'), (line) => { throw new Error(line); });
  const record = { event: dns_event.DNS_ANSWERED, endpoint: 1, type: 1, ttl: 60 } as DnsRecord;
  for (let round = 0; round < 5; round += 1) {
    for (let index = 0; index < 10_000; index += 1) cache.add(record, `n${round}-${index}.test.`, [mappedBytes(f.target)]);
    cache.save();
  }
  const lines = readFileSync(join(dir, 'many.jsonl'), 'utf8').split('\n').length - 1;
  expect(lines).toBe(20_000);
  expect(new DnsCache(bench.datapath.dns, join(dir, 'many.jsonl'), () => undefined).namesOf(1, Buffer.from(mappedBytes(f.target)).toString('latin1'))).toHaveLength(20_000);
});

test('without the numbers nothing of it is believed', async () => {
  lookUp('www.example.test', f.target);
  await dns.stop();
  rmSync(join(dir, 'dns.json'));
  begin();
  policy.adopt(ends);
  expect(connects(443)).toBe(false);
  await policy.apply(imageOf(egress), prefixes, ends);
  lookUp('www.example.test', f.target);
  expect(connects(443)).toBe(true);
});

test('the sweeper takes what is over and in no connection, and what is of nobody', async () => {
  const present = new Set(ends.map(({ id }) => id));
  lookUp('www.example.test', f.target, '203.0.113.10');
  expect(connects(443)).toBe(true);
  expect(await sweepAddresses(bench.datapath, present)).toBe(0);
  expect(dnsUsageOf(bench.datapath, 1).addresses).toBe(2);
  expire();
  expect(await sweepAddresses(bench.datapath, present)).toBe(1);
  expect(dnsUsageOf(bench.datapath, 1).addresses).toBe(1);
  for (const [key] of bench.datapath.conntrack.entries()) bench.datapath.conntrack.delete(key);
  expect([await sweepAddresses(bench.datapath, present), bench.datapath.dns.addresses.entries()]).toEqual([1, []]);
  lookUp('www.example.test', f.target);
  expect([await sweepAddresses(bench.datapath, new Set()), dnsUsageOf(bench.datapath, 1).addresses]).toEqual([1, 0]);
});

test('every endpoint has a share of the table', () => { expect(dnsUsageOf(bench.datapath, 1).quota).toBe(dns_limit.MAX_DNS_ADDRESSES / (ends.length + 1)); });

test('1,000 patterns, changed while others are asked for: never a wrong answer', async () => {
  const many = (from: number): string => `- toFQDNs: [${Array.from({ length: 1_000 }, (_, index) => `{matchPattern: "*.s${(from + index) % 1_500}.test"}`).join(', ')}]\n`;
  const counts = (): bigint[] => [dns_counter.DNS_COUNT_REFUSED, dns_counter.DNS_COUNT_UNASKED].map((which) => bench.datapath.dns.counter(which));
  let pairs = 0n;
  const [refused, unasked] = counts();
  for (let round = 0; round < 5; round += 1) {
    const before = performance.now();
    let done = false;
    const applied = policy.apply(imageOf(egress + many(round * 100)), prefixes, ends).finally(() => { done = true; });
    do {
      lookUp('www.example.test', f.target);
      // Nor does its answer pass.
      lookUp('www.example.org');
      pairs += 1n;
      await immediate();
    } while (!done);
    await applied;
    if (round === 0) console.log(`1,000 patterns in the kernel after ${Math.round(performance.now() - before)} ms`);
  }
  expect(counts()).toEqual([refused! + pairs, unasked! + pairs]);
  console.log(`${2n * pairs} lookups meanwhile`);
  const told = await flows(10);
  expect([told.some((text) => text!.includes('example.test')), told.some((text) => text!.includes('refused'))]).toEqual([true, true]);
});
