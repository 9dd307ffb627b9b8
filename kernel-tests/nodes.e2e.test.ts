// End to end over several nodes: who reaches whom, under which address, judged where; by plain routes and in VXLAN, both families.
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { pod, policy } from './cluster.ts';
import { NodesCluster, type Node } from './nodes.ts';
import { idle, server, transfer, type Answer, type Probe } from './programs.ts';

/** `whole`: with the tests for which it makes no difference by which addresses the nodes reach each other. */
const modes = [
  { mode: 'plain routes', name: 'plain', args: ['--tunnel', 'disabled'], mtu: 1500, whole: true },
  { mode: 'VXLAN over IPv4', name: 'vxlan', args: ['--tunnel', 'vxlan'], mtu: 1450, whole: true },
  { mode: 'VXLAN over IPv6', name: 'vxlan6', args: ['--tunnel', 'vxlan', '--underlay', 'ipv6'], mtu: 1430, whole: false },
] as const;

const at: Readonly<Record<string, Node>> = { 'default/client': 'node1', 'default/bound': 'node1', 'default/intruder': 'node1', 'default/server': 'node2', 'default/open': 'node2' };
const pods = Object.entries(at).map(([key, nodeName]) => {
  const name = key.split('/')[1]!;
  return pod(name, nodeName === 'node2' ? server(8080, 9090) : idle, { app: name }, 'default', { nodeName });
});
const policies = [
  policy('server', { endpointSelector: { matchLabels: { app: 'server' } }, ingress: [
    { fromEndpoints: ['client', 'bound'].map((app) => ({ matchLabels: { app } })), toPorts: [{ ports: [{ port: '8080', protocol: 'ANY' }] }] },
    { fromEndpoints: [{ matchLabels: { app: 'client' } }], icmps: [{ fields: [{ type: 8, family: 'IPv4' }, { type: 128, family: 'IPv6' }] }] }] }),
  policy('bound', { endpointSelector: { matchLabels: { app: 'bound' } }, egress: [{ toEndpoints: [{ matchLabels: { app: 'open' } }] }] }),
];

interface FlowLine { readonly flow: { readonly verdict: string; readonly node_name: string; readonly traffic_direction: string; readonly source: { readonly pod_name?: string }; readonly destination: { readonly pod_name?: string } } }

describe.each(modes)('$mode', ({ name, args, mtu, whole }) => {
  let cluster: NodesCluster;
  beforeAll(async () => { cluster = await NodesCluster.startNodes(name, { 'pods.yaml': pods, 'policies.yaml': policies }, at, args); }, 60_000);
  afterAll(async () => { await cluster.close(); });

  const probes = (to: string, ...kinds: readonly (Probe['kind'] | 'other')[]): Probe[] => [cluster.end(to).ipv4, cluster.end(to).ipv6]
    .flatMap((address) => kinds.map((kind): Probe => (kind === 'ping' ? { kind, to: address } : { kind: kind === 'other' ? 'tcp' : kind, to: address, port: kind === 'other' ? 9090 : 8080 })));

  const reach: readonly (readonly [from: string, to: Readonly<Record<string, Readonly<Partial<Record<Probe['kind'] | 'other', Answer>>>>>])[] = [
    ['default/client', { 'default/open': { tcp: 'open', udp: 'open', ping: 'open' }, 'default/server': { tcp: 'open', udp: 'open', ping: 'open', other: 'silent' } }],
    ['default/open', { 'default/client': { ping: 'open', tcp: 'refused' } }],
    ['default/intruder', { 'default/open': { tcp: 'open' }, 'default/server': { tcp: 'silent', udp: 'silent', ping: 'silent' } }],
    ['default/bound', { 'default/open': { tcp: 'open' }, 'default/server': { tcp: 'silent', udp: 'silent' } }],
  ];
  test.each(reach)('%s reaches whom it may, both families', (from, to) => {
    const asked = Object.entries(to).flatMap(([end, answers]) => probes(end, ...Object.keys(answers) as (keyof typeof answers)[]));
    expect(cluster.probe(from, asked)).toEqual(Object.values(to).flatMap((answers) => [...Object.values(answers), ...Object.values(answers)]));
  });

  if (whole) {
    test('each end judges its half, and flows bear its node and the names of both ends', () => {
      const drops = (node: Node, pod_: string) => cluster.weir('--node', node, 'observe', '--from-pod', pod_, '--verdict', 'DROPPED', '--last', '50', '-o', 'json').out.trim().split('\n').filter((line) => line !== '')
        .map((line) => (JSON.parse(line) as FlowLine).flow).filter((flow) => flow !== undefined);
      const kinds = (node: Node, from: string): string[] => [...new Set(drops(node, from).map(({ node_name: seenBy, traffic_direction: direction, source, destination }) =>
        `${seenBy.replace(/^.*\//, '')} ${direction} ${source.pod_name}->${destination.pod_name}`))];
      expect([kinds('node1', 'default/intruder'), kinds('node2', 'default/intruder')]).toEqual([[], ['node2 INGRESS intruder->server']]);
      expect([kinds('node1', 'default/bound'), kinds('node2', 'default/bound')]).toEqual([['node1 EGRESS bound->server'], []]);
    });

    test('a workload is seen under its own address on other nodes, and under its node\'s outside', () => {
      const client = cluster.end('default/client');
      const own = cluster.json<{ name: string; ipv4: string; ipv6: string }[]>('node', 'list').find((row) => row.name === 'node1')!;
      const banner = (to: string, port: number): string => cluster.exec('default/client', 'python3', '-c', `import socket; s = socket.create_connection(('${to}', ${port}), timeout=2); print(s.recv(100).decode().strip())`).out.trim();
      const { ipv4, ipv6 } = cluster.end('default/open');
      expect([banner(ipv4, 8080), banner(ipv6, 8080)]).toEqual([`from ${client.ipv4}`, `from ${client.ipv6}`]);
      const machine = { ipv4: own.ipv4.replace(/\.2$/, '.1'), ipv6: own.ipv6.replace(/::2$/, '::1') };
      const listener = cluster.background('node', ...server(7070));
      expect(listener.pid).toBeGreaterThan(0);
      expect(cluster.on('node', 'sh', '-c', 'for i in $(seq 50); do ss -ltn | grep -q :7070 && exit 0; sleep 0.1; done; exit 1').code).toBe(0);
      expect([banner(machine.ipv4, 7070), banner(machine.ipv6, 7070)]).toEqual([`from ${own.ipv4}`, `from ${own.ipv6}`]);
    });

    test('identities agree', () => {
      const numbers = (node: Node): unknown => cluster.json<{ kind: string; id: number; labels: string[] }[]>('--node', node, 'identity', 'list').filter(({ kind }) => kind === 'workload').map(({ id, labels }) => [id, labels]).sort();
      expect(numbers('node1')).toEqual(numbers('node2'));
    });

    test('a node reaches its own workloads', () => {
      expect(cluster.probe('node2', probes('default/server', 'tcp'))).toEqual(['open', 'open']);
    });
  }

  test(`packets of ${mtu} bytes fit, larger ones do not leave, and whole transfers arrive`, () => {
    const { ipv4, ipv6 } = cluster.end('default/open');
    const ping = (to: string, size: number): number | null => cluster.exec('default/client', 'ping', '-n', '-c', '1', '-W', '1', '-M', 'do', '-s', String(size), to).code;
    expect([ping(ipv4, mtu - 28), ping(ipv4, mtu - 27), ping(ipv6, mtu - 48), ping(ipv6, mtu - 47)]).toEqual([0, 1, 0, 1]);
    const { out, error } = cluster.exec('default/client', ...transfer([ipv4, ipv6], 8080, ['tcp', 'udp']));
    expect(out.trim() || error).toBe('True True True True');
  });
});
