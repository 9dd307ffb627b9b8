// Packet tables of from_netdev: answers to masqueraded connections, in both families; all else must not be touched.
import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { ipcacheKey } from '../agent/ipcache/address.ts';
import { drop_reason } from './types.gen.ts';
import { Bench, here } from './testing/bench.ts';
import { node, Outside } from './testing/outside.ts';
import { checksumsHold, fieldsOf, frame, protocol, tag, type Frame } from './testing/packet.ts';

const a = { ipv4: '10.0.0.1', ipv6: 'fd00::1', mac: '02:00:00:00:00:01' };
const router = '02:00:00:00:00:99';
const families = [
  { family: 'IPv4', key: 'ipv4', workload: a.ipv4, node: node.ipv4, remote: '203.0.113.9', stranger: '203.0.113.10', echo: 8, reply: 0, bits: 32 },
  { family: 'IPv6', key: 'ipv6', workload: a.ipv6, node: node.ipv6, remote: '2001:db8:9::9', stranger: '2001:db8:9::10', echo: 128, reply: 129, bits: 128 },
] as const;
type Family = (typeof families)[number];
const kinds = [
  { kind: 'TCP', whole: 20, ask: (_: Family, base: Frame, port: number) => base.tcp(port, 443, 'S'), answer: (_: Family, base: Frame, port: number) => base.tcp(443, port, 'A', 'hello') },
  { kind: 'UDP', whole: 8, ask: (_: Family, base: Frame, port: number) => base.udp(port, 443), answer: (_: Family, base: Frame, port: number) => base.udp(443, port, 'hello') },
  { kind: 'SCTP', whole: 4, ask: (_: Family, base: Frame, port: number) => base.sctp(port, 443), answer: (_: Family, base: Frame, port: number) => base.sctp(443, port) },
  { kind: 'echo', whole: 8, ask: (f: Family, base: Frame, port: number) => base.icmp(f.echo, { id: port }), answer: (f: Family, base: Frame, port: number) => base.icmp(f.reply, { id: port }) },
] as const;
const table = families.flatMap((f) => kinds.map((k) => ({ name: `${f.family} ${k.kind}`, f, ...k })));

let bench: Bench;
let outside: Outside;
let port = 30_000;
beforeAll(() => {
  outside = new Outside('from-netdev');
  bench = new Bench();
  bench.netdev(outside.device, node);
  bench.prefix('0.0.0.0/0', 2);
  bench.prefix('::/0', 2);
});
afterAll(() => {
  bench.close();
  outside.close();
});
beforeEach(() => {
  port += 1;
  bench.endpoint({ ifindex: here, ...a });
});

/** Sends from the workload; the node's port (or id) that the answer has to name. */
function masqueraded(f: Family, build: (base: Frame) => Frame): number {
  const bytes = build(frame().mac(a.mac).ip(f.workload, f.remote)).bytes();
  const { verdict, packet } = outside.within(() => bench.run('from_workload', bytes));
  expect(verdict).toBe('redirect');
  return fieldsOf(packet).sport;
}
const answerFrom = (f: Family): Frame => frame().mac(router).ip(f.remote, f.node);

describe('from_netdev: answers', () => {
  test.each(table)('$name: goes to the workload under its own address and port, checksums right, one hop less', ({ kind, f, ask, answer }) => {
    const seen = masqueraded(f, (base) => ask(f, base, port));
    const { verdict, packet, records } = bench.run('from_netdev', answer(f, answerFrom(f), seen).bytes());
    expect([verdict, records]).toEqual(['redirect', []]);
    const remotePort = kind === 'echo' ? port : 443;
    expect(fieldsOf(packet)).toEqual({ source: f.remote, destination: f.workload, sport: remotePort, dport: port, ttl: 63, dmac: '020000000001', smac: '0200000000fe' });
    expect(checksumsHold(packet)).toBe(true);
  });

  test.each(table)('$name: truncated at every byte, passes untouched, drops, or is rewritten whole', ({ f, ask, answer, whole }) => {
    const seen = masqueraded(f, (base) => ask(f, base, port));
    const bytes = answer(f, answerFrom(f), seen).bytes();
    const l4 = f.key === 'ipv6' ? 54 : 34;
    for (let length = l4; length <= bytes.length; length += 1) {
      const cut = bytes.subarray(0, length);
      const { verdict, packet } = bench.run('from_netdev', cut);
      if (verdict === 'next') expect([length, packet]).toEqual([length, cut]);
      if (verdict === 'redirect') expect([length, fieldsOf(packet).destination, fieldsOf(packet).dport]).toEqual([length, f.workload, port]);
      expect([length, verdict === 'redirect']).toEqual([length, length >= l4 + whole]);
    }
  });

  test('IPv4: a UDP checksum of zero stays zero', () => {
    const seen = masqueraded(families[0], (base) => base.udp(port, 443));
    const head = Buffer.alloc(8);
    [443, seen, 8].forEach((value, index) => head.writeUInt16BE(value, index * 2));
    const { verdict, packet } = bench.run('from_netdev', answerFrom(families[0]).raw(protocol.udp, head).bytes());
    expect([verdict, fieldsOf(packet).destination, fieldsOf(packet).dport, Buffer.from(packet).readUInt16BE(40)]).toEqual(['redirect', a.ipv4, port, 0]);
  });

  test.each(families)('$family: an answer on its last hop', (f) => {
    const seen = masqueraded(f, (base) => base.udp(port, 443));
    const last = (f.family === 'IPv4' ? frame().ipv4(f.remote, f.node, { ttl: 1 }) : frame().ipv6(f.remote, f.node, { ttl: 1 })).udp(443, seen);
    const { verdict, records } = bench.run('from_netdev', last.bytes());
    expect([verdict, records.at(-1)?.reason]).toEqual(['drop', drop_reason.DROP_TTL_EXCEEDED]);
  });

  test.each(families)('$family: a policy change that denies the connection stops its answers', (f) => {
    const closed = 1;
    bench.policy(closed, { defaultAction: 3, intervals: [{ lower: 0, steps: [] }] });
    const seen = masqueraded(f, (base) => base.tcp(port, 443, 'S'));
    bench.endpoint({ ifindex: here, ...a, egress: closed });
    bench.datapath.control.set(0, { generation: bench.datapath.control.get(0)!.generation + 1, audits: 0 });
    const { verdict, records } = bench.run('from_netdev', answerFrom(f).tcp(443, seen, 'A').bytes());
    expect([verdict, records.at(-1)?.reason]).toEqual(['drop', drop_reason.DROP_POLICY_DENIED]);
  });
});

describe('from_netdev: a workload that is gone', () => {
  test.each(table)('$name: no endpoint behind the interface', ({ f, ask, answer }) => {
    const seen = masqueraded(f, (base) => ask(f, base, port));
    bench.datapath.endpoints.delete(here);
    const { verdict, records } = bench.run('from_netdev', answer(f, answerFrom(f), seen).bytes());
    expect([verdict, records.at(-1)?.reason]).toEqual(['drop', drop_reason.DROP_EP_NOT_READY]);
  });

  test.each(table)('$name: nobody has the address', ({ f, ask, answer }) => {
    const seen = masqueraded(f, (base) => ask(f, base, port));
    bench.datapath.ipcache.delete(ipcacheKey(`${f.workload}/${f.bits}`));
    const { verdict, records } = bench.run('from_netdev', answer(f, answerFrom(f), seen).bytes());
    expect([verdict, records.at(-1)?.reason]).toEqual(['drop', drop_reason.DROP_EP_NOT_READY]);
  });
});

interface Foreign { readonly name: string; readonly packet: (f: Family, seen: number) => Frame }
const foreign: readonly Foreign[] = [
  { name: 'a connection to the node itself', packet: (f) => frame().ip(f.remote, f.node).tcp(443, 22, 'S') },
  { name: 'the right ports from another server', packet: (f, seen) => frame().ip(f.stranger, f.node).tcp(443, seen, 'A') },
  { name: 'the right server from another port', packet: (f, seen) => frame().ip(f.remote, f.node).tcp(444, seen, 'A') },
  { name: 'the right tuple by another protocol', packet: (f, seen) => frame().ip(f.remote, f.node).udp(443, seen) },
  { name: 'the right ports to another address', packet: (f, seen) => frame().ip(f.remote, f.stranger).tcp(443, seen, 'A') },
  { name: 'the workload\'s own address from outside', packet: (f) => frame().ip(f.remote, f.workload).tcp(443, port, 'A') },
  { name: 'an echo request to the node', packet: (f, seen) => frame().ip(f.remote, f.node).icmp(f.echo, { id: seen }) },
  { name: 'a tagged frame that would be an answer', packet: (f, seen) => frame().vlan(5).ip(f.remote, f.node).tcp(443, seen, 'A') },
  { name: 'a frame with a provider tag', packet: (f, seen) => frame().vlan(5, tag.provider).ip(f.remote, f.node).tcp(443, seen, 'A') },
  { name: 'a protocol without ports', packet: (f) => frame().ip(f.remote, f.node).raw(47, new Uint8Array(8)) },
];
const foreign4: readonly Foreign[] = [
  { name: 'a later fragment without its first', packet: (f, seen) => frame().ipv4(f.remote, f.node, { fragment: 0x0010 }).tcp(443, seen, 'A') },
  { name: 'an ARP request', packet: (f) => frame().arp(1, router, f.remote, f.node) },
];
const foreign6: readonly Foreign[] = [
  { name: 'a later fragment without its first', packet: (f, seen) => frame().ipv6(f.remote, f.node, { extensions: [44] }).tcp(443, seen, 'A') },
  { name: 'a neighbour solicitation', packet: (f) => frame().ipv6(f.remote, f.node).icmp(135) },
  { name: 'a router advertisement', packet: (f) => frame().ipv6(f.remote, f.node).icmp(134) },
];

describe('from_netdev: what is not weir\'s passes byte for byte', () => {
  const rows = families.flatMap((f) => [...foreign, ...(f.key === 'ipv4' ? foreign4 : foreign6)].map((row) => ({ ...row, title: `${f.family}: ${row.name}`, f })));
  test.each(rows)('$title', ({ f, packet: build }) => {
    const seen = masqueraded(f, (base) => base.tcp(port, 443, 'S'));
    const sent = build(f, seen).bytes();
    const { verdict, packet, records } = bench.run('from_netdev', sent);
    expect([verdict, packet, records]).toEqual(['next', sent, []]);
  });

  test.each([['an unknown ether type', 0x88cc], ['a VLAN tag', 0x8100]])('%s', (_, type) => {
    const sent = frame().ip('203.0.113.9', node.ipv4).tcp(1, 80, 'S').bytes();
    new DataView(sent.buffer).setUint16(12, type);
    const { verdict, packet } = bench.run('from_netdev', sent);
    expect([verdict, packet]).toEqual(['next', sent]);
  });
});
