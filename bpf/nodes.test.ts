// Packet tables between nodes, in both families: who is handed to another node how, and whose word counts on the way in. What needs a real
// tunnel is in kernel-tests/forged.e2e.test.ts: bpf_prog_test_run knows no tunnel keys.
import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { direction, drop_reason, ipcache_flag, observation_point } from './types.gen.ts';
import { Bench, here, type Outcome } from './testing/bench.ts';
import { node, Outside } from './testing/outside.ts';
import { checksumsHold, fieldsOf, frame } from './testing/packet.ts';

const a = { ipv4: '10.0.0.1', ipv6: 'fd00::1', mac: '02:00:00:00:00:01' };
const other = { ipv4: '198.51.100.3', ipv6: '2001:db8:51::3' };
const vxlanPort = 8472;
const unreachable = 5_000; // ifindex of a device that is not there: a redirect to it is not carried out here
const families = [
  { family: 'IPv4', key: 'ipv4', remote: '10.0.1.1', world: '203.0.113.9', bits: 32 },
  { family: 'IPv6', key: 'ipv6', remote: 'fd00:0:0:1::1', world: '2001:db8:9::9', bits: 128 },
] as const;
type Family = (typeof families)[number];

let bench: Bench;
let outside: Outside;
let port = 40_000;
const closed = 1;
beforeAll(() => {
  outside = new Outside('nodes');
  bench = new Bench();
  bench.netdev(outside.device, node);
  bench.prefix('0.0.0.0/0', 9);
  bench.prefix('::/0', 10);
  bench.policy(closed, { defaultAction: 3, intervals: [{ lower: 0, steps: [] }] });
  for (const f of families) {
    bench.prefix(`${f.remote}/${f.bits}`, 700, { flags: ipcache_flag.IPCACHE_REMOTE, node: other.ipv4 });
    bench.prefix(`${other[f.key]}/${f.bits}`, 6);
    bench.prefix(`${node[f.key]}/${f.bits}`, 1, { flags: ipcache_flag.IPCACHE_HOST });
  }
});
afterAll(() => {
  bench.close();
  outside.close();
});
beforeEach(() => {
  port += 1;
  bench.endpoint({ ifindex: here, ...a, identity: 600 });
  bench.datapath.overlays.set(0, { ifindex: 0, port: 0 });
});
const tunnels = (): void => { bench.datapath.overlays.set(0, { ifindex: unreachable, port: vxlanPort }); };
const send = (f: Family, to: string, sport = port, dport = 80): Outcome => outside.within(() => bench.run('from_workload', frame().mac(a.mac).ip(a[f.key], to).udp(sport, dport, 'hello').bytes()));

describe.each(families)('to another node, $family', (f) => {
  test('by plain routes: the workload\'s own address, one hop less, checksums right', () => {
    const { verdict, packet, records } = send(f, f.remote);
    expect([verdict, checksumsHold(packet)]).toEqual(['redirect', true]);
    expect(fieldsOf(packet)).toMatchObject({ source: a[f.key], destination: f.remote, sport: port, ttl: 63 });
    expect(records.map((record) => [record.source_identity, record.destination_identity, record.observation_point])).toEqual([[600, 700, observation_point.TO_NETWORK]]);
  });

  test('by a tunnel: unchanged but for the hop', () => {
    tunnels();
    const { verdict, packet, records } = send(f, f.remote);
    expect([verdict, records.map((record) => record.observation_point)]).toEqual(['redirect', [observation_point.TO_OVERLAY]]);
    expect(fieldsOf(packet)).toMatchObject({ source: a[f.key], destination: f.remote, sport: port, ttl: 63 });
  });

  test.each([['of a prefix', 0x01000001], ['of the node', 1], ['too large', 65_536]])('by a tunnel, an identity %s does not travel', (_, identity) => {
    tunnels();
    bench.endpoint({ ifindex: here, ...a, identity });
    const { verdict, records } = send(f, f.remote);
    expect([verdict, records.at(-1)?.reason, records.at(-1)?.direction]).toEqual(['drop', drop_reason.DROP_INVALID_IDENTITY, direction.DIRECTION_EGRESS]);
  });

  test('denied here: nothing leaves', () => {
    bench.endpoint({ ifindex: here, ...a, identity: 600, egress: closed });
    const { verdict, records } = send(f, f.remote);
    expect([verdict, records.map(({ reason, direction: end }) => [reason, end])]).toEqual(['drop', [[drop_reason.DROP_POLICY_DENIED, direction.DIRECTION_EGRESS]]]);
  });

  test.each([[true, 'drop', vxlanPort], [true, 'redirect', vxlanPort + 1], [false, 'redirect', vxlanPort]])('tunnels in use %s: a workload\'s own datagram to a node, %s at port %d', (inUse, fate, to) => {
    if (inUse) tunnels();
    const { verdict, records } = send(f, other[f.key], port, to);
    expect([verdict, records.at(-1)?.reason]).toEqual([fate, fate === 'drop' ? drop_reason.DROP_ENCAPSULATION_PROHIBITED : 0]);
  });
});

describe.each(families)('from another node, $family', (f) => {
  const come = (from: string, sport = port, ttl = 64): Outcome => bench.run('from_netdev',
    (f.key === 'ipv4' ? frame().ipv4(from, a.ipv4, { ttl }) : frame().ipv6(from, a.ipv6, { ttl })).mac('02:00:00:00:00:99').udp(sport, 80, 'hello').bytes());

  test('by plain routes: to the workload, MAC addresses and hop', () => {
    const { verdict, packet, records } = come(f.remote);
    expect(verdict).toBe('redirect');
    expect(fieldsOf(packet)).toEqual({ source: f.remote, destination: a[f.key], sport: port, dport: 80, ttl: 63, dmac: '020000000001', smac: '0200000000fe' });
    expect(records.map((record) => [record.source_identity, record.destination_identity, record.observation_point, record.ifindex])).toEqual([[700, 600, observation_point.TO_ENDPOINT, here]]);
  });

  test('denied here by the workload\'s policy', () => {
    bench.endpoint({ ifindex: here, ...a, identity: 600, ingress: closed });
    const { verdict, records } = come(f.remote);
    expect([verdict, records.map(({ reason, direction: end }) => [reason, end])]).toEqual(['drop', [[drop_reason.DROP_POLICY_DENIED, direction.DIRECTION_INGRESS]]]);
  });

  test('an answer to what the workload asked passes where its own ingress is closed', () => {
    bench.endpoint({ ifindex: here, ...a, identity: 600, ingress: closed });
    expect(send(f, f.remote, port, 53).verdict).toBe('redirect');
    expect(bench.run('from_netdev', frame().mac('02:00:00:00:00:99').ip(f.remote, a[f.key]).udp(53, port, 'answer').bytes()).verdict).toBe('redirect');
  });

  test.each([
    ['plain routes, the address of a workload of this node', false, () => a[f.key], 'drop', drop_reason.DROP_INVALID_SOURCE_IP],
    ['tunnels, outside of them', true, () => f.remote, 'drop', drop_reason.DROP_UNKNOWN_SENDER],
    ['the world: the host\'s to forward', false, () => f.world, 'next', undefined],
    ['this node\'s own address: the host\'s to refuse', false, () => node[f.key], 'next', undefined],
  ] as const)('%s', (_, inUse, from, fate, reason) => {
    if (inUse) tunnels();
    const { verdict, records } = come(from());
    expect([verdict, records.at(-1)?.reason]).toEqual([fate, reason]);
  });

  test('on its last hop', () => {
    const { verdict, records } = come(f.remote, port, 1);
    expect([verdict, records.at(-1)?.reason]).toEqual(['drop', drop_reason.DROP_TTL_EXCEEDED]);
  });

  test('on the VXLAN device without a tunnel', () => {
    const { verdict, records } = bench.run('from_overlay', frame().ip(f.remote, a[f.key]).udp(port, 80).bytes());
    expect([verdict, records.map(({ reason }) => reason)]).toEqual(['drop', [drop_reason.DROP_TUNNEL_KEY]]);
  });
});
