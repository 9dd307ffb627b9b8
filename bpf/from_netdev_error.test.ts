// Packet tables of ICMP errors about masqueraded connections: after from_netdev, the quote is the packet that the workload sent.
import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { action, drop_reason, flow_event } from './types.gen.ts';
import { Bench, here } from './testing/bench.ts';
import { node, Outside } from './testing/outside.ts';
import { checksumsHold, fieldsOf, frame, protocol, type Frame } from './testing/packet.ts';

const a = { ipv4: '10.0.0.1', ipv6: 'fd00::1', mac: '02:00:00:00:00:01' };
const families = [
  { family: 'IPv4', key: 'ipv4', workload: a.ipv4, node: node.ipv4, remote: '203.0.113.9', router: '192.0.2.33', echo: 8, unreachable: 3, errors: [3, 11, 12], head: 20 },
  { family: 'IPv6', key: 'ipv6', workload: a.ipv6, node: node.ipv6, remote: '2001:db8:9::9', router: '2001:db8:33::33', echo: 128, unreachable: 1, errors: [1, 2, 3, 4], head: 40 },
] as const;
type Family = (typeof families)[number];

/** A UDP header without a checksum, as tunnels send it. */
function bare(sport: number, dport: number): Buffer {
  const head = Buffer.alloc(8);
  [sport, dport, 8].forEach((value, index) => head.writeUInt16BE(value, index * 2));
  return head;
}

interface Kind { readonly kind: string; readonly ask: (f: Family, base: Frame, port: number) => Frame }
const kinds: readonly Kind[] = [
  { kind: 'TCP', ask: (_, base, port) => base.tcp(port, 443, 'S', 'odd') },
  { kind: 'UDP', ask: (_, base, port) => base.udp(port, 443, 'hello') },
  { kind: 'UDP without a checksum', ask: (_, base, port) => base.raw(protocol.udp, bare(port, 443)) },
  { kind: 'SCTP', ask: (_, base, port) => base.sctp(port, 443) },
  { kind: 'echo', ask: (f, base, port) => base.icmp(f.echo, { id: port }) },
];
const options: Kind = { kind: 'UDP behind destination options', ask: (f, base, port) => base.ipv6(f.workload, f.remote, { extensions: [60] }).udp(port, 443, 'hello') };
const table = families.flatMap((f) => [...kinds, ...(f.key === 'ipv6' ? [options] : [])].map((k) => ({ name: `${f.family} ${k.kind}`, f, ...k })));

let bench: Bench;
let outside: Outside;
let port = 40_000;
beforeAll(() => {
  outside = new Outside('error');
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

interface Sent { /** As the workload sent it, one hop on. */ readonly inside: Buffer; /** As it left the node. */ readonly out: Buffer }

function masqueraded(f: Family, ask: Kind['ask']): Sent {
  const sent = ask(f, frame().mac(a.mac).ip(f.workload, f.remote), port).bytes();
  const { verdict, packet } = outside.within(() => bench.run('from_workload', sent));
  expect(verdict).toBe('redirect');
  bench.datapath.netdevs.delete(outside.device);
  const inside = outside.within(() => bench.run('from_workload', sent)).packet;
  bench.netdev(outside.device, node);
  return { inside: Buffer.from(inside.subarray(14)), out: Buffer.from(packet.subarray(14)) };
}
const errorAbout = (f: Family, about: Uint8Array, type: number = f.unreachable): Frame => frame().ip(f.router, f.node).icmp(type, { code: 1, about });
const quoteOf = (f: Family, packet: Uint8Array): Buffer => Buffer.from(packet.subarray(14 + f.head + 8));
/** A last odd byte may be half a checksum, which nobody can correct. */
const words = (quote: Buffer): string => quote.subarray(0, quote.length & ~1).toString('hex');

describe('from_netdev: errors', () => {
  test.each(table)('$name: reach the workload, quoting what it sent, with right checksums', ({ f, ask }) => {
    const { inside, out } = masqueraded(f, ask);
    expect(out.equals(inside)).toBe(false);
    for (const type of f.errors) {
      const { verdict, packet, records } = bench.run('from_netdev', errorAbout(f, out, type).bytes());
      expect([type, verdict]).toEqual([type, 'redirect']);
      const { source, destination, ttl, dmac, smac } = fieldsOf(packet);
      expect({ source, destination, ttl, dmac, smac }).toEqual({ source: f.router, destination: f.workload, ttl: 63, dmac: '020000000001', smac: '0200000000fe' });
      expect(quoteOf(f, packet).toString('hex')).toBe(inside.toString('hex'));
      expect(checksumsHold(packet)).toBe(true);
      expect(records.map((record) => [record.event, record.reason, record.is_reply])).toEqual([[flow_event.FLOW_NEW, 0, 1]]);
    }
  });

  test.each(table)('$name: a quote that a router cut anywhere after 8 bytes of transport header', ({ f, ask }) => {
    const { inside, out } = masqueraded(f, ask);
    const shortest = f.head + 8 + (ask === options.ask ? 8 : 0);
    for (let length = shortest; length <= out.length; length += 1) {
      const { verdict, packet } = bench.run('from_netdev', errorAbout(f, out.subarray(0, length)).bytes());
      expect([length, verdict, checksumsHold(packet)]).toEqual([length, 'redirect', true]);
      expect(words(quoteOf(f, packet))).toBe(words(inside.subarray(0, length)));
    }
  });

  test.each(table)('$name: truncated at every byte, passes untouched or is rewritten whole', ({ f, ask }) => {
    const { inside, out } = masqueraded(f, ask);
    const whole = errorAbout(f, out).bytes();
    for (let length = 14 + f.head; length < whole.length; length += 1) {
      const cut = whole.subarray(0, length);
      const { verdict, packet } = bench.run('from_netdev', cut);
      if (verdict === 'next') expect([length, packet]).toEqual([length, cut]);
      else expect([length, verdict, fieldsOf(packet).destination, words(quoteOf(f, packet))]).toEqual([length, 'redirect', f.workload, words(inside.subarray(0, length - 22 - f.head))]);
    }
  });

  test.each(families)('$family: an error about a connection that policy has revoked', (f) => {
    const closed = 1;
    bench.policy(closed, { defaultAction: action.ACTION_DEFAULT_DENY, intervals: [{ lower: 0, steps: [] }] });
    const { out } = masqueraded(f, (_, base) => base.udp(port, 443));
    bench.endpoint({ ifindex: here, ...a, egress: closed });
    bench.datapath.control.set(0, { generation: bench.datapath.control.get(0)!.generation + 1, audits: 0 });
    const { verdict, records } = bench.run('from_netdev', errorAbout(f, out).bytes());
    expect([verdict, records.map((record) => record.reason)]).toEqual(['drop', [drop_reason.DROP_POLICY_DENIED]]);
  });

  test.each(families)('$family: an error for a workload that is gone', (f) => {
    const { out } = masqueraded(f, (_, base) => base.udp(port, 443));
    bench.datapath.endpoints.delete(here);
    const { verdict, records } = bench.run('from_netdev', errorAbout(f, out).bytes());
    expect([verdict, records.at(-1)?.reason]).toEqual(['drop', drop_reason.DROP_EP_NOT_READY]);
  });
});

const foreign: readonly { name: string; error: (f: Family, out: Buffer) => Frame }[] = [
  { name: 'about a connection of the node itself', error: (f) => errorAbout(f, frame().ip(f.node, f.remote).udp(50_000, 443).packet()) },
  { name: 'about a packet to another port', error: (f, out) => errorAbout(f, frame().ip(f.node, f.remote).udp(out.readUInt16BE(f.head), 444).packet()) },
  { name: 'about a packet from another address than the error goes to', error: (f, out) => frame().ip(f.router, f.router).icmp(f.unreachable, { about: out }) },
  { name: 'about a packet of the workload\'s own address', error: (f) => errorAbout(f, frame().ip(f.workload, f.remote).udp(port, 443).packet()) },
  { name: 'about a packet of another protocol', error: (f, out) => errorAbout(f, frame().ip(f.node, f.remote).tcp(out.readUInt16BE(f.head), 443, 'A').packet()) },
  { name: 'about a protocol without ports', error: (f) => errorAbout(f, frame().ip(f.node, f.remote).raw(47, new Uint8Array(8)).packet()) },
  { name: 'about an error', error: (f, out) => errorAbout(f, errorAbout(f, out).packet()) },
  { name: 'about nothing that is a packet', error: (f) => errorAbout(f, Buffer.alloc(64)) },
  { name: 'that only looks like one (a redirect)', error: (f, out) => errorAbout(f, out, f.family === 'IPv4' ? 5 : 137) },
];

describe('from_netdev: errors that are not weir\'s pass byte for byte', () => {
  test.each(families.flatMap((f) => foreign.map((row) => ({ ...row, title: `${f.family}: ${row.name}`, f }))))('$title', ({ f, error }) => {
    const { out } = masqueraded(f, (_, base) => base.udp(port, 443));
    const sent = error(f, out).bytes();
    const { verdict, packet, records } = bench.run('from_netdev', sent);
    expect([verdict, packet, records]).toEqual(['next', sent, []]);
  });

  test('IPv4: about a later fragment', () => {
    const [f] = families;
    const { out } = masqueraded(f, (_, base) => base.udp(port, 443));
    const sent = errorAbout(f, frame().ipv4(f.node, f.remote, { fragment: 0x0010 }).udp(out.readUInt16BE(f.head), 443).packet()).bytes();
    const { verdict, packet } = bench.run('from_netdev', sent);
    expect([verdict, packet]).toEqual(['next', sent]);
  });
});
