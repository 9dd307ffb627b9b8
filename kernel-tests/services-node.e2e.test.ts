// End to end: backends of services that are processes of the node itself, asked for by clients outside, workloads and the node: real sockets,
// both families. What an agent's end leaves of it goes on.
import { hostname } from 'node:os';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { Cluster, node as address, outside, pod } from './cluster.ts';
import { NodesCluster, type Node } from './nodes.ts';
import { bound, idle, transfer, type Probe } from './programs.ts';

interface Ends { readonly ipv4: string; readonly ipv6: string }
const external = { ipv4: '192.0.2.50', ipv6: '2001:db8:50::50' };
const [listening, closed] = [9_090, 9_091];
const kinds = ['tcp', 'udp'] as const;
const service = (name: string, nodePort: number, port: number, more: object = {}, annotations: Record<string, string> = {}): object => ({
  apiVersion: 'v1', kind: 'Service', metadata: { name, namespace: 'default', annotations },
  spec: { type: 'NodePort', ipFamilyPolicy: 'RequireDualStack', ports: kinds.map((kind) => ({ name: kind, protocol: kind.toUpperCase(), port: 80, targetPort: port, nodePort })), ...more },
});
/** Written by hand, as for what runs outside of all pods. */
const slices = (name: string, at: Ends, port: number, nodeName?: string): object[] => (['IPv4', 'IPv6'] as const).map((addressType) => ({
  apiVersion: 'discovery.k8s.io/v1', kind: 'EndpointSlice', metadata: { name: `${name}-${addressType.toLowerCase()}`, namespace: 'default', labels: { 'kubernetes.io/service-name': name } },
  addressType, ports: kinds.map((kind) => ({ name: kind, protocol: kind.toUpperCase(), port })),
  endpoints: [{ addresses: [addressType === 'IPv4' ? at.ipv4 : at.ipv6], conditions: { ready: true }, ...(nodeName === undefined ? {} : { nodeName }) }],
}));
const both = (to: Ends, port: number): Probe[] => [to.ipv4, to.ipv6].flatMap((one) => kinds.map((kind): Probe => ({ kind, to: one, port })));
const four = <Value>(value: Value): Value[] => [value, value, value, value];
const banner = (to: string, port: number): string[] => ['python3', '-c', `import socket; s = socket.create_connection(('${to}', ${port}), timeout=2); print(s.recv(100).decode().strip())`];

describe('one node', () => {
  let cluster: Cluster;
  beforeAll(async () => {
    cluster = await Cluster.start('servicenode', {
      'pods.yaml': pod('client', idle),
      'services.yaml': [
        service('own', 30_090, listening, { externalIPs: [external.ipv4, external.ipv6] }), ...slices('own', address, listening),
        service('closed', 30_091, closed), ...slices('closed', address, closed),
        service('local', 30_092, listening, { externalTrafficPolicy: 'Local' }), ...slices('local', address, listening, hostname()),
        service('stay', 30_093, listening, { sessionAffinity: 'ClientIP' }, { 'service.cilium.io/lb-algorithm': 'maglev' }), ...slices('stay', address, listening),
        service('shut', 30_094, listening, { type: 'LoadBalancer', loadBalancerSourceRanges: ['203.0.113.0/24'] }), ...slices('shut', address, listening),
      ],
    });
    for (const one of [`${external.ipv4}/32 via ${address.ipv4}`, `${external.ipv6}/128 via ${address.ipv6}`]) cluster.on('outside', 'ip', 'route', 'add', ...one.split(' '));
    cluster.background('node', ...bound([address.ipv4, address.ipv6], listening));
    await cluster.until('the process listens', () => cluster.probe('node', both(address, listening)).every((one) => one === 'open'));
  }, 60_000);
  afterAll(async () => { await cluster.close(); });

  const rows: readonly (readonly [name: string, from: string, to: Ends, port: number, answer: string])[] = [
    ['a NodePort', 'outside', address, 30_090, 'open'], ['an external address', 'outside', external, 80, 'open'], ['a NodePort where nobody listens', 'outside', address, 30_091, 'refused'],
    ['of local backends alone', 'outside', address, 30_092, 'open'], ['with affinity and a Maglev table', 'outside', address, 30_093, 'open'],
    ['the process itself, past all services', 'outside', address, listening, 'open'],
    ['a workload asks', 'default/client', address, 30_090, 'open'], ['the node asks', 'node', address, 30_090, 'open'],
  ];
  test.each(rows)('%s, from %s', (_, from, to, port, answer) => { expect(cluster.probe(from, both(to, port))).toEqual(four(answer)); });

  test('source ranges hold', () => {
    const [row] = cluster.json<{ name: string; loadBalancerIps: string[] }[]>('db', 'show', 'services').filter(({ name }) => name === 'shut');
    for (const one of row!.loadBalancerIps) cluster.on('outside', 'ip', 'route', 'add', one, 'via', one.includes(':') ? address.ipv6 : address.ipv4);
    expect(cluster.probe('outside', row!.loadBalancerIps.flatMap((to) => kinds.map((kind): Probe => ({ kind, to, port: 80 }))))).toEqual(row!.loadBalancerIps.flatMap(() => ['silent', 'silent']));
  });

  test('the process sees the client itself', () => {
    expect([address.ipv4, address.ipv6].map((to) => cluster.on('outside', ...banner(to, 30_090)).out.trim())).toEqual([`from ${outside.ipv4}`, `from ${outside.ipv6}`]);
  });

  test('whole transfers arrive, datagrams in pieces too', () => {
    const { out, error } = cluster.on('outside', ...transfer([address.ipv4, address.ipv6], 30_090, kinds));
    expect(out.trim() || error).toBe('True True True True');
  });

  test('flows go to the host', () => {
    cluster.probe('outside', both(address, 30_090));
    const { out } = cluster.weir('observe', '--last', '200', '--port', String(listening), '--from-ip', outside.ipv4, '--protocol', 'tcp');
    expect(out).toMatch(new RegExp(`${outside.ipv4}:\\d+ \\(world-ipv4\\) -> .*:${listening} \\(host\\) to-host FORWARDED`));
  });

  test('an open connection outlives the agent, and new ones go on without it', async () => {
    const child = cluster.background('outside', 'python3', '-uc', `
import socket, time
s = socket.create_connection(('${address.ipv4}', 30090), timeout=5); s.recv(100)
print('open', flush=True)
for i in range(100):
    s.sendall(b'x'); assert s.recv(1) == b'x'; time.sleep(0.03)
print('whole', flush=True)`);
    const ended = new Promise((resolve) => { child.once('exit', resolve); });
    let said = '';
    child.stdout!.on('data', (data: Buffer) => { said += data.toString(); });
    await cluster.until('it is open', () => said.includes('open'));
    await cluster.stop('SIGKILL');
    expect(cluster.probe('outside', both(address, 30_090))).toEqual(four('open'));
    await cluster.up();
    await ended;
    expect(said).toBe('open\nwhole\n');
    expect(cluster.probe('outside', both(address, 30_090))).toEqual(four('open'));
  }, 30_000);
});

const modes = [{ mode: 'plain routes', name: 'servicenode2', args: ['--tunnel', 'disabled'] }, { mode: 'VXLAN', name: 'servicenode2v', args: ['--tunnel', 'vxlan'] }] as const;

describe.each(modes)('two nodes, $mode: the process is on node2', ({ name, args }) => {
  let cluster: NodesCluster;
  const own: Record<string, Ends> = {};
  beforeAll(async () => {
    cluster = await NodesCluster.startNodes(name, { 'pods.yaml': pod('client', idle, { app: 'client' }, 'default', { nodeName: 'node1' }) }, { 'default/client': 'node1' }, args);
    for (const row of cluster.json<(Ends & { name: Node })[]>('node', 'list')) own[row.name] = row;
    cluster.write('services.yaml', [
      service('own', 30_090, listening), ...slices('own', own['node2']!, listening, 'node2'),
      service('dsr', 30_091, listening, {}, { 'service.cilium.io/forwarding-mode': 'dsr' }), ...slices('dsr', own['node2']!, listening, 'node2'),
    ]);
    cluster.backgroundOn('node2', ...bound([own['node2']!.ipv4, own['node2']!.ipv6], listening));
    await cluster.until('the service answers', () => cluster.probe('node', both(own['node2']!, 30_090)).every((one) => one === 'open'));
  }, 60_000);
  afterAll(async () => { await cluster.close(); });

  const rows: readonly (readonly [name: string, node: Node, port: number])[] = [
    ['its own node', 'node2', 30_090], ['another node (SNAT)', 'node1', 30_090], ['its own node, of a service with DSR', 'node2', 30_091],
    ['another node, which masquerades although DSR is asked for', 'node1', 30_091],
  ];
  test.each(rows)('a client outside asks %s', (_, node, port) => { expect(cluster.probe('node', both(own[node]!, port))).toEqual(four('open')); });
});
