// Packet tables of from_workload: what a workload sends, in both families.
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { droppedIn } from '../agent/datapath/maps.ts';
import { drop_reason, flow_event, ipcache_flag } from './types.gen.ts';
import { Bench, here } from './testing/bench.ts';
import { checksumsHold, frame, protocol, tag, type Frame } from './testing/packet.ts';

const a = { ipv4: '10.0.0.1', ipv6: 'fd00::1', mac: '02:00:00:00:00:01' };
const b = { ipv4: '10.0.0.2', ipv6: 'fd00::2', mac: '02:00:00:00:00:02' };
const gateway = { ipv4: '10.0.0.254', ipv6: 'fd00::fe' };
const families = [
  { family: 'IPv4', src: a.ipv4, dst: b.ipv4, host: gateway.ipv4, other: '10.0.0.9' },
  { family: 'IPv6', src: a.ipv6, dst: b.ipv6, host: gateway.ipv6, other: 'fd00::9' },
];

let bench: Bench;
beforeAll(() => {
  bench = new Bench();
  bench.endpoint({ ifindex: here, ...a });
  bench.endpoint({ ifindex: 7, ...b });
  bench.prefix(`${gateway.ipv4}/32`, 1, { flags: ipcache_flag.IPCACHE_HOST });
  bench.prefix(`${gateway.ipv6}/128`, 1, { flags: ipcache_flag.IPCACHE_HOST });
});
afterAll(() => { bench.close(); });

interface Row { readonly name: string; readonly packet: (f: (typeof families)[number]) => Frame; readonly verdict: string; readonly reason?: keyof typeof drop_reason; readonly silent?: boolean }

let port = 2000;
const rows: readonly Row[] = [
  { name: 'TCP to a workload goes straight there', packet: (f) => frame().ip(f.src, f.dst).tcp(++port, 80, 'S'), verdict: 'redirect' },
  { name: 'UDP to a workload goes straight there', packet: (f) => frame().ip(f.src, f.dst).udp(++port, 53, 'x'), verdict: 'redirect' },
  { name: 'SCTP to a workload goes straight there', packet: (f) => frame().ip(f.src, f.dst).sctp(++port, 9), verdict: 'redirect' },
  { name: 'an echo request goes straight there', packet: (f) => frame().ip(f.src, f.dst).icmp(f.family === 'IPv4' ? 8 : 128, { id: 5 }), verdict: 'redirect' },
  { name: 'a protocol without ports (GRE) goes straight there', packet: (f) => frame().ip(f.src, f.dst).raw(47, new Uint8Array(8)), verdict: 'redirect' },
  { name: 'to the host: up the stack', packet: (f) => frame().ip(f.src, f.host).tcp(++port, 80, 'S'), verdict: 'pass' },
  { name: 'another MAC address', packet: (f) => frame().mac('02:00:00:00:00:77').ip(f.src, f.dst).tcp(++port, 80, 'S'), verdict: 'drop', reason: 'DROP_INVALID_SOURCE_MAC' },
  { name: 'another source address', packet: (f) => frame().ip(f.other, f.dst).tcp(++port, 80, 'S'), verdict: 'drop', reason: 'DROP_INVALID_SOURCE_IP' },
  { name: 'to an address that nobody knows', packet: (f) => frame().ip(f.src, f.other).tcp(++port, 80, 'S'), verdict: 'drop', reason: 'DROP_EP_NOT_READY' },
  { name: 'a VLAN tag in the frame', packet: (f) => frame().vlan(5).ip(f.src, f.dst).tcp(++port, 80, 'S'), verdict: 'drop', reason: 'DROP_VLAN_FILTERED' },
  { name: 'a provider tag', packet: (f) => frame().vlan(5, tag.provider).ip(f.src, f.dst).tcp(++port, 80, 'S'), verdict: 'drop', reason: 'DROP_VLAN_FILTERED' },
  { name: 'two tags', packet: (f) => frame().vlan(5, tag.provider).vlan(6).ip(f.src, f.dst).tcp(++port, 80, 'S'), verdict: 'drop', reason: 'DROP_VLAN_FILTERED' },
  { name: 'a frame of 3,500 bytes', packet: (f) => frame().ip(f.src, f.dst).udp(++port, 53, 'x'.repeat(3_500)), verdict: 'redirect' },
  { name: 'the last hop', packet: (f) => (f.family === 'IPv4' ? frame().ipv4(f.src, f.dst, { ttl: 1 }) : frame().ipv6(f.src, f.dst, { ttl: 1 })).tcp(++port, 80, 'S'), verdict: 'drop', reason: 'DROP_TTL_EXCEEDED' },
];

const recordRoute = [7, 7, 4, 0, 0, 0, 0, 0];
const only4: readonly Row[] = [
  { name: 'IP options before TCP', packet: (f) => frame().ipv4(f.src, f.dst, { options: recordRoute }).tcp(++port, 80, 'S'), verdict: 'redirect' },
  { name: 'as many IP options as fit before UDP', packet: (f) => frame().ipv4(f.src, f.dst, { options: new Array<number>(40).fill(1) }).udp(++port, 53, 'x'), verdict: 'redirect' },
  { name: 'ICMPv6 inside IPv4', packet: (f) => frame().ipv4(f.src, f.dst).raw(protocol.icmp6, new Uint8Array(8)), verdict: 'drop', reason: 'DROP_INVALID_PACKET' },
  { name: 'ARP for the gateway', packet: () => frame().arp(1, a.mac, a.ipv4, gateway.ipv4), verdict: 'pass', silent: true },
  { name: 'ARP in the name of another', packet: () => frame().arp(2, a.mac, b.ipv4, gateway.ipv4), verdict: 'drop', reason: 'DROP_INVALID_SOURCE_IP' },
  { name: 'ARP with the MAC address of another', packet: () => frame().arp(2, b.mac, a.ipv4, gateway.ipv4), verdict: 'drop', reason: 'DROP_INVALID_SOURCE_MAC' },
];

const claim = (address: number): Uint8Array => Uint8Array.from([136, 0, 0, 0, 0, 0, 0, 0, 0xfd, ...new Array<number>(14).fill(0), address]);
const only6: readonly Row[] = [
  { name: 'destination options before TCP', packet: (f) => frame().ipv6(f.src, f.dst, { extensions: [60] }).tcp(++port, 80, 'S'), verdict: 'redirect' },
  { name: 'hop-by-hop and routing headers before UDP', packet: (f) => frame().ipv6(f.src, f.dst, { extensions: [0, 43] }).udp(++port, 80), verdict: 'redirect' },
  { name: 'more extension headers than anyone needs', packet: (f) => frame().ipv6(f.src, f.dst, { extensions: [60, 60, 60, 60, 60, 60, 60] }).udp(1, 2), verdict: 'drop', reason: 'DROP_INVALID_IPV6_EXTENSION_HEADER' },
  { name: 'an IPv4 address in disguise', packet: (f) => frame().ipv6('::ffff:10.0.0.1', f.dst).udp(1, 2), verdict: 'drop', reason: 'DROP_INVALID_PACKET' },
  { name: 'a neighbour solicitation', packet: (f) => frame().ipv6(f.src, gateway.ipv6).icmp(135), verdict: 'pass', silent: true },
  { name: 'an advertisement of its own address', packet: (f) => frame().ipv6(f.src, gateway.ipv6).raw(protocol.icmp6, claim(1)), verdict: 'pass', silent: true },
  { name: 'an advertisement of the address of another', packet: (f) => frame().ipv6(f.src, gateway.ipv6).raw(protocol.icmp6, claim(2)), verdict: 'drop', reason: 'DROP_INVALID_SOURCE_IP' },
  { name: 'a router advertisement', packet: (f) => frame().ipv6(f.src, gateway.ipv6).icmp(134), verdict: 'drop', reason: 'DROP_FORBIDDEN_ICMPV6_MESSAGE' },
  { name: 'a redirect', packet: (f) => frame().ipv6(f.src, gateway.ipv6).icmp(137), verdict: 'drop', reason: 'DROP_FORBIDDEN_ICMPV6_MESSAGE' },
];

const table = [...families.flatMap((f) => rows.map((row) => ({ ...row, f }))), ...only4.map((row) => ({ ...row, f: families[0]! })), ...only6.map((row) => ({ ...row, f: families[1]! }))];

describe('from_workload', () => {
  test.each(table.map((row) => [`${row.f.family}: ${row.name}`, row] as const))('%s', (_, row) => {
    const before = droppedIn(bench.datapath.drops());
    const { verdict, packet, records } = bench.run('from_workload', row.packet(row.f).bytes());
    expect(droppedIn(bench.datapath.drops()) - before).toBe(row.verdict === 'drop' ? 1 : 0);
    const told = records.map((record) => ({ event: record.event, reason: record.reason }));
    expect(verdict).toBe(row.verdict);
    if (row.reason !== undefined) {
      expect(told.at(-1)).toEqual({ event: flow_event.FLOW_DROP, reason: drop_reason[row.reason] });
    } else {
      expect(told).toEqual(row.silent ? [] : [{ event: flow_event.FLOW_NEW, reason: 0 }]);
    }
    if (verdict === 'redirect') {
      expect(Buffer.from(packet.subarray(0, 12)).toString('hex')).toBe('020000000002' + '0200000000fe');
      expect(!/TCP|UDP|echo|bytes/.test(row.name) || /destination options|header/.test(row.name) || checksumsHold(packet)).toBe(true);
    }
  });

  test.each(families)('$family: truncated at every byte, nothing passes that was not whole', ({ src, dst }) => {
    const whole = frame().ip(src, dst).tcp(9999, 80, 'S').bytes();
    // bpf_prog_test_run itself wants a whole IP header.
    for (let length = src.includes(':') ? 54 : 34; length < whole.length; length += 1) {
      const { verdict } = bench.run('from_workload', whole.subarray(0, length));
      expect([length, verdict]).toEqual([length, 'drop']);
    }
  });

  test('a frame from an interface without an endpoint', () => {
    bench.datapath.endpoints.delete(here);
    const { verdict, records } = bench.run('from_workload', frame().ip(a.ipv4, b.ipv4).tcp(1, 2, 'S').bytes());
    bench.endpoint({ ifindex: here, ...a });
    expect([verdict, records[0]?.reason]).toEqual(['drop', drop_reason.DROP_EP_NOT_READY]);
  });
});
