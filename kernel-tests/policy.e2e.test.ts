// End to end: real processes in real namespaces under policies from files, IPv4 and IPv6.
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { Cluster, node, outside, pod, policy } from './cluster.ts';
import { idle, server, type Answer, type Probe } from './programs.ts';

const allow = (...ports: object[]): object => ({ toPorts: [{ ports }] });
const from = (...labels: Record<string, string>[]): object => ({ fromEndpoints: labels.map((matchLabels) => ({ matchLabels })) });
const subject = (app: string): object => ({ endpointSelector: { matchLabels: { app } } });
const tcp = (port: string, endPort?: number): object => ({ port, protocol: 'TCP', ...(endPort === undefined ? {} : { endPort }) });

const files = {
  'pods.yaml': [
    { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'other', labels: { team: 'blue' } } },
    pod('open', server(8080, 9090)), pod('labels', server(8080, 9090)), pod('ranges', server(8080, 9090, 9191)), pod('deny', server(8080, 9090)), pod('entity', server(8080)),
    pod('host-denied', server(8080)), pod('udp', server(8080, 9090)), pod('icmp', server(8080)), pod('blue', server(8080)), pod('named', server(8080, 9090), { app: 'named' }, 'default'),
    pod('a', idle), pod('b', idle), pod('c', idle, { app: 'c' }, 'other'), pod('locked', idle), pod('outward', idle), pod('cidr', idle), pod('broken', server(8080)),
  ],
  'policies.yaml': [
    policy('labels', { ...subject('labels'), ingress: [{ ...from({ app: 'a' }), ...allow(tcp('8080')) }] }),
    policy('ranges', { ...subject('ranges'), ingress: [allow(tcp('9000', 9100))] }),
    policy('deny', { ...subject('deny'), ingress: [{ fromEntities: ['all'] }], ingressDeny: [{ ...from({ app: 'b' }), ...allow(tcp('8080')) }] }),
    policy('entity', { ...subject('entity'), ingress: [{ fromEntities: ['world'] }] }),
    policy('host-denied', { ...subject('host-denied'), ingressDeny: [{ fromEntities: ['host'] }], enableDefaultDeny: { ingress: false } }),
    policy('udp', { ...subject('udp'), ingress: [allow({ port: '8080', protocol: 'UDP' })] }),
    policy('icmp', { ...subject('icmp'), ingress: [{ icmps: [{ fields: [{ type: 8 }, { family: 'IPv6', type: 'EchoRequest' }] }] }] }),
    policy('blue', { ...subject('blue'), ingress: [from({ 'io.cilium.k8s.namespace.labels.team': 'blue' })] }),
    policy('locked', { ...subject('locked'), egress: [{ toEndpoints: [{ matchLabels: { app: 'open' } }], ...allow(tcp('8080')) }] }),
    policy('outward', { ...subject('outward'), egress: [{ toEntities: ['world', 'host'] }] }),
    policy('cidr', { ...subject('cidr'), egress: [{ toCIDRSet: [{ cidr: '198.51.100.0/24', except: [`${outside.ipv4}/32`] }, { cidr: '2001:db8:51::/64' }] }] }),
    policy('broken', { ...subject('broken'), egress: [{ toGroups: [{ aws: { region: 'eu' } }] }] }),
  ],
};

let cluster: Cluster;
beforeAll(async () => {
  cluster = await Cluster.start('policy', files);
  const listener = cluster.background('outside', ...server(8080));
  cluster.background('node', ...server(8080));
  await cluster.until('servers outside listen', () => listener.pid !== undefined && cluster.probe('node', [{ kind: 'tcp', to: outside.ipv4, port: 8080 }])[0] === 'open');
  await cluster.until('workloads listen', () => cluster.probe('node', [{ kind: 'tcp', to: cluster.end('default/open').ipv4, port: 8080 }])[0] === 'open');
}, 120_000);
afterAll(async () => { await cluster.close(); });

interface Row { readonly name: string; readonly from: string; readonly to: string; readonly probe: Omit<Probe, 'to'>; readonly answer: Answer }
const t = (port: number): Omit<Probe, 'to'> => ({ kind: 'tcp', port });
const u = (port: number): Omit<Probe, 'to'> => ({ kind: 'udp', port });
const ping: Omit<Probe, 'to'> = { kind: 'ping' };

const rows: readonly Row[] = [
  { name: 'no policy: TCP', from: 'default/a', to: 'open', probe: t(8080), answer: 'open' },
  { name: 'no policy: UDP', from: 'default/a', to: 'open', probe: u(8080), answer: 'open' },
  { name: 'no policy: ping', from: 'default/a', to: 'open', probe: ping, answer: 'open' },
  { name: 'no policy: from another namespace', from: 'other/c', to: 'open', probe: t(8080), answer: 'open' },
  { name: 'a port that nobody listens on is refused by a reset', from: 'default/a', to: 'open', probe: t(1), answer: 'refused' },
  { name: 'a UDP port that nobody listens on is refused by an ICMP error', from: 'default/a', to: 'open', probe: u(1), answer: 'refused' },
  { name: 'fromEndpoints: the label', from: 'default/a', to: 'labels', probe: t(8080), answer: 'open' },
  { name: 'fromEndpoints: another port', from: 'default/a', to: 'labels', probe: t(9090), answer: 'silent' },
  { name: 'fromEndpoints: another label', from: 'default/b', to: 'labels', probe: t(8080), answer: 'silent' },
  { name: 'fromEndpoints: another protocol', from: 'default/a', to: 'labels', probe: u(8080), answer: 'silent' },
  { name: 'fromEndpoints: no ping', from: 'default/a', to: 'labels', probe: ping, answer: 'silent' },
  { name: 'a port range', from: 'default/a', to: 'ranges', probe: t(9090), answer: 'open' },
  { name: 'above a port range', from: 'default/a', to: 'ranges', probe: t(9191), answer: 'silent' },
  { name: 'deny beats allow', from: 'default/b', to: 'deny', probe: t(8080), answer: 'silent' },
  { name: 'deny names one port only', from: 'default/b', to: 'deny', probe: t(9090), answer: 'open' },
  { name: 'deny names one peer only', from: 'default/a', to: 'deny', probe: t(8080), answer: 'open' },
  { name: 'entity world: not a workload', from: 'default/a', to: 'entity', probe: t(8080), answer: 'silent' },
  { name: 'the local host reaches its workloads', from: 'node', to: 'labels', probe: t(9090), answer: 'open' },
  { name: 'the local host, denied by name', from: 'node', to: 'host-denied', probe: t(8080), answer: 'silent' },
  { name: 'a deny with default deny off denies only what it names', from: 'default/a', to: 'host-denied', probe: t(8080), answer: 'open' },
  { name: 'UDP is allowed', from: 'default/a', to: 'udp', probe: u(8080), answer: 'open' },
  { name: 'UDP is allowed, TCP is not', from: 'default/a', to: 'udp', probe: t(8080), answer: 'silent' },
  { name: 'echo requests are allowed', from: 'default/a', to: 'icmp', probe: ping, answer: 'open' },
  { name: 'echo requests are allowed, TCP is not', from: 'default/a', to: 'icmp', probe: t(8080), answer: 'silent' },
  { name: 'by namespace label', from: 'other/c', to: 'blue', probe: t(8080), answer: 'open' },
  { name: 'by namespace label: another namespace', from: 'default/a', to: 'blue', probe: t(8080), answer: 'silent' },
  { name: 'egress: what it may', from: 'default/locked', to: 'open', probe: t(8080), answer: 'open' },
  { name: 'egress: another port', from: 'default/locked', to: 'open', probe: t(9090), answer: 'silent' },
  { name: 'egress: another workload', from: 'default/locked', to: 'deny', probe: t(9090), answer: 'silent' },
  { name: 'to the outside, under the address of the node', from: 'default/a', to: 'outside', probe: t(8080), answer: 'open' },
  { name: 'UDP to the outside', from: 'default/a', to: 'outside', probe: u(8080), answer: 'open' },
  { name: 'ping to the outside', from: 'default/a', to: 'outside', probe: ping, answer: 'open' },
  { name: 'egress to the world', from: 'default/outward', to: 'outside', probe: t(8080), answer: 'open' },
  { name: 'egress to the host', from: 'default/outward', to: 'node', probe: t(8080), answer: 'open' },
  { name: 'egress to the world is not to workloads', from: 'default/outward', to: 'open', probe: t(8080), answer: 'silent' },
  { name: 'egress closed to the outside', from: 'default/locked', to: 'outside', probe: t(8080), answer: 'silent' },
  { name: 'to the host', from: 'default/a', to: 'node', probe: t(8080), answer: 'open' },
  { name: 'a policy with what is not enforced yet is refused, its workload goes on', from: 'default/a', to: 'broken', probe: t(8080), answer: 'open' },
];

describe.each(['ipv4', 'ipv6'] as const)('%s', (family) => {
  const addressOf = (to: string): string => (to === 'outside' ? outside : to === 'node' ? node : cluster.end(`default/${to}`))[family];

  test.each([...new Set(rows.map((row) => row.from))])('from %s', (who) => {
    const mine = rows.filter((row) => row.from === who);
    const answers = cluster.probe(who, mine.map((row) => ({ ...row.probe, to: addressOf(row.to) })));
    expect(Object.fromEntries(mine.map((row, index) => [row.name, answers[index]]))).toEqual(Object.fromEntries(mine.map((row) => [row.name, row.answer])));
  });

  test('the outside sees the address of the node', () => {
    const look = `import socket; s = socket.create_connection(('${outside[family]}', 8080), timeout=2); print(s.recv(100).decode().strip())`;
    expect(cluster.exec('default/a', 'python3', '-c', look).out.trim()).toBe(`from ${node[family]}`);
  });

  test('an address that no workload has is unreachable and never leaves the node', () => {
    const none = family === 'ipv4' ? cluster.end('default/open').ipv4.replace(/\d+$/, '250') : cluster.end('default/open').ipv6.replace(/[^:]+$/, 'fffa');
    expect(cluster.probe('default/a', [{ kind: 'tcp', to: none, port: 8080 }])[0]).not.toBe('open');
  });
});

test('CIDR with an except: the family without one passes', () => {
  const answers = cluster.probe('default/cidr', [{ kind: 'tcp', to: outside.ipv4, port: 8080 }, { kind: 'tcp', to: outside.ipv6, port: 8080 }]);
  expect(answers).toEqual(['silent', 'open']);
});

test('what is not enforced yet is said, for that policy alone', () => {
  const policies = cluster.json<{ name: string; state: string; message?: string }[]>('policy', 'list');
  expect(policies.filter((row) => row.state === 'refused').map((row) => row.name)).toEqual(['broken']);
  expect(policies.find((row) => row.name === 'broken')!.message).toContain('toGroups');
});
