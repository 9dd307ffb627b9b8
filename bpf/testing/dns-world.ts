// A client whose egress is allowed to names alone, its name servers and what is outside, as the reconciler gets them: for tables of DNS packets.
import { parse } from 'yaml';
import type { EndpointRow } from '../../agent/endpoint/tables.ts';
import { RESERVED, reservedIdentities } from '../../agent/identity/reserved.ts';
import type { IpcacheRow } from '../../agent/ipcache/tables.ts';
import { compile } from '../../agent/policy/compile.ts';
import type { PolicyImage } from '../../agent/policy/image.ts';
import { readRules } from '../../agent/policy/rules.ts';
import { here } from './bench.ts';

export const client = { ipv4: '10.0.0.1', ipv6: 'fd00::1' };
export const server = { ipv4: '10.0.0.2', ipv6: 'fd00::2' };
export const other = { ipv4: '10.0.0.3', ipv6: 'fd00::3' };
const serverAt = 40;
export const families = [
  { family: 'IPv4', own: client.ipv4, dns: server.ipv4, also: other.ipv4, target: '203.0.113.9' },
  { family: 'IPv6', own: client.ipv6, dns: server.ipv6, also: other.ipv6, target: '2001:db8:9::9' },
] as const;
export type Family = (typeof families)[number];

export const egress = `
- toEndpoints: [{matchLabels: {app: dns}}]
  toPorts:
    - ports: [{port: "53", protocol: ANY}]
      rules: {dns: [{matchPattern: "*.example.test"}, {matchName: exact.test}]}
- toEndpoints: [{matchLabels: {app: free}}]
  toPorts: [{ports: [{port: "53", protocol: UDP}], rules: {dns: [{matchName: exact.test}]}}]
- toEndpoints: [{matchLabels: {app: free}}]
- toFQDNs: [{matchPattern: "*.example.test"}]
  toPorts: [{ports: [{port: "443", protocol: TCP}]}]
- toFQDNs: [{matchName: exact.test}]
  toPorts: [{ports: [{port: "80", protocol: TCP}]}]
`;
const labelsOf = (app: string): string[] => [`k8s:app=${app}`, 'k8s:io.cilium.k8s.policy.cluster=default', 'k8s:io.kubernetes.pod.namespace=default'];
const apps = ['client', 'dns', 'free'] as const;
export const ends = [client, server, other].map((own, index): EndpointRow => ({
  id: index + 1, key: `default/${apps[index]}`, namespace: 'default', name: apps[index]!, uid: 'u', labels: labelsOf(apps[index]!), identity: 300 + index, ...own, interfaceName: 'x',
  ifindex: index === 0 ? here : serverAt + index, mac: `02:00:00:00:00:0${index + 1}`, hostMac: '02:00:00:00:00:fe', namedPorts: [], state: 'ready',
}));
const row = (prefix: string, identity: number, ifindex = 0, host = false): IpcacheRow => ({ prefix, identity, ifindex, host, origin: 'policy' });
export const prefixes = [
  ...ends.flatMap((end) => [row(`${end.ipv4}/32`, end.identity, end.ifindex), row(`${end.ipv6}/128`, end.identity, end.ifindex)]),
  row('0.0.0.0/0', RESERVED['world-ipv4']), row('::/0', RESERVED['world-ipv6']), row('192.0.2.1/32', RESERVED.host, 0, true), row('2001:db8::1/128', RESERVED.host, 0, true),
];

/** The client's policy with these egress entries. */
export function imageOf(text: string): PolicyImage {
  const object = { apiVersion: 'cilium.io/v2', kind: 'CiliumNetworkPolicy', metadata: { name: 'names', namespace: 'default' }, spec: { endpointSelector: { matchLabels: { app: 'client' } }, egress: parse(text) as unknown } };
  const identities = [...reservedIdentities(), ...ends.map(({ identity, labels }) => ({ id: identity, labels }))];
  return compile({ rules: readRules(object, []), identities, endpoints: ends, cidrIdentity: () => 0x1000001, ipv6: true });
}
