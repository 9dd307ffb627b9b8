// DNS rules for TCP by packets: who gets to the proxy, what it may ask, and what its answers teach. Both families.
import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { whyNoDnsByTcp } from '../agent/dns/maps.ts';
import { frameOf } from '../agent/dns/proxy/kernel.ts';
import { textOf } from '../agent/ipcache/address.ts';
import { testRun } from '../agent/kernel/bpf.ts';
import { openRing, type Ring } from '../agent/kernel/ring.ts';
import { PolicyReconciler } from '../agent/policy/reconciler.ts';
import { Bench, here } from './testing/bench.ts';
import { egress, ends, families, imageOf, prefixes, type Family } from './testing/dns-world.ts';
import { address, answer, query, type Message } from './testing/dns.ts';
import { checksumsHold, fieldsOf, frame } from './testing/packet.ts';
import { marks, proxyMac, proxyPort, standIn, steer } from './testing/proxy.ts';
import { dns_counter, dns_event, dns_limit, dns_said, drop_reason, type DnsRecord } from './types.gen.ts';

let bench: Bench;
let policy: PolicyReconciler;
let ring: Ring;
let port = 30_000;
let hangUp = (): Promise<void> => Promise.resolve();
const apply = async (text = egress): Promise<void> => { await policy.apply(imageOf(text), prefixes, ends); };
beforeAll(async () => {
  bench = new Bench();
  policy = new PolicyReconciler(bench.datapath);
  ring = openRing(bench.datapath.dns.records.fd, dns_limit.DNS_RING_BYTES);
  steer(bench, 5_000);
  hangUp = await standIn(bench, [proxyPort.dns]);
});
afterAll(async () => {
  ring.close();
  await hangUp();
  bench.close();
});
beforeEach(async () => {
  for (const [key] of bench.datapath.dns.addresses.entries()) bench.datapath.dns.addresses.delete(key);
  for (const [key] of bench.datapath.conntrack.entries()) bench.datapath.conntrack.delete(key);
  bench.datapath.dns.usages.setUint32(16, 0, true);
  bench.datapath.dns.usages.setUint32(16 + 4, 1_000, true);
  steer(bench, 5_000);
  await apply();
  records();
});

function records(): DnsRecord[] {
  const found: DnsRecord[] = [];
  const { record } = bench.datapath.dns;
  ring.drain((view, offset, length) => {
    const whole = new Uint8Array(record.size);
    whole.set(new Uint8Array(view.buffer, view.byteOffset + offset, length));
    found.push(record.decode(new DataView(whole.buffer), 0));
  }, 1_000);
  return found;
}
const open = (f: Family, to: string = f.dns, dport = 53) => {
  port += 1;
  return { port, ...bench.run('from_workload', frame().ip(f.own, to).tcp(port, dport, 'S').bytes()) };
};
const connection = (f: Family, own: number, to: string = f.dns) => ({ client: { address: f.own, port: own }, server: { address: to, port: 53 } });
const says = (of: ReturnType<typeof connection>, message: Buffer): number => testRun(bench.datapath.object.programs.get('dns_by_tcp')!, frameOf(of, message, 5n), here).result;
const learned = (): string[] => bench.datapath.dns.addresses.entries().map(([key]) => `${key.endpoint} ${textOf(key.addr.word)}`).sort();
const counted = (which: keyof typeof dns_counter): bigint => bench.datapath.dns.counter(dns_counter[which]);

/** What the proxy asks; it runs from Linux 6.0 on. */
const byProxy = whyNoDnsByTcp() === undefined ? test : test.skip;

describe.each(families)('$family', (f) => {
  test('a connection that DNS rules allow goes up to the proxy', () => {
    const { verdict, mark, packet } = open(f);
    expect([verdict, mark]).toEqual(['redirect', marks.toProxy]);
    expect(fieldsOf(packet)).toMatchObject({ source: f.own, destination: f.dns, dport: 53, dmac: proxyMac.replace(/:/g, '') });
  });

  test('the proxy goes on under the client\'s address, and its egress is judged already', () => {
    open(f);
    const { verdict, records: seen } = bench.run('from_proxy', frame().ip(f.own, f.dns).tcp(50_000, 53, 'S').bytes(), marks.egressDone);
    expect([verdict, seen[0]?.reason]).toEqual(['redirect', 0]);
  });

  test('another port: denied', () => { expect(open(f, f.dns, 54).records[0]!.reason).toBe(drop_reason.DROP_POLICY_DENIED); });

  test('a plain allow beside a DNS rule for UDP alone: no proxy', () => { expect(open(f, f.also).mark).toBe(0); });

  test('nobody listens: a reset', async () => {
    bench.datapath.proxies.set(0, { ...bench.datapath.proxies.get(0)!, dns_port: proxyPort.dns + 1 });
    const { verdict, packet, records: seen } = open(f);
    expect([verdict, seen[0]!.reason, packet[f.family === 'IPv4' ? 47 : 67]! & 4, checksumsHold(packet)]).toEqual(['redirect', drop_reason.DROP_SOCKET_LOOKUP_FAILED, 4, true]);
  });

  test('no proxy at all: dropped', () => {
    bench.datapath.proxies.set(0, { ...bench.datapath.proxies.get(0)!, dns_port: 0 });
    expect(open(f).records[0]!.reason).toBe(drop_reason.DROP_SOCKET_ASSIGN_FAILED);
  });

  const queries: readonly { name: string; of: Message; allowed: boolean; tells?: number }[] = [
    { name: 'a name that a pattern allows', of: { name: 'www.example.test' }, allowed: true },
    { name: 'in mixed case', of: { name: 'wWw.ExAmPlE.tEsT' }, allowed: true },
    { name: 'an exact name, with EDNS', of: { name: 'exact.test', tail: Buffer.from('0000291000000000000000', 'hex') }, allowed: true },
    { name: 'another name', of: { name: 'www.example.org' }, allowed: false, tells: dns_event.DNS_REFUSED },
    { name: 'the root', of: { name: '' }, allowed: false, tells: dns_event.DNS_REFUSED },
    { name: 'two questions', of: { name: 'www.example.test', questions: 2 }, allowed: false },
    { name: 'an update', of: { name: 'www.example.test', flags: 0x2800 }, allowed: false },
    { name: 'a name that never ends', of: { name: Buffer.from([60, 97, 98]) }, allowed: false },
  ];
  byProxy.each(queries)('query: $name', ({ of, allowed, tells }) => {
    const own = open(f).port;
    const before = counted('DNS_COUNT_REFUSED');
    expect(says(connection(f, own), query(of))).toBe(allowed ? 1 : 0);
    expect(counted('DNS_COUNT_REFUSED') - before).toBe(tells === undefined ? 0n : 1n);
    expect(records().map(({ event, protocol, endpoint, dport, rcode }) => ({ event, protocol, endpoint, dport, rcode })))
      .toEqual(tells === undefined ? [] : [{ event: tells, protocol: 6, endpoint: 1, dport: 53, rcode: 5 }]);
  });

  byProxy.each([
    { name: 'a port that the client has not opened', of: (own: number) => connection(f, own + 1_000) },
    { name: 'a server that it has not', of: (own: number) => connection(f, own, f.also) },
    { name: 'another client', of: (own: number) => ({ ...connection(f, own), client: { address: f.also, port: own } }) },
    { name: 'the wrong way round', of: (own: number) => { const { client, server } = connection(f, own); return { client: server, server: client }; } },
  ])('no connection of the proxy\'s: $name', ({ of }) => {
    const own = open(f).port;
    expect([says(of(own), query({ name: 'www.example.test' })), says(of(own), answer({ name: 'www.example.test', answers: [address(f.target)] })), learned()]).toEqual([dns_said.DNS_SAID_GONE, dns_said.DNS_SAID_GONE, []]);
  });

  byProxy('a direct connection is none either', () => {
    const own = open(f, f.also).port;
    expect(says(connection(f, own, f.also), query({ name: 'www.example.test' }))).toBe(dns_said.DNS_SAID_GONE);
  });

  byProxy('policies that change hold for the next query', async () => {
    const own = open(f).port;
    await apply(egress.replaceAll('exact.test', 'www.other.test'));
    expect(['www.other.test', 'exact.test'].map((name) => says(connection(f, own), query({ name })))).toEqual([1, 0]);
  });

  byProxy('addresses stand in the map before the answer is handed on, and are reached', () => {
    const own = open(f).port;
    expect(open(f, f.target, 443).records[0]!.reason).toBe(drop_reason.DROP_POLICY_DENIED);
    expect(says(connection(f, own), answer({ name: 'www.example.test', answers: [address(f.target), address('203.0.113.77')] }))).toBe(1);
    expect(learned()).toEqual([`1 ${f.target}`, '1 203.0.113.77'].sort());
    expect(open(f, f.target, 443).records[0]!.reason).toBe(0);
    expect(records()).toMatchObject([{ event: dns_event.DNS_ANSWERED, protocol: 6, addresses: 2, learned: 2, ttl: 300, sport: 53, dport: own, latency_ns: 5n }]);
  });

  byProxy('addresses inside the cluster and the machine are not learned', () => {
    const own = open(f).port;
    const inside = ['192.0.2.1', '2001:db8::1', f.dns, '127.0.0.1', '::1', '169.254.169.254'];
    expect([says(connection(f, own), answer({ name: 'www.example.test', answers: inside.map((one) => address(one)) })), learned()]).toEqual([1, []]);
  });

  byProxy('beyond the quota nothing is learned', () => {
    bench.datapath.dns.usages.setUint32(16 + 4, 1, true);
    const own = open(f).port;
    const before = counted('DNS_COUNT_CROWDED');
    says(connection(f, own), answer({ name: 'www.example.test', answers: [address('203.0.113.1'), address('203.0.113.2')] }));
    expect([learned().length, counted('DNS_COUNT_CROWDED') - before]).toEqual([1, 1n]);
  });

  byProxy('a name that nobody names teaches nothing', () => {
    const own = open(f).port;
    expect([says(connection(f, own), answer({ name: 'www.example.org', answers: [address(f.target)] })), learned()]).toEqual([1, []]);
  });
});
