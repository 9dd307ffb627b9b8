// End to end: clients outside reach services at NodePorts and external addresses, with real sockets; the backend on the node that was asked or on
// another one, which is told by masquerading (SNAT) or answers itself (DSR); by plain routes and in VXLAN, both families.
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { Cluster, node as address, outside, pod, policy } from './cluster.ts';
import { NodesCluster, type Node } from './nodes.ts';
import { server, transfer, type Probe } from './programs.ts';

const external = { ipv4: '192.0.2.50', ipv6: '2001:db8:50::50' };
const ports = [{ name: 'tcp', protocol: 'TCP' }, { name: 'udp', protocol: 'UDP' }];
const service = (name: string, app: string, nodePort: number, more: object = {}, annotations: Record<string, string> = {}): object => ({
  apiVersion: 'v1', kind: 'Service', metadata: { name, namespace: 'default', annotations },
  spec: { type: 'NodePort', selector: { app }, ipFamilyPolicy: 'RequireDualStack', ports: ports.map((one) => ({ ...one, port: 80, targetPort: 8080, nodePort })), ...more },
});
/** What the server says of who asks; TCP. */
const banner = (to: string, port: number): string[] => ['python3', '-c', `import socket; s = socket.create_connection(('${to}', ${port}), timeout=2); print(s.recv(100).decode().strip())`];
const both = (to: { ipv4: string; ipv6: string }, port: number): Probe[] => [to.ipv4, to.ipv6].flatMap((one) => (['tcp', 'udp'] as const).map((kind): Probe => ({ kind, to: one, port })));
const four = <Value>(value: Value): Value[] => [value, value, value, value];

describe('one node', () => {
  let cluster: Cluster;
  beforeAll(async () => {
    cluster = await Cluster.start('nodeport', {
      'pods.yaml': [pod('web', server(8080)), pod('shut', server(8080))],
      'services.yaml': [
        service('web', 'web', 30_080, { externalIPs: [external.ipv4, external.ipv6] }), service('shut', 'shut', 30_081), service('nobody', 'nobody', 30_082),
        service('maglev', 'web', 30_083, {}, { 'service.cilium.io/lb-algorithm': 'maglev' }), service('stay', 'web', 30_084, { sessionAffinity: 'ClientIP' }),
        service('local', 'web', 30_085, { externalTrafficPolicy: 'Local' }),
      ],
      'policies.yaml': policy('shut', { endpointSelector: { matchLabels: { app: 'shut' } }, ingress: [{ fromEndpoints: [{}] }] }),
    });
    for (const one of [`${external.ipv4}/32 via ${address.ipv4}`, `${external.ipv6}/128 via ${address.ipv6}`]) cluster.on('outside', 'ip', 'route', 'add', ...one.split(' '));
  }, 60_000);
  afterAll(async () => { await cluster.close(); });

  const rows: readonly (readonly [name: string, port: number, answer: string])[] = [
    ['a NodePort', 30_080, 'open'], ['behind a policy that lets in workloads alone', 30_081, 'silent'], ['without backends', 30_082, 'silent'],
    ['by a Maglev table', 30_083, 'open'], ['with affinity', 30_084, 'open'], ['of local backends alone', 30_085, 'open'],
  ];
  test.each(rows)('%s, %d: %s', (_, port, answer) => { expect(cluster.probe('outside', both(address, port))).toEqual(four(answer)); });

  test('an external address, whose port is the service\'s own', () => { expect(cluster.probe('outside', both(external, 80))).toEqual(four('open')); });

  test('the server sees the client itself', () => {
    const said = [address.ipv4, address.ipv6].map((to) => cluster.on('outside', ...banner(to, 30_080)).out.trim());
    expect(said).toEqual([`from ${outside.ipv4}`, `from ${outside.ipv6}`]);
  });

  test('a workload reaches a NodePort of its own node, also when that leads back to itself', () => {
    expect(cluster.probe('default/shut', both(address, 30_080))).toEqual(four('open'));
    expect(cluster.probe('default/web', both(address, 30_080))).toEqual(four('open'));
  });
});

const at: Readonly<Record<string, Node>> = { 'default/web': 'node2' };
const modes = [
  { mode: 'plain routes', name: 'nodeport2', args: ['--tunnel', 'disabled'] },
  { mode: 'VXLAN', name: 'nodeport2v', args: ['--tunnel', 'vxlan'] },
  { mode: 'plain routes and XDP', name: 'nodeport2x', args: ['--tunnel', 'disabled', '--xdp', 'auto'] },
] as const;

describe.each(modes)('two nodes, $mode', ({ mode, name, args }) => {
  let cluster: NodesCluster;
  const own: Record<string, { ipv4: string; ipv6: string }> = {};
  /** The machine on the network between the nodes, which is none of them. */
  let client: { ipv4: string; ipv6: string };
  beforeAll(async () => {
    cluster = await NodesCluster.startNodes(name, {
      'pods.yaml': pod('web', server(8080), { app: 'web' }, 'default', { nodeName: 'node2' }),
      'services.yaml': [
        service('web', 'web', 30_080), service('dsr', 'web', 30_081, {}, { 'service.cilium.io/forwarding-mode': 'dsr' }),
        service('local', 'web', 30_082, { externalTrafficPolicy: 'Local' }),
      ],
    }, at, args);
    for (const row of cluster.json<{ name: Node; ipv4: string; ipv6: string }[]>('node', 'list')) own[row.name] = row;
    client = { ipv4: own['node1']!.ipv4.replace(/\.2$/, '.1'), ipv6: own['node1']!.ipv6.replace(/::2$/, '::1') };
  }, 60_000);
  afterAll(async () => { await cluster.close(); });

  const rows: readonly (readonly [name: string, node: Node, port: number, answer: string])[] = [
    ['the backend\'s own node', 'node2', 30_080, 'open'], ['another node (SNAT)', 'node1', 30_080, 'open'],
    ['the backend\'s own node, of a service with DSR', 'node2', 30_081, 'open'], ['another node (DSR)', 'node1', 30_081, 'open'],
    ['local backends alone, at their node', 'node2', 30_082, 'open'], ['local backends alone, elsewhere', 'node1', 30_082, 'silent'],
  ];
  test.each(rows)('%s: %s, %d: %s', (_, node, port, answer) => { expect(cluster.probe('node', both(own[node]!, port))).toEqual(four(answer)); });

  test('status says how XDP runs', () => {
    expect(cluster.json<{ xdp: object }>('--node', 'node1', 'status').xdp).toEqual(mode === 'plain routes and XDP' ? { eth0: 'generic' } : {});
  });

  const seen: readonly (readonly [name: string, port: number, as: 'node1' | 'client'])[] = [['SNAT', 30_080, 'node1'], ['DSR', 30_081, 'client']];
  test.each(seen)('%s, %d: the server sees %s', (_, port, as) => {
    const said = [own['node1']!.ipv4, own['node1']!.ipv6].map((to) => { const { out, error } = cluster.on('node', ...banner(to, port)); return out.trim() || error; });
    const who = as === 'client' ? client : own['node1']!;
    expect(said).toEqual([`from ${who.ipv4}`, `from ${who.ipv6}`]);
  });

  test.each([['SNAT', 30_080], ['DSR', 30_081]])('%s, %d: whole transfers arrive', (_, port) => {
    const { out, error } = cluster.on('node', ...transfer([own['node1']!.ipv4, own['node1']!.ipv6], port, ['tcp']));
    expect(out.trim() || error).toBe('True True');
  });
});
