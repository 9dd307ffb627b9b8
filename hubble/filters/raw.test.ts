// For every field of a filter: what is compared on a record's bytes says the same as the filter on the decoded flow.
import { describe, expect, test } from '@jest/globals';
import { makeRandom, type Random } from '../../agent/policy/random-cases.ts';
import type { FlowRecord } from '../../bpf/types.gen.ts';
import { Entries } from '../entries.ts';
import { Ring } from '../ring.ts';
import { AccessRows } from '../access-row.ts';
import { Redaction } from '../redact.ts';
import { accessOf, ip4, lookups as names, rulesOf, tlsAccessOf, recordOf, slotsOf, services } from '../testing.ts';
import type { ProxyAccess } from '../access.ts';
import type { Flow, FlowFilter } from '../types.ts';
import { uuidOf } from '../uuid.ts';
import { compileFilters, fields, type Field } from './compile.ts';
import { compileEntryFilters } from './raw.ts';

const v6 = (last: number, ...first: number[]): Uint8Array => Uint8Array.from({ length: 16 }, (_, index) => (index === 15 ? last : first[index] ?? 0));
const addresses = [ip4(10, 0, 0, 1), ip4(10, 0, 0, 2), ip4(10, 0, 3, 129), ip4(192, 168, 1, 1), v6(1), v6(2, 0xfd), v6(0x81, 0xfd), v6(1, 0xfe, 0x80), v6(0)];
const addressTexts = ['10.0.0.1', '10.0.0.0/24', '10.0.0.0/14', '10.0.3.128/25', '0.0.0.0/0', '::1', 'fd00::2', 'fd00::80/121', 'fd00::/8', '::/0', 'fd00:0::0002', 'fe80::1%eth0', '::ffff:10.0.0.1', '::ffff:0:0/96', '8.8.8.8', '::'];
const identities = [0, 1, 2, 1001, 1002, 0x01000001];
/** Ports whose bytes differ in one place only. */
const ports = [0, 80, 0x50, 0x5000, 443, 8080, 40_000, 65_535];

/** The value pool of each field; every field that is known stands here, so a new one cannot be forgotten. */
const pools: { readonly [Name in Field]: readonly unknown[] } = {
  source_ip: addressTexts, destination_ip: addressTexts, source_ip_xlated: addressTexts,
  source_pod: ['shop/web', 'shop/', '/web', 'web', 'other/', '/'], destination_pod: ['shop/web', 'shop/', '/web', 'old/', '/'],
  source_service: ['shop/web', '/web'], destination_service: ['shop/'],
  source_workload: [{ name: 'web' }, { kind: 'Deployment' }, { name: 'db', kind: 'Deployment' }, {}], destination_workload: [{ name: 'web' }, { kind: 'Pod' }, {}],
  source_identity: identities, destination_identity: identities, source_cluster_name: ['default', '', 'c2'], destination_cluster_name: ['default', ''],
  source_label: ['app=web', 'k8s:id=1001', 'reserved:host', '!app', 'id in (1001, 2)', 'k8s:id', 'id>1000'], destination_label: ['app=web', '!app', 'app notin (web)', 'k8s:id=1001'],
  node_labels: ['zone=a', '!zone'], source_fqdn: ['*', 'a.example'], destination_fqdn: ['a.example', '*'], node_name: ['node1', 'n*', '/node2', 'default/node1', 'c2/'],
  uuid: [...[0, 5, 500, 1_999].map(uuidOf), 'not one of them'], trace_id: ['', 'abc', 'ab'.repeat(16)], ip_trace_id: [0, 7],
  interface: [{ index: 7 }, { index: 8 }, { name: 'eth0' }, { index: 7, name: 'eth0' }, {}],
  protocol: ['tcp', 'UDP', 'sctp', 'icmp', 'icmpv4', 'ICMPv6', 'vrrp', 'igmp', 'dns', 'http', 'kafka'],
  source_port: ports.map(String), destination_port: ports.map(String), ip_version: [0, 1, 2], encrypted: [true, false],
  tcp_flags: [{}, { SYN: true }, { SYN: true, ACK: true }, { FIN: true }, { RST: true, SYN: false }, { NS: true }, { CWR: true }],
  verdict: [0, 1, 2, 3, 4, 5], drop_reason_desc: [0, 132, 133, 181], traffic_direction: [0, 1, 2], reply: [true, false],
  event_type: [{ type: 1 }, { type: 4 }, { type: 4, match_sub_type: true }, { type: 4, match_sub_type: true, sub_type: 11 }, { type: 1, match_sub_type: true, sub_type: 133 },
    { type: 0, match_sub_type: true, sub_type: 2 }, { type: 129 }, { type: 5 }, { type: 5, match_sub_type: true, sub_type: 133 }, {}],
  http_status_code: ['404', '5+'], http_method: ['GET'], http_path: ['/a'], http_url: ['a'], http_header: [{ key: 'X', value: 'y' }], dns_query: ['.*'],
  experimental: [],
};

function randomRecord(random: Random, timeNs: number): FlowRecord {
  const judgement = () => ({ bits: BigInt(random.below(3)), policy: random.below(3), interval: random.below(3), word: 0, action: random.below(6) });
  const drop = random.chance(0.4);
  const audit = !drop && random.chance(0.2);
  return recordOf({
    time_ns: BigInt(timeNs), saddr: { word: random.pick(addresses) }, daddr: { word: random.pick(addresses) }, egress: judgement(), ingress: judgement(),
    sport: random.pick(ports), dport: random.pick(ports), source_identity: random.pick(identities), destination_identity: random.pick(identities),
    ifindex: random.pick([7, 8]), protocol: random.pick([6, 6, 6, 17, 132, 1, 58, 47]), tcp_flags: random.below(256), event: drop ? 5 : audit ? 6 : 1 + random.below(4), live: audit ? random.pick([1, 5]) : 0,
    reason: drop ? random.pick([132, 133, 181]) : audit ? random.pick([0, 133]) : 0, direction: random.below(3), is_reply: random.below(2), observation_point: drop ? 0 : random.pick([1, 2, 3, 11, 101]),
  });
}

const ends = ['10.0.0.1', '10.0.0.2', '10.0.3.129', 'fd00::2', 'fd00::81'];

function randomAccess(random: Random): ProxyAccess {
  const denied = random.chance(0.3);
  const base = {
    direction: random.pick(['ingress', 'egress'] as const), denied, flags: random.pick(['', '', 'UF', 'DC']),
    source: { address: random.pick(ends), port: random.pick(ports) }, destination: { address: random.pick(ends), port: random.pick(ports) },
  };
  if (random.chance(0.3)) return tlsAccessOf({ ...base, sni: random.pick(['a.example', '']) });
  return accessOf({ ...base, http: {
    method: random.pick(['GET', 'get', 'PUT']), path: random.pick(['/a', '/b/a', '/%61', '/c?a']), code: denied ? 403 : random.pick([200, 404, 503, 0]),
    requestHeaders: random.some(0, 2, () => random.pick([['X', 'y'], ['x', 'y'], ['traceparent', `00-${'ab'.repeat(16)}-00f067aa0ba902b7-01`]] as const)),
  } });
}

const count = 2_000;
/** Names change in the middle: "shop/web" at 10.0.0.2 was "old/web" before. */
const changedNs = 1_000_000;
const lookups: typeof names = {
  ...names, services, changedNs: () => changedNs, identity: (address) => (address === '10.0.0.2' ? 1002 : 2),
  names: { revision: () => 1, of: (_, address) => (address === '10.0.0.1' ? ['a.example.', 'b.example.'] : []) },
  endpoint: (address, timeNs) => {
    const found = names.endpoint(address, timeNs);
    return found && timeNs < changedNs ? { ...found, namespace: 'old', labels: ['k8s:app=old'], workloads: [{ name: 'old', kind: 'Pod' }] } : found;
  },
};

function entriesOf(random: Random): Entries {
  const ring = new Ring(count);
  // The ring has turned over already, so that numbers and places differ.
  ring.addRecords(slotsOf(...Array.from({ length: 300 }, () => recordOf())));
  const accesses = new AccessRows(ring, lookups, new Redaction());
  while (ring.next < count + 300) {
    if (random.chance(0.7)) ring.addRecords(slotsOf(randomRecord(random, (ring.next - 300) * 1_000)));
    else accesses.add(randomAccess(random), rulesOf, 10_000, BigInt(ring.next - 300) * 1_000n);
  }
  return new Entries(ring, lookups);
}

const flowsOf = (entries: Entries): Flow[] => Array.from({ length: entries.ring.next - entries.ring.oldest }, (_, index) => entries.flow(entries.ring.oldest + index)!);

function expectSame(entries: Entries, whitelist: FlowFilter[], blacklist: FlowFilter[], flows = flowsOf(entries)): number {
  const raw = compileEntryFilters(entries, whitelist, blacklist);
  const decoded = compileFilters(whitelist, blacklist);
  let passed = 0;
  for (let number = entries.ring.oldest; number < entries.ring.next; number += 1) {
    const pass = raw(number);
    const flow = flows[number - entries.ring.oldest]!;
    if (pass !== decoded(flow)) throw new Error(`${JSON.stringify({ whitelist, blacklist })}: ${pass} for ${JSON.stringify(flow)}`);
    if (pass) passed += 1;
  }
  return passed;
}

describe('filters on records', () => {
  const random = makeRandom(7);
  const entries = entriesOf(random);
  const flows = flowsOf(entries);

  test('a value pool for each field', () => { expect(Object.keys(pools).filter((name) => name !== 'experimental').sort()).toEqual([...fields].sort()); });

  test.each(fields.flatMap((field) => pools[field].map((value) => ({ field, value }))))('$field $value', ({ field, value }) => {
    expectSame(entries, [{ [field]: [value] }], [], flows);
  });

  /** These match nothing here, or everything, whatever their values: records hold nothing that they ask for. */
  const constant = new Set<Field>(['source_ip_xlated', 'node_name', 'node_labels', 'ip_trace_id', 'encrypted', 'dns_query']);
  test.each(fields.filter((field) => !constant.has(field)).map((field) => ({ field })))('$field: some pass and some do not, or the table proves nothing', ({ field }) => {
    const passed = pools[field].map((value) => expectSame(entries, [{ [field]: [value] }], [], flows));
    expect(passed.some((one) => one > 0 && one < count)).toBe(true);
  });

  test('random filters of several fields and values, allowed and denied', () => {
    for (let round = 0; round < 150; round += 1) {
      const filter = (): FlowFilter => {
        const chosen = random.some(1, 3, () => random.pick(fields));
        // HTTP beside another event type is refused.
        const some = chosen.filter((field) => field !== 'event_type' || !chosen.some((other) => other.startsWith('http')));
        return Object.fromEntries(some.map((field) => [field, random.some(1, 3, () => random.pick(pools[field]))]));
      };
      expectSame(entries, random.some(0, 3, filter), random.some(0, 2, filter), flows);
    }
  });

  test('ends beyond what is remembered', () => {
    const ring = new Ring(3_000);
    const many = Array.from({ length: 3_000 }, (_, index) => recordOf({ time_ns: 2_000_000n, saddr: { word: ip4(10, 9, index >> 8, index & 255) }, source_identity: 1_000 + (index % 7) }));
    ring.addRecords(slotsOf(...many));
    expect(expectSame(new Entries(ring, lookups), [{ source_label: ['k8s:id=1003'] }], [])).toBeGreaterThan(400);
  });
});
