// What is written byte by byte says the same as what protobufjs makes of the decoded flow: a table, and thousands of random records.
import { describe, expect, test } from '@jest/globals';
import { makeRandom, type Random } from '../agent/policy/random-cases.ts';
import type { FlowRecord } from '../bpf/types.gen.ts';
import { Entries } from './entries.ts';
import { compileFieldMask } from './field-mask.ts';
import { Deframer } from './grpc/frame.ts';
import { encode, flowMessage, getFlowsResponseMessage } from './proto.ts';
import { Ring } from './ring.ts';
import { CallSink } from './sink.ts';
import type { ServiceLookup } from './services.ts';
import { flowOf, ip4, lookups as names, recordOf, slotsOf } from './testing.ts';
import type { Lookups } from './flow.ts';
import type { Flow } from './types.ts';

const plain = (bytes: Uint8Array): object => getFlowsResponseMessage.toObject(getFlowsResponseMessage.decode(bytes), { defaults: true, arrays: true, longs: String });

/** Through the sink of a call, as a client gets them. */
function sent(entries: Entries, numbers: readonly number[], mask?: ReturnType<typeof compileFieldMask>): object[] {
  const got: object[] = [];
  const deframer = new Deframer();
  const call = { writeFrames: (frames: Buffer) => { deframer.push(Buffer.from(frames), (message) => { got.push(plain(message)); }); return true; }, whenDrained: () => undefined, end: () => undefined };
  const sink = new CallSink(call as never, entries, mask);
  for (const number of numbers) sink.entry(number);
  sink.end();
  expect(deframer.isEmpty).toBe(true);
  return got;
}

const expected = (entries: Entries, number: number): object => plain(encode(getFlowsResponseMessage, entries.response(number)));
const v6 = (last: number, ...first: number[]): Uint8Array => Uint8Array.from({ length: 16 }, (_, index) => (index === 15 ? last : first[index] ?? 0));
const judgement = (action: number, policy = 3) => ({ bits: 5n, policy, interval: 1, word: 2, action });

const cases: { name: string; record: Partial<FlowRecord>; lookups?: Partial<Lookups> }[] = [
  { name: 'a first SYN', record: {} },
  { name: 'a reply', record: { is_reply: 1, event: 3, tcp_flags: 0x12, sport: 80, dport: 40_000 } },
  { name: 'every flag, ports of one and of three bytes', record: { tcp_flags: 255, sport: 1, dport: 65_535 } },
  { name: 'no flags, port 0', record: { tcp_flags: 0, sport: 0 } },
  { name: 'UDP', record: { protocol: 17, tcp_flags: 0 } },
  { name: 'SCTP', record: { protocol: 132 } },
  { name: 'ICMP', record: { protocol: 1, sport: 3, dport: 3 } },
  { name: 'ICMPv6', record: { protocol: 58, sport: 0, dport: 128, saddr: { word: v6(1, 0xfd) }, daddr: { word: v6(2, 0xfd) } } },
  { name: 'another protocol', record: { protocol: 47 } },
  { name: 'dropped', record: { event: 5, reason: 133, direction: 2, observation_point: 0, ingress: judgement(3) } },
  { name: 'audited', record: { event: 6, live: 5, reason: 181, egress: judgement(2) } },
  { name: 'both ends allowed', record: { egress: judgement(1), ingress: judgement(1) } },
  { name: 'nothing says anything', record: { event: 0, source_identity: 0, destination_identity: 0, ifindex: 0, direction: 0, observation_point: 0, protocol: 0, sport: 0, dport: 0, saddr: { word: v6(0) }, daddr: { word: v6(0) } } },
  { name: 'the highest numbers', record: { source_identity: 0xffffffff, destination_identity: 0xffffffff, ifindex: 0xffffffff, smac: new Uint8Array(6).fill(255), saddr: { word: v6(255, ...Array.from({ length: 15 }, () => 255)) } } },
  { name: 'a whole second', record: { time_ns: 5_000_000_000n } },
  { name: 'the last nanosecond of a second', record: { time_ns: 5_999_999_999n } },
  { name: 'after 2106', record: { time_ns: 3_000_000_000_000_000_007n } },
  { name: 'long labels: more than 16 KiB', record: {}, lookups: { identityLabels: () => Array.from({ length: 300 }, (_, index) => `k8s:label-${index}=${'x'.repeat(60)}`) } },
  { name: 'a chunk is not enough', record: {}, lookups: { identityLabels: () => Array.from({ length: 900 }, (_, index) => `k8s:label-${index}=${'x'.repeat(200)}`) } },
  { name: 'names that are no ASCII', record: {}, lookups: { nodeName: 'knoten-ä', endpoint: () => ({ id: 7, identity: 9, namespace: 'ü', podName: '☃', labels: [], workloads: [], clusterName: '' }) } },
  { name: 'empty labels, many workloads, a long name', record: {}, lookups: { endpoint: () => ({ id: 0, identity: 1_001, namespace: '', podName: 'p'.repeat(300), labels: ['', 'k8s:a='], workloads: [{ name: '', kind: '' }, { name: 'w'.repeat(127), kind: 'ä'.repeat(70) }], clusterName: 'c' }) } },
  { name: 'a DNS name of the source', record: {}, lookups: { names: { revision: () => 1, of: () => ['a.example.'] } } },
  { name: 'DNS names, ASCII and not', record: { saddr: { word: ip4(10, 0, 0, 2) }, daddr: { word: ip4(10, 0, 0, 1) } }, lookups: { names: { revision: () => 1, of: () => ['a.example.', 'ä.example.'] } } },
  { name: 'no name at all', record: {}, lookups: { nodeName: '', endpoint: () => undefined, identityLabels: () => [] } },
];

const entriesOf = (records: readonly Partial<FlowRecord>[], lookups: Lookups = names): Entries => {
  const ring = new Ring(records.length);
  ring.addRecords(slotsOf(...records.map(recordOf)));
  return new Entries(ring, lookups);
};

describe('encoded as protobufjs would', () => {
  test.each(cases)('$name', ({ record, lookups }) => {
    const entries = entriesOf([record, {}, record], { ...names, ...lookups });
    expect(sent(entries, [0, 1, 2])).toEqual([0, 1, 2].map((number) => expected(entries, number)));
  });
});

/** Half of all ports are of these, so that what is remembered is asked for again. */
const ports = [0, 1, 80, 81, 443, 0x1234, 0x3412, 65_535];
const portBits = new Uint8Array(65_536 / 8);
for (const port of ports) portBits[port >> 3]! |= 1 << (port & 7);
/** Each address, port and protocol has its own name, every third none; all of them change with the revision. */
const servicesAt = (revision: () => number): ServiceLookup => ({
  ports: portBits,
  get revision() { return revision(); },
  at: (address, port, protocol) => ((port + protocol + revision()) % 3 === 0 ? undefined : { name: `${port}-${protocol}-${revision()}`, namespace: address }),
});

const addresses = [ip4(10, 0, 0, 1), ip4(10, 0, 0, 2), ip4(192, 168, 1, 255), v6(1), v6(2, 0xfd), v6(0x81, 0xfd, 0, 1)];

function randomRecord(random: Random, timeNs: bigint): Partial<FlowRecord> {
  const judged = () => ({ bits: BigInt(random.below(3)), policy: random.below(3), interval: random.below(3), word: random.below(4), action: random.below(5) });
  const address = (): Uint8Array => (random.chance(0.7) ? random.pick(addresses) : Uint8Array.from({ length: 16 }, () => random.below(256)));
  const port = (): number => (random.chance(0.5) ? random.pick(ports) : random.below(65_536));
  const mac = (): Uint8Array => Uint8Array.from({ length: 6 }, () => random.below(256));
  return {
    time_ns: timeNs, saddr: { word: address() }, daddr: { word: address() }, egress: judged(), ingress: judged(), sport: port(), dport: port(),
    source_identity: random.pick([0, 1, 2, 1_001, 1_002, 0x0100_0001]), destination_identity: random.pick([1, 1_001, 1_002, 0xffff_ffff]), ifindex: random.below(1_000),
    smac: mac(), dmac: mac(), protocol: random.pick([6, 6, 17, 132, 1, 58, 47, 255]), tcp_flags: random.below(256), event: random.below(8), reason: random.below(256),
    direction: random.below(3), is_reply: random.below(2), observation_point: random.below(256), live: random.pick([0, 1, 5]),
  };
}

test('the time of every moment around a second', () => {
  const moments = [0n, 1n, 1_763_740_800n, 4_294_967_295n, 9_000_000_000n].flatMap((second) => [-300n, -129n, -1n, 0n, 1n, 128n, 2_147_483_648n].map((ns) => second * 1_000_000_000n + ns)).filter((ns) => ns >= 0n);
  const entries = entriesOf(moments.map((ns) => ({ time_ns: ns })), { ...names, toUnixNs: (ns) => ns });
  const numbers = moments.map((_, index) => index);
  expect(sent(entries, numbers)).toEqual(numbers.map((number) => expected(entries, number)));
});

describe('random records', () => {
  const count = 3_000;
  /** Names and policies change in the middle, and half of the records are from before. */
  const changedNs = 1_000_000;
  let servicesRevision = 0;
  const lookups: Lookups = {
    ...names, services: servicesAt(() => servicesRevision), changedNs: () => changedNs,
    endpoint: (address, timeNs) => { const found = names.endpoint(address, timeNs); return found && timeNs < changedNs ? { ...found, podName: 'old' } : found; },
    policies: (judged, side, timeNs) => (judged.policy === 2 ? [] : names.policies(judged, side, timeNs).map((policy) => ({ ...policy, revision: timeNs < changedNs ? 1 : 2, labels: [`bits-${judged.bits}`] }))),
    policyLog: ({ word, policy }) => [`log ${word}`, `of ${policy}`],
  };
  const random = makeRandom(11);
  const entries = entriesOf(Array.from({ length: count }, (_, index) => randomRecord(random, BigInt(index * 700))), lookups);
  entries.ring.addFlow(flowOf(1));
  entries.ring.addLoss({ lost_events: { source: 1, num_events_lost: 7 }, node_name: 'node1' });
  const numbers = Array.from({ length: count }, (_, index) => entries.ring.oldest + index);

  test('in a row', () => {
    const got = sent(entries, numbers);
    expect(got).toHaveLength(count);
    // As text: jest compares trees a hundred times slower.
    numbers.forEach((number, index) => { expect(JSON.stringify(got[index])).toBe(JSON.stringify(expected(entries, number))); });
  });

  test('some of them, in any order, twice', () => {
    const some = random.some(500, 500, () => random.pick(numbers)).flatMap((number) => [number, number]);
    expect(JSON.stringify(sent(entries, some))).toBe(JSON.stringify(some.map((number) => expected(entries, number))));
  });

  test('Services that change in between: each record shows those of then', () => {
    const one = entriesOf(Array.from({ length: count }, () => randomRecord(random, 1n)), lookups);
    const said = new Set<string>();
    for (let first = 0; first < count; first += 300) {
      servicesRevision += 1;
      const some = Array.from({ length: 300 }, (_, index) => first + index);
      const got = sent(one, some);
      expect(JSON.stringify(got)).toBe(JSON.stringify(some.map((number) => expected(one, number))));
      for (const { flow } of got as { flow: Flow }[]) for (const end of [flow.source_service, flow.destination_service]) if (end) said.add(end.name!.split('-').at(-1)!);
    }
    expect(said.size).toBe(count / 300);
  });

  test('with random field masks', () => {
    const paths = [...Object.keys(flowMessage.fields), 'source.labels', 'source.pod_name', 'destination.workloads', 'l4.TCP.flags', 'IP.source', 'event_type.sub_type', 'is_reply.value'];
    for (let round = 0; round < 60; round += 1) {
      const mask = compileFieldMask(random.some(1, 5, () => random.pick(paths)))!;
      const some = random.some(20, 20, () => random.pick(numbers.slice(0, -2)));
      const want = some.map((number) => { const response = entries.response(number); return plain(encode(getFlowsResponseMessage, { ...response, flow: mask(response.flow!) })); });
      expect(JSON.stringify(sent(entries, some, mask))).toBe(JSON.stringify(want));
    }
  });

  test('a name that changed is shown at once, and the old one for what was before', () => {
    let [pod, changed] = ['web', 0];
    const changing = entriesOf([{ time_ns: 1n }, { time_ns: 2n }, { time_ns: 20n }, { time_ns: 21n }], { ...names, changedNs: () => changed, endpoint: (_, timeNs) => ({ ...names.endpoint('10.0.0.2', 0)!, podName: timeNs < 10 ? 'web' : pod }) });
    const podOf = (number: number): unknown => (sent(changing, [number])[0] as { flow: { source: { pod_name: string } } }).flow.source.pod_name;
    expect(podOf(0)).toBe('web');
    [pod, changed] = ['new', 10];
    expect([podOf(2), podOf(1), podOf(3)]).toEqual(['new', 'web', 'new']);
  });
});
