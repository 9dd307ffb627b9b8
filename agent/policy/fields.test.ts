// Every L3/L4 field of a CiliumNetworkPolicy once, with a flow that it lets through and one that it does not.
import { describe, expect, test } from '@jest/globals';
import { judge, judgeFlow, makeWorld, type CaseFlow, type CaseParty, type PolicyCase } from './offline.ts';

type Spec = Record<string, unknown>;
const endpoints: PolicyCase['endpoints'] = [
  { name: 'db', namespace: 'shop', labels: { app: 'db' }, namedPorts: [{ name: 'sql', port: 5432, protocol: 'TCP' }, { name: 'dns', port: 53, protocol: 'UDP' }] },
  { name: 'web', namespace: 'shop', labels: { app: 'web' }, serviceAccount: 'front' }, { name: 'job', namespace: 'shop', labels: { app: 'job' } }, { name: 'web', namespace: 'blue', labels: { app: 'web' } },
];
const namespaces = { shop: { labels: { team: 'red' } }, blue: { labels: { team: 'blue' } } };
const world = (object: Spec, kind = 'CiliumNetworkPolicy') => makeWorld({ ipv6: true, namespaces, endpoints,
  policies: [{ apiVersion: 'cilium.io/v2', kind, metadata: { name: 'p', ...(kind === 'CiliumNetworkPolicy' ? { namespace: 'shop' } : {}) }, ...object }] });
const db = { endpointSelector: { matchLabels: { app: 'db' } } };
const ingress = (...entries: Spec[]): Spec => ({ spec: { ...db, ingress: entries } });
const egress = (...entries: Spec[]): Spec => ({ spec: { ...db, egress: entries } });
const labels = (matchLabels: Record<string, string>): Spec => ({ fromEndpoints: [{ matchLabels }] });
const ports = (...items: Spec[]): Spec => ({ toPorts: [{ ports: items }] });
const icmps = (...fields: Spec[]): Spec => ({ icmps: [{ fields }] });

/** `PARTY PORT/PROTOCOL`: towards db for ingress, from it for egress. */
function flowOf(text: string, direction: 'ingress' | 'egress'): CaseFlow {
  const [peer, service = '80/TCP'] = text.split(' ') as [string, string?];
  const [port, protocol] = service.split('/') as [string, string];
  const party: CaseParty = /^[\d.]+$|::/.test(peer) ? { ip: peer } : peer.includes('/') ? peer : { entity: peer };
  const number = protocol.startsWith('ICMP') ? { icmpType: Number(port) } : { port: Number(port) };
  return { direction, ...(direction === 'ingress' ? { from: party, to: 'shop/db' } : { from: 'shop/db', to: party }), protocol, ...number };
}

type Row = readonly [name: string, object: Spec, direction: 'ingress' | 'egress', allowed: string[], denied: string[], kind?: string];
const entity = (name: string): Spec => ingress({ fromEntities: [name] });
const rows: readonly Row[] = [
  ['spec and specs together', { spec: { ...db, ingress: [labels({ app: 'web' })] }, specs: [{ ...db, ingress: [labels({ app: 'job' })] }] }, 'ingress', ['shop/web', 'shop/job'], ['blue/web']],
  ['peers are of the own namespace', ingress(labels({ app: 'web' })), 'ingress', ['shop/web'], ['blue/web']],
  ['another namespace by name', ingress(labels({ app: 'web', 'k8s:io.kubernetes.pod.namespace': 'blue' })), 'ingress', ['blue/web'], ['shop/web']],
  ['a namespace by its labels', ingress(labels({ 'io.cilium.k8s.namespace.labels.team': 'blue' })), 'ingress', ['blue/web'], ['shop/web']],
  ['all namespaces', ingress({ fromEndpoints: [{ matchExpressions: [{ key: 'io.kubernetes.pod.namespace', operator: 'Exists' }] }] }), 'ingress', ['blue/web', 'shop/job'], ['remote-node', '192.0.2.1']],
  ['clusterwide: every namespace', { spec: { ...db, ingress: [labels({ app: 'web' })] } }, 'ingress', ['blue/web', 'shop/web'], ['shop/job'], 'CiliumClusterwideNetworkPolicy'],
  ['a service account', ingress(labels({ 'io.cilium.k8s.policy.serviceaccount': 'front' })), 'ingress', ['shop/web'], ['shop/job']],
  ['the own cluster', ingress(labels({ 'k8s:io.cilium.k8s.policy.cluster': 'default' })), 'ingress', ['shop/web'], ['blue/web']],
  ['another cluster', ingress(labels({ 'k8s:io.cilium.k8s.policy.cluster': 'east' })), 'ingress', [], ['shop/web']],
  ['entity all', entity('all'), 'ingress', ['shop/web', 'remote-node', '192.0.2.1', '2001:db8::1'], []],
  ['entity world', entity('world'), 'ingress', ['192.0.2.1', '2001:db8::1'], ['shop/web', 'remote-node']],
  ['entity cluster', entity('cluster'), 'ingress', ['shop/web', 'blue/web', 'remote-node', 'kube-apiserver', 'health', 'init', 'ingress', 'unmanaged'], ['192.0.2.1']],
  ['entity remote-node', entity('remote-node'), 'ingress', ['remote-node', 'kube-apiserver'], ['health']],
  ['entity kube-apiserver', entity('kube-apiserver'), 'ingress', ['kube-apiserver'], ['remote-node']],
  ...['health', 'init', 'ingress', 'unmanaged'].map((name): Row => [`entity ${name}`, entity(name), 'ingress', [name], ['remote-node', 'shop/web']]),
  ['entity host, and the node may anyway', egress({ toEntities: ['host'] }), 'egress', ['host'], ['remote-node']],
  ['entity none', entity('none'), 'ingress', ['host'], ['shop/web']],
  ['prefixes of both families', ingress({ fromCIDR: ['192.0.2.0/24', '2001:db8::/32'] }), 'ingress', ['192.0.2.9', '2001:db8::9'], ['192.0.3.1', '2001:db9::1', 'shop/web']],
  ['a prefix less an exception', ingress({ fromCIDRSet: [{ cidr: '192.0.2.0/24', except: ['192.0.2.128/25'] }] }), 'ingress', ['192.0.2.1'], ['192.0.2.200']],
  ['a port by its name, the own', ingress(ports({ port: 'sql', protocol: 'TCP' })), 'ingress', ['shop/web 5432/TCP'], ['shop/web 5433/TCP', 'shop/web 5432/UDP']],
  ['a name means its own protocol only', ingress(ports({ port: 'dns' })), 'ingress', ['shop/web 53/UDP'], ['shop/web 53/TCP']],
  ['a name with an endPort is the port of that name', ingress(ports({ port: 'sql', endPort: 6000, protocol: 'TCP' })), 'ingress', ['shop/web 5432/TCP'], ['shop/web 5433/TCP']],
  ['a range', ingress(ports({ port: '80', endPort: 90, protocol: 'TCP' })), 'ingress', ['shop/web 80/TCP', 'shop/web 90/TCP'], ['shop/web 79/TCP', 'shop/web 91/TCP']],
  ['port 0 is every port', ingress(ports({ port: '0', protocol: 'UDP' })), 'ingress', ['shop/web 65535/UDP'], ['shop/web 1/TCP']],
  ['ANY is TCP, UDP and SCTP', ingress(ports({ port: '80', protocol: 'ANY' })), 'ingress', ['shop/web 80/TCP', 'shop/web 80/UDP', 'shop/web 80/SCTP'], ['shop/web 8/ICMP']],
  ['ICMP by number', ingress(icmps({ type: 8 })), 'ingress', ['shop/web 8/ICMP'], ['shop/web 0/ICMP', 'shop/web 8/ICMPv6', 'shop/web 8/TCP']],
  ['ICMP by name', ingress(icmps({ type: 'TimeExceeded' }, { family: 'IPv6', type: 'PacketTooBig' })), 'ingress', ['shop/web 11/ICMP', 'shop/web 2/ICMPv6'], ['shop/web 8/ICMP', 'shop/web 128/ICMPv6']],
  ['egress by labels and port', egress({ toEndpoints: [{ matchLabels: { app: 'web' } }], ...ports({ port: '80', protocol: 'TCP' }) }), 'egress', ['shop/web'], ['shop/web 81/TCP', 'shop/job', 'blue/web']],
  ['the other direction is open', ingress(labels({ app: 'web' })), 'egress', ['shop/job', '192.0.2.1'], []],
  ['default deny switched off', { spec: { ...db, ingressDeny: [labels({ app: 'web' })], enableDefaultDeny: { ingress: false } } }, 'ingress', ['shop/job'], ['shop/web']],
  ['a deny alone switches it on', { spec: { ...db, ingressDeny: [labels({ app: 'web' })] } }, 'ingress', [], ['shop/job', 'shop/web']],
  ['deny wins over a narrower allow', { spec: { ...db, ingress: [{ ...labels({ app: 'web' }), ...ports({ port: '80', protocol: 'TCP' }) }], ingressDeny: [{ fromEndpoints: [{}] }] } }, 'ingress', [], ['shop/web']],
  ['deny of one port', { spec: { ...db, ingress: [{ fromEntities: ['all'] }], ingressDeny: [ports({ port: '22', protocol: 'TCP' })] } }, 'ingress', ['shop/web'], ['shop/web 22/TCP', '192.0.2.1 22/TCP']],
];

describe.each(rows)('%s', (_, object, direction, allowed, denied, kind) => {
  const judged = world(object, kind);
  test.each([...allowed.map((text) => [text, 'allowed']), ...denied.map((text) => [text, 'denied'])])('%s is %s', (text, verdict) =>
    expect(judgeFlow(judged, flowOf(text, direction))).toBe(verdict));
});

test('log.value goes with every rule that decides', () => {
  const { spec } = ingress(labels({ app: 'web' }));
  const judged = world({ spec: { ...spec as Spec, log: { value: 'who came' } } });
  expect(judge(judged, flowOf('shop/web', 'ingress'), 'ingress').rules.map((rule) => rule.log)).toEqual(['who came']);
});
