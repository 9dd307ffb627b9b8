// Packet tables of masquerading: what leaves the node carries its address. Real routes, in a namespace of the test's own.
import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { sweepOnce } from '../agent/datapath/sweeper.ts';
import { mappedBytes } from '../agent/ipcache/address.ts';
import { ct_flag, ct_state, direction, drop_reason, flow_event, limit, observation_point } from './types.gen.ts';
import { Bench, here, ticksAgo, type Outcome } from './testing/bench.ts';
import { node, Outside } from './testing/outside.ts';
import { checksumsHold, fieldsOf, frame, protocol, type Frame } from './testing/packet.ts';

const a = { ipv4: '10.0.0.1', ipv6: 'fd00::1', mac: '02:00:00:00:00:01' };
const b = { ipv4: '10.0.0.2', ipv6: 'fd00::2', mac: '02:00:00:00:00:02' };
const families = [
  { family: 'IPv4', key: 'ipv4', remote: '203.0.113.9', echo: 8, unreachable: 3 },
  { family: 'IPv6', key: 'ipv6', remote: '2001:db8:9::9', echo: 128, unreachable: 1 },
] as const;
type Family = (typeof families)[number];
const kinds = [
  { kind: 'TCP', number: () => protocol.tcp, ask: (_: Family, base: Frame, port: number) => base.tcp(port, 443, 'S') },
  { kind: 'UDP', number: () => protocol.udp, ask: (_: Family, base: Frame, port: number) => base.udp(port, 443, 'hello') },
  { kind: 'SCTP', number: () => protocol.sctp, ask: (_: Family, base: Frame, port: number) => base.sctp(port, 443) },
  { kind: 'echo', number: (f: Family) => (f.family === 'IPv4' ? protocol.icmp : protocol.icmp6), ask: (f: Family, base: Frame, port: number) => base.icmp(f.echo, { id: port }) },
] as const;
const table = families.flatMap((f) => kinds.map((k) => ({ name: `${f.family} ${k.kind}`, f, ...k })));

let bench: Bench;
let outside: Outside;
let port = 20_000;
beforeAll(() => {
  outside = new Outside('masquerade');
  bench = new Bench();
  bench.prefix('0.0.0.0/0', 2);
  bench.prefix('::/0', 2);
});
afterAll(() => {
  bench.close();
  outside.close();
});
beforeEach(() => {
  port += 1;
  bench.netdev(outside.device, node);
});

/** What comes out when this workload sends: `lo` of the namespace stands for its veth. */
function send(workload: typeof a, f: Family, build: (base: Frame) => Frame): Outcome {
  bench.endpoint({ ifindex: here, ...workload });
  const bytes = build(frame().mac(workload.mac).ip(workload[f.key], f.remote)).bytes();
  return outside.within(() => bench.run('from_workload', bytes));
}

const unasked = { bits: 0n, policy: 0, interval: 0, word: 0, action: 0 };
/** A living connection as far as its ports are concerned. */
const unjudged = {
  counted_packets: 0n, counted_bytes: 0n,
  seen: 0, recorded: 0, packets: 1n, bytes: 1n, egress: unasked, ingress: unasked, generation: 0, source_identity: 0, destination_identity: 0,
  policy_key: 0, owner: 0, ifindex: [0, 0], origin: 0, state: ct_state.CT_ESTABLISHED, reason: 0, flags: 0,
  frontend: { word: new Uint8Array(16) }, frontend_port: 0, service: 0, device: 0, socket: [0n, 0n], unread: [0, 0], proxy_port: 0,
};

const inRange = (value: number): boolean => value >= limit.NAT_PORT_FIRST && value < limit.NAT_PORT_FIRST + limit.NAT_PORT_COUNT;

describe('masquerading', () => {
  test.each(table)('$name: the source is the node, the port of its range, the checksums hold', ({ kind, f, ask }) => {
    const { verdict, packet, records } = send(a, f, (base) => ask(f, base, port));
    const seen = fieldsOf(packet);
    expect([verdict, seen.source, seen.destination, seen.ttl]).toEqual(['redirect', node[f.key], f.remote, 63]);
    expect(kind === 'SCTP' ? seen.sport === port : inRange(seen.sport)).toBe(true);
    expect(kind === 'echo' ? seen.dport : 443).toBe(kind === 'echo' ? seen.sport : seen.dport);
    expect(checksumsHold(packet)).toBe(true);
    expect(records.map((record) => [record.event, record.observation_point])).toEqual([[flow_event.FLOW_NEW, observation_point.TO_NETWORK]]);
  });

  test.each(table)('$name: the same connection keeps its port', ({ f, ask }) => {
    const [first, second] = [1, 2].map(() => fieldsOf(send(a, f, (base) => ask(f, base, port)).packet).sport);
    expect(second).toBe(first);
  });

  test.each(table)('$name: what the sweeper takes leaves no row of its port', async ({ f, ask, number }) => {
    send(a, f, (base) => ask(f, base, port));
    const { datapath } = bench;
    for (const [key, entry] of datapath.conntrack.entries()) datapath.conntrack.set(key, { ...entry, seen: ticksAgo(300) });
    const held = (): number => datapath.nat.entries().filter(([key, { addr }]) => key.protocol === number(f) && [key.local, addr].some(({ word }) => Buffer.compare(word, mappedBytes(a[f.key])) === 0)).length;
    const before = held();
    await sweepOnce(datapath, new Set([here]));
    expect([before > 0, held()]).toEqual([true, 0]);
  });

  test.each(table.filter((row) => row.kind !== 'SCTP'))('$name: two workloads with the same port get different ones', ({ f, ask }) => {
    const [first, second] = [a, b].map((workload) => fieldsOf(send(workload, f, (base) => ask(f, base, port)).packet).sport);
    expect(second).not.toBe(first);
  });

  test.each(families)('$family: SCTP keeps its port, so the second workload with the same one is refused', (f) => {
    expect(send(a, f, (base) => base.sctp(port, 443)).verdict).toBe('redirect');
    const { verdict, records } = send(b, f, (base) => base.sctp(port, 443));
    expect([verdict, records.at(-1)?.reason]).toEqual(['drop', drop_reason.DROP_NO_MAPPING_FOR_NAT_MASQUERADE]);
  });

  /** It lives for 3 s, and an emulated machine takes more than one to fill the table. */
  const justNow = process.env['WEIR_SLOWNESS'] === undefined ? 2 : 0;
  const held: readonly { name: string; secondsAgo: number; state: number; packets: bigint; protocol: number; verdict: string; forgotten?: boolean; to?: number; flags?: number }[] = [
    { name: 'living', secondsAgo: 0, state: ct_state.CT_ESTABLISHED, packets: 10n, protocol: protocol.udp, verdict: 'drop' },
    { name: 'of a minute ago, established', secondsAgo: 60, state: ct_state.CT_ESTABLISHED, packets: 10n, protocol: protocol.udp, verdict: 'drop' },
    { name: 'of a minute ago, a query and its answer', secondsAgo: 60, state: ct_state.CT_ESTABLISHED, packets: 2n, protocol: protocol.udp, verdict: 'redirect' },
    { name: 'of 4 s ago, a DNS query and its answer', secondsAgo: 4, state: ct_state.CT_ESTABLISHED, packets: 2n, protocol: protocol.udp, verdict: 'redirect', to: 53 },
    { name: 'of just now, a DNS query and its answer', secondsAgo: justNow, state: ct_state.CT_ESTABLISHED, packets: 2n, protocol: protocol.udp, verdict: 'drop', to: 53 },
    { name: 'of 4 s ago, a DNS query that waits beside one that has its answer', secondsAgo: 4, state: ct_state.CT_ESTABLISHED, packets: 3n, protocol: protocol.udp, verdict: 'drop', to: 53, flags: ct_flag.CT_FIN },
    { name: 'that tracking has forgotten', secondsAgo: 0, state: ct_state.CT_ESTABLISHED, packets: 10n, protocol: protocol.udp, verdict: 'redirect', forgotten: true },
    { name: 'of TCP, established and silent for a minute', secondsAgo: 60, state: ct_state.CT_ESTABLISHED, packets: 10n, protocol: protocol.tcp, verdict: 'drop' },
    { name: 'of TCP, closed a minute ago', secondsAgo: 60, state: ct_state.CT_CLOSING, packets: 10n, protocol: protocol.tcp, verdict: 'redirect' },
  ];
  test.each(families.flatMap((f) => held.map((row, index) => ({ ...row, title: `${f.family}: every port towards a server held by connections ${row.name}: ${row.verdict}`, f, server: 700 + index }))))('$title', (row) => {
    const { f, server: to } = row;
    const [remote, local, inside] = [f.remote, node[f.key], b[f.key]].map((address) => ({ word: mappedBytes(address) }));
    const seen = ticksAgo(row.secondsAgo);
    for (let slot = 0; slot < limit.NAT_PORT_COUNT; slot += 1) {
      const own = 1 + slot;
      bench.datapath.nat.set(
        { remote: remote!, local: local!, remote_port: to, local_port: limit.NAT_PORT_FIRST + slot, protocol: row.protocol, direction: direction.DIRECTION_INGRESS, leg: 0 },
        { addr: inside!, port: own, leg: 0 },
      );
      // The lower address stands first.
      const key = { addr: [inside!, remote!], port: Uint8Array.from([own >> 8, own & 255, to >> 8, to & 255]), protocol: row.protocol, leg: 0 };
      if (!row.forgotten) bench.datapath.conntrack.set(key, { ...unjudged, seen, state: row.state, packets: row.packets, flags: row.flags ?? 0, policy_key: row.protocol << 16 | (row.to ?? to) });
    }
    const ask = (base: Frame, server: number): Frame => (row.protocol === protocol.udp ? base.udp(port, server) : base.tcp(port, server, 'S'));
    const { verdict, records } = send(a, f, (base) => ask(base, to));
    expect([verdict, records.at(-1)?.reason]).toEqual([row.verdict, row.verdict === 'drop' ? drop_reason.DROP_NO_MAPPING_FOR_NAT_MASQUERADE : 0]);
    expect(send(a, f, (base) => ask(base, to + 100)).verdict).toBe('redirect');
  });

  test.each(families)('$family: with its port, a connection that is over loses its row towards the outside', (f) => {
    const [remote, local, inside] = [f.remote, node[f.key], b[f.key]].map((address) => ({ word: mappedBytes(address) }));
    const key = { remote: remote!, remote_port: 600, protocol: protocol.sctp };
    const outwards = { ...key, local: inside!, local_port: port, direction: direction.DIRECTION_EGRESS, leg: 0 };
    bench.datapath.nat.set({ ...key, local: local!, local_port: port, direction: direction.DIRECTION_INGRESS, leg: 0 }, { addr: inside!, port, leg: 0 });
    bench.datapath.nat.set(outwards, { addr: local!, port, leg: 0 });
    expect(send(a, f, (base) => base.sctp(port, 600)).verdict).toBe('redirect');
    expect(bench.datapath.nat.get(outwards)).toBeUndefined();
  });

  test.each(families)('$family: a connection whose row back went to another gets a port of its own again', (f) => {
    const first = fieldsOf(send(a, f, (base) => base.udp(port, 443)).packet).sport;
    const back = { remote: { word: mappedBytes(f.remote) }, local: { word: mappedBytes(node[f.key]) }, remote_port: 443, local_port: first, protocol: protocol.udp, direction: direction.DIRECTION_INGRESS, leg: 0 };
    const other = { addr: { word: mappedBytes(b[f.key]) }, port: 9, leg: 0 };
    bench.datapath.nat.set(back, other);
    send(b, f, (base) => base.udp(9, 443)); // alive
    bench.datapath.nat.set(back, other);
    const second = fieldsOf(send(a, f, (base) => base.udp(port, 443)).packet).sport;
    expect(inRange(second)).toBe(true);
    expect(second).not.toBe(first);
    expect(bench.datapath.nat.get(back)?.port).toBe(9);
  });

  test.each(families)('$family: one workload may use one port towards two servers', (f) => {
    const ports = [1000, 1001].map((to) => fieldsOf(send(a, f, (base) => base.udp(port, to)).packet).sport);
    expect(ports.every(inRange)).toBe(true);
  });

  test('IPv4: a UDP checksum of zero stays zero', () => {
    const head = Buffer.alloc(8);
    [port, 443, 8].forEach((value, index) => head.writeUInt16BE(value, index * 2));
    const { verdict, packet } = send(a, families[0], (base) => base.raw(protocol.udp, head));
    expect([verdict, fieldsOf(packet).source, Buffer.from(packet).readUInt16BE(40)]).toEqual(['redirect', node.ipv4, 0]);
  });

  const refused: readonly { name: string; build: (f: Family, base: Frame) => Frame; reason: keyof typeof drop_reason }[] = [
    { name: 'a protocol without ports (GRE)', build: (_, base) => base.raw(47, new Uint8Array(8)), reason: 'DROP_UNSUPPORTED_PROTOCOL_FOR_NAT' },
    { name: 'ESP', build: (_, base) => base.raw(50, new Uint8Array(16)), reason: 'DROP_UNSUPPORTED_PROTOCOL_FOR_NAT' },
    { name: 'an ICMP error of its own', build: (f, base) => base.icmp(f.unreachable, { about: frame().ip(f.remote, a[f.key]).udp(443, 1).packet() }), reason: 'DROP_UNSUPPORTED_PROTOCOL_FOR_NAT' },
  ];
  test.each(families.flatMap((f) => refused.map((row) => ({ ...row, title: `${f.family}: ${row.name}`, f }))))('$title', ({ f, build, reason }) => {
    const { verdict, records } = send(a, f, (base) => build(f, base));
    expect([verdict, records.at(-1)?.reason]).toEqual(['drop', drop_reason[reason]]);
  });

  test.each(table)('$name: a device that is not in the table is not masqueraded', ({ f, ask }) => {
    bench.datapath.netdevs.delete(outside.device);
    const { verdict, packet } = send(a, f, (base) => ask(f, base, port));
    const seen = fieldsOf(packet);
    expect([verdict, seen.source, seen.sport, seen.ttl, checksumsHold(packet)]).toEqual(['redirect', a[f.key], port, 63, true]);
  });

  test.each(families)('$family: a device without an address of the family', (f) => {
    bench.netdev(outside.device, f.key === 'ipv4' ? { ipv6: node.ipv6 } : { ipv4: node.ipv4 });
    const { verdict, records } = send(a, f, (base) => base.tcp(port, 443, 'S'));
    expect([verdict, records.at(-1)?.reason]).toEqual(['drop', drop_reason.DROP_NO_MAPPING_FOR_NAT_MASQUERADE]);
  });

  test.each(families)('$family: truncated at every byte, nothing leaves that still bears the workload\'s address', (f) => {
    bench.endpoint({ ifindex: here, ...a });
    const whole = frame().ip(a[f.key], f.remote).udp(port, 443, 'hello').bytes();
    for (let length = f.key === 'ipv6' ? 54 : 34; length <= whole.length; length += 1) {
      const { verdict, packet } = outside.within(() => bench.run('from_workload', whole.subarray(0, length)));
      expect([length, verdict]).toEqual([length, length < whole.length - 'hello'.length ? 'drop' : 'redirect']);
      if (verdict === 'redirect') expect(fieldsOf(packet).source).toBe(node[f.key]);
    }
  });
});
