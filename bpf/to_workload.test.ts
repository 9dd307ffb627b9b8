// Packet tables of to_workload: what the host's stack sends to a workload, in both families. Nothing is ever rewritten here.
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { action, counter, direction, drop_reason, flow_event, ipcache_flag } from './types.gen.ts';
import { Bench, here } from './testing/bench.ts';
import { frame, protocol, tag, type Frame } from './testing/packet.ts';

const a = { ipv4: '10.0.0.1', ipv6: 'fd00::1', mac: '02:00:00:00:00:01' };
const host = { ipv4: '10.0.0.254', ipv6: 'fd00::fe', mac: '02:00:00:00:00:fe' };
const families = [
  { family: 'IPv4', host: host.ipv4, workload: a.ipv4, unknown: '192.0.2.1', echo: 8, reply: 0, unreachable: 3 },
  { family: 'IPv6', host: host.ipv6, workload: a.ipv6, unknown: '2001:db8::1', echo: 128, reply: 129, unreachable: 1 },
];
type Family = (typeof families)[number];

/** Allows TCP 80 and echo requests, denies TCP 81 by a rule, and all else by default. */
const guarded = 1;
const bit = 1n;
const key = (number: number, port: number): number => number * 65536 + port;
const only = (number: number, port: number, what: number) => [
  { lower: key(number, port), steps: [{ mask: bit, action: what }] },
  { lower: key(number, port) + 1, steps: [] },
];

let bench: Bench;
let port = 2000;
beforeAll(() => {
  bench = new Bench();
  bench.prefix(`${host.ipv4}/32`, 1, { flags: ipcache_flag.IPCACHE_HOST });
  bench.prefix(`${host.ipv6}/128`, 1, { flags: ipcache_flag.IPCACHE_HOST });
  bench.classWord(0, 0, bit);
  bench.policy(guarded, { defaultAction: action.ACTION_DEFAULT_DENY, intervals: [
    { lower: 0, steps: [] }, ...only(protocol.icmp, 8, action.ACTION_ALLOW), ...only(protocol.tcp, 80, action.ACTION_ALLOW).slice(0, 1),
    ...only(protocol.tcp, 81, action.ACTION_DENY), ...only(protocol.icmp6, 128, action.ACTION_ALLOW),
  ] });
  bench.endpoint({ ifindex: here, ...a, ingress: guarded });
});
afterAll(() => { bench.close(); });

interface Row { readonly name: string; readonly packet: (f: Family) => Frame; readonly before?: (f: Family) => Frame; readonly verdict: string; readonly reason?: keyof typeof drop_reason; readonly silent?: boolean }

const rows: readonly Row[] = [
  { name: 'a port that the policy allows', packet: (f) => frame().ip(f.host, f.workload).tcp(++port, 80, 'S'), verdict: 'pass' },
  { name: 'an echo request that the policy allows', packet: (f) => frame().ip(f.host, f.workload).icmp(f.echo, { id: ++port }), verdict: 'pass' },
  { name: 'a port that a rule denies', packet: (f) => frame().ip(f.host, f.workload).tcp(++port, 81, 'S'), verdict: 'drop', reason: 'DROP_POLICY_DENY' },
  { name: 'a port that no rule names', packet: (f) => frame().ip(f.host, f.workload).tcp(++port, 82, 'S'), verdict: 'drop', reason: 'DROP_POLICY_DENIED' },
  { name: 'the allowed port by another protocol', packet: (f) => frame().ip(f.host, f.workload).udp(++port, 80), verdict: 'drop', reason: 'DROP_POLICY_DENIED' },
  { name: 'a protocol without ports', packet: (f) => frame().ip(f.host, f.workload).raw(47, new Uint8Array(8)), verdict: 'drop', reason: 'DROP_POLICY_DENIED' },
  { name: 'a reply to a TCP connection of the workload', before: (f) => frame().ip(f.workload, f.host).tcp(++port, 7777, 'S'), packet: (f) => frame().ip(f.host, f.workload).tcp(7777, port, 'SA'), verdict: 'pass', silent: true },
  { name: 'a reply to a UDP packet of the workload', before: (f) => frame().ip(f.workload, f.host).udp(++port, 7777), packet: (f) => frame().ip(f.host, f.workload).udp(7777, port), verdict: 'pass', silent: true },
  { name: 'a reply from another port', before: (f) => frame().ip(f.workload, f.host).udp(++port, 7777), packet: (f) => frame().ip(f.host, f.workload).udp(7778, port), verdict: 'drop', reason: 'DROP_POLICY_DENIED' },
  { name: 'an echo reply to the workload', before: (f) => frame().ip(f.workload, f.host).icmp(f.echo, { id: ++port }), packet: (f) => frame().ip(f.host, f.workload).icmp(f.reply, { id: port }), verdict: 'pass', silent: true },
  { name: 'an echo reply that nobody asked for', packet: (f) => frame().ip(f.host, f.workload).icmp(f.reply, { id: ++port }), verdict: 'drop', reason: 'DROP_POLICY_DENIED' },
  {
    name: 'an error about a packet of the workload', before: (f) => frame().ip(f.workload, f.host).udp(++port, 7777),
    packet: (f) => frame().ip(f.host, f.workload).icmp(f.unreachable, { code: 3, about: frame().ip(f.workload, f.host).udp(port, 7777).packet() }), verdict: 'pass',
  },
  { name: 'an error about nothing', packet: (f) => frame().ip(f.host, f.workload).icmp(f.unreachable, { code: 3, about: frame().ip(f.workload, f.host).udp(1, 7777).packet() }), verdict: 'drop', reason: 'DROP_POLICY_DENIED' },
  { name: 'from an address that nobody knows', packet: (f) => frame().ip(f.unknown, f.workload).tcp(++port, 80, 'S'), verdict: 'drop', reason: 'DROP_EP_NOT_READY' },
  { name: 'a VLAN tag in the frame', packet: (f) => frame().vlan(5).ip(f.host, f.workload).tcp(++port, 80, 'S'), verdict: 'drop', reason: 'DROP_VLAN_FILTERED' },
  { name: 'a provider tag', packet: (f) => frame().vlan(5, tag.provider).ip(f.host, f.workload).tcp(++port, 80, 'S'), verdict: 'drop', reason: 'DROP_VLAN_FILTERED' },
  { name: 'the last hop is the workload itself: its hop limit stays', packet: (f) => (f.family === 'IPv4' ? frame().ipv4(f.host, f.workload, { ttl: 1 }) : frame().ipv6(f.host, f.workload, { ttl: 1 })).tcp(++port, 80, 'S'), verdict: 'pass' },
];
const only4: readonly Row[] = [
  { name: 'ICMPv6 inside IPv4', packet: (f) => frame().ipv4(f.host, f.workload).raw(protocol.icmp6, new Uint8Array(8)), verdict: 'drop', reason: 'DROP_INVALID_PACKET' },
  { name: 'an ARP request', packet: () => frame().mac(host.mac).arp(1, host.mac, host.ipv4, a.ipv4), verdict: 'pass', silent: true },
  { name: 'an ARP answer', packet: () => frame().mac(host.mac).arp(2, host.mac, host.ipv4, a.ipv4), verdict: 'pass', silent: true },
];
const only6: readonly Row[] = [
  { name: 'destination options before an allowed port', packet: (f) => frame().ipv6(f.host, f.workload, { extensions: [60] }).tcp(++port, 80, 'S'), verdict: 'pass' },
  { name: 'a neighbour solicitation', packet: (f) => frame().ipv6(f.host, f.workload).icmp(135), verdict: 'pass', silent: true },
  { name: 'a neighbour advertisement', packet: (f) => frame().ipv6(f.host, f.workload).icmp(136), verdict: 'pass', silent: true },
  { name: 'a router advertisement', packet: (f) => frame().ipv6(f.host, f.workload).icmp(134), verdict: 'pass', silent: true },
];
const table = [...families.flatMap((f) => rows.map((row) => ({ ...row, f }))), ...only4.map((row) => ({ ...row, f: families[0]! })), ...only6.map((row) => ({ ...row, f: families[1]! }))];

describe('to_workload', () => {
  test.each(table.map((row) => [`${row.f.family}: ${row.name}`, row] as const))('%s', (_, row) => {
    if (row.before !== undefined) expect(bench.run('from_workload', row.before(row.f).mac(a.mac).bytes()).verdict).toBe('pass');
    const sent = row.packet(row.f).bytes();
    const before = bench.datapath.counter(counter.COUNTER_DROPPED);
    const { verdict, packet, records } = bench.run('to_workload', sent);
    expect(bench.datapath.counter(counter.COUNTER_DROPPED) - before).toBe(row.verdict === 'drop' ? 1n : 0n);
    expect(verdict).toBe(row.verdict);
    expect(packet).toEqual(sent);
    const told = records.map((record) => ({ event: record.event, reason: record.reason, direction: record.direction, ifindex: record.ifindex }));
    const one = { direction: direction.DIRECTION_INGRESS, ifindex: here };
    if (row.reason !== undefined) expect(told).toEqual([{ ...one, event: flow_event.FLOW_DROP, reason: drop_reason[row.reason] }]);
    else expect(told).toEqual(row.silent ? [] : [{ ...one, event: flow_event.FLOW_NEW, reason: 0 }]);
  });

  test.each(families)('$family: truncated at every byte, nothing passes that was not whole', (f) => {
    const whole = frame().ip(f.host, f.workload).tcp(9999, 80, 'S').bytes();
    // bpf_prog_test_run itself wants a whole IP header.
    for (let length = f.family === 'IPv6' ? 54 : 34; length < whole.length; length += 1) {
      expect([length, bench.run('to_workload', whole.subarray(0, length)).verdict]).toEqual([length, 'drop']);
    }
  });

  test('a frame that is neither IP nor ARP', () => {
    const bytes = frame().ip(host.ipv4, a.ipv4).tcp(1, 80, 'S').bytes();
    new DataView(bytes.buffer).setUint16(12, 0x88cc);
    const { verdict, records } = bench.run('to_workload', bytes);
    expect([verdict, records[0]?.reason]).toEqual(['drop', drop_reason.DROP_UNSUPPORTED_L3_PROTOCOL]);
  });

  test.each(families)('$family: an interface without an endpoint', (f) => {
    bench.datapath.endpoints.delete(here);
    const { verdict, records } = bench.run('to_workload', frame().ip(f.host, f.workload).tcp(1, 80, 'S').bytes());
    bench.endpoint({ ifindex: here, ...a, ingress: guarded });
    expect([verdict, records.map((record) => record.reason)]).toEqual(['drop', [drop_reason.DROP_EP_NOT_READY]]);
  });
});
