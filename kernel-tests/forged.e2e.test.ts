// End to end: packets that claim to come from a workload of another node. In VXLAN only the node that has an address speaks for it, and under
// its identity alone. What is left to the network between the nodes: that nobody there takes a node's own address.
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { frame, protocol, type Frame } from '../bpf/testing/packet.ts';
import { tunnelPort } from '../agent/node/cluster.ts';
import { pod } from './cluster.ts';
import { NodesCluster, type Node } from './nodes.ts';
import { idle, server } from './programs.ts';

const at: Readonly<Record<string, Node>> = { 'default/client': 'node1', 'default/server': 'node2', 'default/other': 'node2' };
let cluster: NodesCluster;
let send: (frames: readonly Uint8Array[]) => void;
let mac = '';
const own: Record<Node, { ipv4: string; ipv6: string }> = { node1: { ipv4: '', ipv6: '' }, node2: { ipv4: '', ipv6: '' } };
const end: Record<string, { ipv4: string; ipv6: string; identity: number }> = {};

beforeAll(async () => {
  cluster = await NodesCluster.startNodes('forged', { 'pods.yaml': Object.entries(at).map(([key, nodeName]) => {
    const name = key.split('/')[1]!;
    return pod(name, name === 'server' ? server(8080) : idle, { app: name }, 'default', { nodeName });
  }) }, at, ['--tunnel', 'vxlan']);
  send = cluster.stranger();
  mac = (JSON.parse(cluster.onNode('node2', 'ip', '-j', 'link', 'show', 'eth0').out) as { address: string }[])[0]!.address;
  for (const { name, ipv4, ipv6 } of cluster.json<{ name: Node; ipv4: string; ipv6: string }[]>('node', 'list')) own[name] = { ipv4, ipv6 };
  for (const key of Object.keys(at)) end[key.split('/')[1]!] = cluster.address(key);
}, 60_000);
afterAll(async () => { await cluster.close(); });

function vxlan(outer: string, vni: number, inner: Uint8Array): Uint8Array {
  const head = Buffer.alloc(16);
  const port = tunnelPort(cluster.instance.name);
  [50_000, port, 16 + inner.length, 0].forEach((value, index) => head.writeUInt16BE(value, index * 2));
  head.writeUInt8(0x08, 8); // the VNI is valid (RFC 7348, 5)
  head.writeUInt32BE(vni << 8, 12);
  return frame().mac('02:00:00:00:00:99', mac).ipv4(outer, own.node2.ipv4).raw(protocol.udp, Buffer.concat([head, inner])).bytes();
}

interface Seen { readonly flow?: { readonly verdict: string; readonly drop_reason_desc?: string; readonly l4?: { readonly UDP?: { readonly destination_port: number } } } }

/** What the node says of packets to each port. */
function fates(node: Node): Map<number, string[]> {
  const found = new Map<number, string[]>();
  for (const line of cluster.weir('--node', node, 'observe', '--protocol', 'udp', '--last', '1000', '-o', 'json').out.trim().split('\n')) {
    const { flow } = line === '' ? {} as Seen : JSON.parse(line) as Seen;
    const port = flow?.l4?.UDP?.destination_port;
    if (flow !== undefined && port !== undefined) found.set(port, [...found.get(port) ?? [], flow.drop_reason_desc ?? flow.verdict]);
  }
  return found;
}

/** Once all of these ports are told of. */
async function fatesOf(node: Node, ports: readonly number[]): Promise<Map<number, string[]>> {
  let found = new Map<number, string[]>();
  await cluster.until(`${node} tells of all`, () => {
    found = fates(node);
    return ports.every((port) => found.has(port));
  }, 5_000);
  return found;
}

const untunneled = 21_000;

interface Claim { readonly outer?: string; readonly vni?: number; readonly from?: string; readonly to?: string }
type Family = 'ipv4' | 'ipv6';
const rows: readonly (readonly [name: string, claim: (family: Family) => Claim, fate: string])[] = [
  ['in the name of the node that has the address: the words are well formed', () => ({}), 'FORWARDED'],
  ['from a machine that is no node', (family) => ({ outer: own.node1.ipv4.replace(/\.2$/, '.9'), from: end['client']![family] }), 'UNKNOWN_SENDER'],
  ['from the wrong node: its own address', () => ({ outer: own.node2.ipv4.replace(/\.3$/, '.1') }), 'UNKNOWN_SENDER'],
  ['under another identity', () => ({ vni: end['server']!.identity }), 'INVALID_IDENTITY'],
  ['under the identity of nobody', () => ({ vni: 0 }), 'INVALID_IDENTITY'],
  ['from an address of that node that nobody has, under a reserved identity', (family) => ({ from: family === 'ipv4' ? end['client']!.ipv4.replace(/\d+$/, '77') : end['client']!.ipv6.replace(/[0-9a-f]+$/, '77'), vni: 3 }), 'INVALID_IDENTITY'],
  ['from an address of this node', (family) => ({ from: end['other']![family] }), 'INVALID_SOURCE_IP'],
  ['from this node itself', (family) => ({ from: own.node2[family], vni: 1 }), 'INVALID_SOURCE_IP'],
  ['from outside the cluster', (family) => ({ from: family === 'ipv4' ? '203.0.113.9' : '2001:db8:9::9' }), 'UNKNOWN_SENDER'],
  ['from the other node itself, which speaks for clients of services', (family) => ({ from: own.node1[family], vni: 6 }), 'FORWARDED'],
  ['from that node, under the identity of a workload', (family) => ({ from: own.node1[family] }), 'UNKNOWN_SENDER'],
  ['in the name of that node, from a machine that is none', (family) => ({ outer: own.node1.ipv4.replace(/\.2$/, '.9'), from: own.node1[family], vni: 6 }), 'UNKNOWN_SENDER'],
  ['from this node itself, as another that speaks for clients', (family) => ({ from: own.node2[family], vni: 6 }), 'INVALID_SOURCE_IP'],
  ['to a workload of another node', (family) => ({ to: end['client']![family] }), 'UNKNOWN_L3_TARGET_ADDRESS'],
  ['to this node', (family) => ({ to: own.node2[family] }), 'UNKNOWN_L3_TARGET_ADDRESS'],
];
const cases = rows.flatMap(([name, claim, expected], index) => (['ipv4', 'ipv6'] as const).map((family, which) => ({ name, claim, expected, family, port: 20_000 + index * 10 + which })));
const inner = (from: string, to: string, port: number): Frame => frame().mac('02:00:00:00:00:98').ip(from, to).udp(40_000, port, 'hello');

let told = new Map<number, string[]>();
beforeAll(async () => {
  const dropped = (): number => cluster.json<{ packets: { dropped: number } }>('--node', 'node2', 'status').packets.dropped;
  const before = dropped();
  send(cases.map(({ claim, family, port }) => {
    const { outer = own.node1.ipv4, vni = end['client']!.identity, from = end['client']![family], to = end['server']![family] } = claim(family);
    return vxlan(outer, vni, inner(from, to, port).bytes());
  }));
  send((['ipv4', 'ipv6'] as const).map((family, index) => frame().mac('02:00:00:00:00:99', mac).ip(end['client']![family], end['server']![family]).udp(40_000, untunneled + index, 'hello').bytes()));
  const nested = vxlan(own.node1.ipv4, end['client']!.identity, inner(end['client']!.ipv4, end['server']!.ipv4, 23_000).bytes());
  send([vxlan(own.node1.ipv4, end['client']!.identity, nested)]);
  told = await fatesOf('node2', [...cases.map(({ port }) => port), untunneled, untunneled + 1, tunnelPort(cluster.instance.name)]);
  expect(dropped() - before).toBeGreaterThanOrEqual(cases.filter(({ expected }) => expected !== 'FORWARDED').length + 3);
});

test.each(cases)('VXLAN, $family: $name', ({ expected, port }) => { expect(told.get(port)).toEqual([expected]); });

test.each([['IPv4', untunneled], ['IPv6', untunneled + 1]])('without a tunnel, %s: a source of another node is nobody here', (_, port) => { expect(told.get(port)).toEqual(['UNKNOWN_SENDER']); });

test('two VXLAN headers on one packet: what is inside the inner one reaches nobody', () => {
  expect([told.get(tunnelPort(cluster.instance.name)), told.get(23_000)]).toEqual([['UNKNOWN_SENDER'], undefined]);
});

test('a workload cannot send a tunnel of its own through its node', async () => {
  const port = tunnelPort(cluster.instance.name);
  const packet = Buffer.from(vxlan(own.node1.ipv4, end['server']!.identity, inner(end['client']!.ipv4, end['server']!.ipv4, 22_000).bytes())).subarray(14 + 20 + 8).toString('hex');
  for (const to of [own.node2.ipv4, own.node2.ipv6]) {
    cluster.exec('default/client', 'python3', '-c', `import socket; s = socket.socket(socket.${to.includes(':') ? 'AF_INET6' : 'AF_INET'}, socket.SOCK_DGRAM); s.sendto(bytes.fromhex('${packet}'), ('${to}', ${port}))`);
  }
  const drops = (): string[] => (fates('node1').get(port) ?? []).filter((one) => one !== 'FORWARDED'); // policy lets it pass, the tunnel's port does not
  await cluster.until('both are told', () => drops().length === 2, 5_000);
  expect(drops()).toEqual(['ENCAPSULATION_TRAFFIC_IS_PROHIBITED', 'ENCAPSULATION_TRAFFIC_IS_PROHIBITED']);
  expect(fates('node2').get(22_000)).toBeUndefined();
});
