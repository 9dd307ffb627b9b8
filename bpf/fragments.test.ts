// Packet tables of IP fragments, in both families: what a workload sends and what the host's stack sends to one.
import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { sweepFragments } from '../agent/datapath/sweeper.ts';
import { action, drop_reason, flow_event, ipcache_flag, limit } from './types.gen.ts';
import { Bench, here } from './testing/bench.ts';
import { cut } from './testing/fragments.ts';
import { frame, protocol, type Frame } from './testing/packet.ts';

const a = { ipv4: '10.0.0.1', ipv6: 'fd00::1', mac: '02:00:00:00:00:01' };
const b = { ipv4: '10.0.0.2', ipv6: 'fd00::2', mac: '02:00:00:00:00:02' };
const host = { ipv4: '10.0.0.254', ipv6: 'fd00::fe' };
const stranger = { ipv4: '203.0.113.9', ipv6: '2001:db8:9::9' };
const places = (['ipv4', 'ipv6'] as const).flatMap((key) => [
  { name: `${key} from_workload`, key, program: 'from_workload', src: a[key], dst: b[key], passed: 'redirect' },
  { name: `${key} to_workload`, key, program: 'to_workload', src: host[key], dst: a[key], passed: 'pass' },
] as const);
type Place = (typeof places)[number];

/** Allows UDP and TCP 80 and echo requests; denies UDP 81 by a rule, and all else by default. */
const guarded = 1;
const at = (number: number, port: number, what: number) => [
  { lower: number * 65536 + port, steps: [{ mask: 1n, action: what }] }, { lower: number * 65536 + port + 1, steps: [] },
];

let bench: Bench;
let port = 2000;
let id = 100;
beforeAll(() => {
  bench = new Bench();
  bench.classWord(0, 0, 1n);
  bench.policy(guarded, { defaultAction: action.ACTION_DEFAULT_DENY, intervals: [
    { lower: 0, steps: [] }, ...at(protocol.icmp, 8, action.ACTION_ALLOW), ...at(protocol.tcp, 80, action.ACTION_ALLOW),
    ...at(protocol.udp, 80, action.ACTION_ALLOW).slice(0, 1), ...at(protocol.udp, 81, action.ACTION_DENY), ...at(protocol.icmp6, 128, action.ACTION_ALLOW),
  ] });
  bench.endpoint({ ifindex: here, ...a, ingress: guarded, egress: guarded });
  bench.endpoint({ ifindex: 7, ...b });
  for (const [one, flags] of [[host, ipcache_flag.IPCACHE_HOST], [stranger, 0]] as const) {
    bench.prefix(`${one.ipv4}/32`, 1, { flags });
    bench.prefix(`${one.ipv6}/128`, 1, { flags });
  }
});
afterAll(() => { bench.close(); });
beforeEach(() => {
  port += 1;
  id += 1;
});

const data = 'x'.repeat(64);
const base = (p: Place): Frame => frame().ip(p.src, p.dst);
/** UDP of 72 bytes in three pieces. */
const udp = (p: Place, to: number, cuts: readonly number[] = [24, 48]): Uint8Array[] => cut(base(p).udp(port, to, data).bytes(), cuts, id);

type Told = readonly [verdict: string, event: number | undefined, reason: number | undefined];
function send(p: Place, piece: Uint8Array): Told {
  const { verdict, packet, records } = bench.run(p.program, piece);
  if (verdict === 'pass') expect(packet).toEqual(piece);
  return [verdict === p.passed ? 'passed' : verdict, records.at(-1)?.event, records.at(-1)?.reason];
}
const opened: Told = ['passed', flow_event.FLOW_NEW, 0];
const silent: Told = ['passed', undefined, undefined];
const dropped = (reason: keyof typeof drop_reason): Told => ['drop', flow_event.FLOW_DROP, drop_reason[reason]];
const orphan = dropped('DROP_FRAGMENT_WITHOUT_FIRST');

/** The extension header `[next, 0, ...]` of 8 bytes before what a frame carries, without a checksum to keep. */
const withOptions = (number: number, rest: Buffer): Buffer => Buffer.concat([Buffer.from([number, 0, 1, 4, 0, 0, 0, 0]), rest]);
function bare(to: number): Buffer {
  const head = Buffer.alloc(72);
  [port, to, 72].forEach((value, index) => head.writeUInt16BE(value, index * 2));
  return head;
}

describe.each(places.map((p) => [p.name, p] as const))('fragments: %s', (_, p) => {
  const run = (...pieces: readonly Uint8Array[]): Told[] => pieces.map((piece) => send(p, piece));
  const echo = p.key === 'ipv4' ? 8 : 128;

  test('three pieces to a port that the policy allows', () => { expect(run(...udp(p, 80))).toEqual([opened, silent, silent]); });
  test('two pieces', () => { expect(run(...udp(p, 80, [32]))).toEqual([opened, silent]); });
  test('every piece of a port that a rule denies, by that rule', () => { expect(run(...udp(p, 81))).toEqual(Array.from({ length: 3 }, () => dropped('DROP_POLICY_DENY'))); });
  test('every piece of a port that no rule names', () => { expect(run(...udp(p, 82))).toEqual(Array.from({ length: 3 }, () => dropped('DROP_POLICY_DENIED'))); });
  test('TCP', () => { expect(run(...cut(base(p).tcp(port, 80, 'S', data).bytes(), [24, 48], id))).toEqual([opened, silent, silent]); });
  test('an echo request', () => { expect(run(...cut(base(p).icmp(echo, { id: port, about: Buffer.alloc(64) }).bytes(), [24, 48], id))).toEqual([opened, silent, silent]); });
  test('another ICMP type', () => { expect(run(...cut(base(p).icmp(echo + 5, { about: Buffer.alloc(64) }).bytes(), [24], id)).every(([verdict]) => verdict === 'drop')).toBe(true); });
  test('the last piece before the second', () => { const [first, second, last] = udp(p, 80); expect(run(first!, last!, second!)).toEqual([opened, silent, silent]); });
  test('a piece twice', () => { const [first, second] = udp(p, 80); expect(run(first!, second!, second!)).toEqual([opened, silent, silent]); });
  test('a later piece alone', () => { expect(run(udp(p, 80)[1]!)).toEqual([orphan]); });
  test('a later piece before the first', () => { const [first, second] = udp(p, 80); expect(run(second!, first!, second!)).toEqual([orphan, opened, silent]); });

  test('flags of TCP are not read from data', () => {
    const [first, second] = cut(base(p).tcp(port, 80, 'A', String.fromCharCode(...new Array<number>(64).fill(7))).bytes(), [24], id);
    expect(run(first!, second!)).toEqual([opened, silent]); // a FIN or RST would be told as the connection's close
  });

  test('a later piece of another datagram', () => {
    const [first] = udp(p, 80);
    id += 1;
    expect(run(first!, udp(p, 80)[1]!)).toEqual([opened, orphan]);
  });

  test('a later piece of another datagram in the same slot', () => {
    const [first] = udp(p, 80);
    id ^= 0x0101;
    expect(run(first!, udp(p, 80)[1]!)).toEqual([opened, orphan]);
  });

  test('a later piece between other addresses', () => {
    const [first] = udp(p, 80);
    const other = p.program === 'from_workload' ? { ...p, dst: host[p.key] } : { ...p, src: stranger[p.key] };
    expect(run(first!, udp(other, 80)[1]!)).toEqual([opened, orphan]);
  });

  test('a first piece in the other direction of the same interface', () => {
    const between = { ...p, src: a[p.key], dst: b[p.key] };
    const other = { ...places.find((one) => one.key === p.key && one.program !== p.program)!, src: between.src, dst: between.dst };
    expect(send(other, udp(other, 80)[0]!)).toEqual(opened);
    expect(run(udp(between, 80)[1]!)).toEqual([orphan]);
  });

  test('a first piece at another interface', () => {
    const [first, second] = udp(p, 80);
    const { fragments } = bench.datapath;
    for (const [key] of fragments.entries()) fragments.delete(key);
    expect(run(first!)).toEqual([opened]);
    const [key, value] = fragments.entries()[0]!;
    expect(key.ifindex).toBe(here);
    fragments.delete(key);
    fragments.set({ ...key, ifindex: 7 }, value);
    expect(run(second!)).toEqual([orphan]);
  });

  test('a later piece after 30 s', () => {
    const [first, second] = udp(p, 80);
    expect(run(first!, second!)).toEqual([opened, silent]);
    for (const [key, value] of bench.datapath.fragments.entries()) bench.datapath.fragments.set(key, { ...value, time_ns: value.time_ns - 31_000_000_000n });
    expect(run(second!)).toEqual([orphan]);
  });

  const tiny: readonly (readonly [string, (length: number) => Uint8Array, number])[] = [
    ['TCP', () => base(p).tcp(port, 80, 'S', data).bytes(), 20],
    ['SCTP', () => base(p).sctp(port, 80).bytes(), 12],
    ['TCP with options', () => { const bytes = base(p).tcp(port, 80, 'S', data).bytes(); bytes[(p.key === 'ipv4' ? 34 : 54) + 12] = 0xf0; return bytes; }, 60],
  ];
  test.each(tiny)('a first piece without its whole header, padding behind it: %s', (_name, build, whole) => {
    for (let length = 8; length < whole; length += 8) {
      const [first] = cut(build(length), [length], id);
      expect(run(new Uint8Array(Buffer.concat([first!, Buffer.alloc(64)])))).toEqual([dropped('DROP_CT_TRUNCATED_OR_INVALID_HEADER')]);
    }
  });

  test('a first piece without any data', () => {
    const bytes = udp(p, 80)[0]!;
    new DataView(bytes.buffer).setUint16(p.key === 'ipv4' ? 16 : 18, p.key === 'ipv4' ? 20 : 8);
    expect(run(bytes)).toEqual([dropped('DROP_CT_TRUNCATED_OR_INVALID_HEADER')]);
  });

  test('a verdict that changes between the pieces', () => {
    const [first, second] = udp(p, 80);
    expect(run(first!)).toEqual([opened]);
    bench.endpoint({ ifindex: here, ...a, ingress: 2, egress: 2 }); // an empty policy
    bench.datapath.control.set(0, { generation: bench.datapath.control.get(0)!.generation + 1, audits: 0 });
    expect(run(second!)).toEqual([dropped('DROP_POLICY_DENIED')]);
    bench.endpoint({ ifindex: here, ...a, ingress: guarded, egress: guarded });
    bench.datapath.control.set(0, { generation: bench.datapath.control.get(0)!.generation + 1, audits: 0 });
  });
});

describe.each(places.filter((p) => p.key === 'ipv6').map((p) => [p.name, p] as const))('fragments: %s', (_, p) => {
  const run = (...pieces: readonly Uint8Array[]): Told[] => pieces.map((piece) => send(p, piece));

  test('an atomic fragment is a packet like any other (RFC 6946)', () => {
    expect(run(udp(p, 80, [])[0]!, udp(p, 81, [])[0]!)).toEqual([opened, dropped('DROP_POLICY_DENY')]);
    expect(run(udp(p, 80)[1]!)).toEqual([orphan]); // and is not remembered
  });

  test('destination options in the first piece: the others may name any protocol (RFC 8200, 4.5)', () => {
    const pieces = cut(base(p).raw(60, withOptions(protocol.udp, bare(80))).bytes(), [24, 48], id);
    pieces[2]![54] = protocol.tcp;
    expect(run(...pieces)).toEqual([opened, silent, silent]);
  });

  test('options that fill the first piece hide the ports (RFC 7112)', () => {
    const [first] = cut(base(p).raw(60, withOptions(protocol.udp, bare(80))).bytes(), [8], id);
    expect(run(new Uint8Array(Buffer.concat([first!, bare(80)])))).toEqual([dropped('DROP_CT_TRUNCATED_OR_INVALID_HEADER')]);
  });

  test('pieces of pieces', () => {
    const inner = Buffer.from(udp(p, 80)[0]!.subarray(54));
    const [outer] = cut(base(p).raw(44, inner).bytes(), [], id);
    expect(run(outer!)).toEqual([dropped('DROP_INVALID_IPV6_EXTENSION_HEADER')]);
  });

  test.each([130, 133, 134, 135, 136, 137, 143])('neighbour discovery of type %d in pieces (RFC 6980)', (type) => {
    const [first, second] = cut(base(p).icmp(type, { about: Buffer.alloc(64) }).bytes(), [40], id);
    expect(run(first!, second!)).toEqual([dropped('DROP_FORBIDDEN_ICMPV6_MESSAGE'), orphan]);
  });
});

test('a workload that sends very many pieces pushes out none of another, and the sweeper takes them after 30 s', async () => {
  const p = places[0]!;
  const { fragments } = bench.datapath;
  for (const [key] of fragments.entries()) fragments.delete(key);
  const into = places[1]!;
  const waiting = udp(into, 80);
  expect(send(into, waiting[0]!)).toEqual(opened);
  for (let count = 0; count < 3 * limit.FRAGMENT_SLOTS; count += 1) {
    id += 1;
    expect(send(p, udp(p, 80)[0]!)[0]).toBe('passed');
  }
  expect(send(into, waiting[1]!)[0]).toBe('passed'); // told again where so many pieces took longer than a record's interval
  expect(fragments.entries().length).toBe(limit.FRAGMENT_SLOTS + 1);
  expect(await sweepFragments(bench.datapath)).toBe(0);
  for (const [key, value] of fragments.entries()) fragments.set(key, { ...value, time_ns: value.time_ns - 31_000_000_000n });
  expect([await sweepFragments(bench.datapath), fragments.entries().length]).toEqual([limit.FRAGMENT_SLOTS + 1, 0]);
});

test.each(['ipv4', 'ipv6'] as const)('%s: the source address is verified before a piece is remembered', (key) => {
  const p = { ...places.find((one) => one.key === key)!, src: stranger[key] } as Place;
  const before = bench.datapath.fragments.entries().length;
  expect(udp(p, 80).map((piece) => send(p, piece))).toEqual(Array.from({ length: 3 }, () => dropped('DROP_INVALID_SOURCE_IP')));
  expect(bench.datapath.fragments.entries().length).toBe(before);
});
