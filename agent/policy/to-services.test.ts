import { describe, expect, test } from '@jest/globals';
import { manifestTable, problemTable, type ManifestRow } from '../directory/tables.ts';
import { serviceTable, sliceTable, type ServiceRow, type SliceRow } from '../service/tables.ts';
import { PolicySet } from './reflector.ts';
import type { Peer } from './rule.ts';
import { readRules } from './rules.ts';
import { labelSet, matches } from './selector.ts';
import { policyServices } from './services.ts';
import { policyTable } from './tables.ts';
import type { PolicyService } from './to-services.ts';

const services: readonly PolicyService[] = [
  { namespace: 'shop', name: 'web', labels: { tier: 'front' }, selector: { app: 'web' }, addresses: [] },
  { namespace: 'shop', name: 'db', labels: { tier: 'data' }, selector: { app: 'db', role: 'main' }, addresses: [] },
  { namespace: 'other', name: 'web', labels: { tier: 'front' }, selector: { app: 'web' }, addresses: [] },
  { namespace: 'shop', name: 'legacy', labels: {}, addresses: ['192.0.2.7', '2001:db8::7'] },
];
const object = (item: object, kind = 'CiliumNetworkPolicy') => ({
  apiVersion: 'cilium.io/v2', kind, metadata: { name: 'p', ...(kind === 'CiliumNetworkPolicy' ? { namespace: 'shop' } : {}) }, spec: { endpointSelector: {}, egress: [{ toServices: [item] }] },
});
const peersOf = (item: object, kind?: string): readonly Peer[] => readRules(object(item, kind), [], 'enforce', services)[0]!.rules[0]!.peers as readonly Peer[];

const pod = (namespace: string, labels: Record<string, string>) => labelSet([...Object.entries(labels).map(([key, value]) => `k8s:${key}=${value}`), `k8s:io.kubernetes.pod.namespace=${namespace}`, 'k8s:io.cilium.k8s.policy.cluster=default']);
const pods = {
  'shop/web': pod('shop', { app: 'web' }), 'shop/db': pod('shop', { app: 'db', role: 'main' }), 'shop/db-replica': pod('shop', { app: 'db', role: 'copy' }), 'other/web': pod('other', { app: 'web' }),
};
const selected = (peers: readonly Peer[]): string[] => [
  ...Object.entries(pods).filter(([, labels]) => peers.some((peer) => peer.kind === 'labels' && matches(peer.selector, labels))).map(([name]) => name),
  ...peers.flatMap((peer) => (peer.kind === 'cidr' ? [peer.prefix.text] : [])),
];

describe('whom toServices means', () => {
  test.each([
    ['by name, in the policy\'s own namespace', { k8sService: { serviceName: 'web' } }, ['shop/web']],
    ['by name and namespace', { k8sService: { serviceName: 'web', namespace: 'other' } }, ['other/web']],
    ['all labels of its selector', { k8sService: { serviceName: 'db', namespace: 'shop' } }, ['shop/db']],
    ['a service without a selector: its addresses', { k8sService: { serviceName: 'legacy' } }, ['192.0.2.7/32', '2001:db8::7/128']],
    ['by labels, of any namespace', { k8sServiceSelector: { selector: { matchLabels: { tier: 'front' } } } }, ['shop/web', 'other/web']],
    ['by labels, of one namespace', { k8sServiceSelector: { selector: { matchLabels: { tier: 'front' } }, namespace: 'other' } }, ['other/web']],
    ['by an expression', { k8sServiceSelector: { selector: { matchExpressions: [{ key: 'tier', operator: 'Exists' }] }, namespace: 'shop' } }, ['shop/web', 'shop/db']],
    ['one that is not there', { k8sService: { serviceName: 'nobody' } }, []],
    ['neither', {}, []],
  ])('%s', (_, item, expected) => { expect(selected(peersOf(item))).toEqual(expected); });

  test('by name, of any namespace for a policy of none', () => {
    expect(selected(peersOf({ k8sService: { serviceName: 'web' } }, 'CiliumClusterwideNetworkPolicy'))).toEqual(['shop/web', 'other/web']);
  });
  test('explanations name the service', () => { expect(peersOf({ k8sService: { serviceName: 'web' } }).map(({ text }) => text)).toEqual(['service shop/web']); });
});

test('a policy follows the Services that it names, and no others', async () => {
  const [manifests, problems, policies, rows, slices] = [manifestTable(), problemTable(), policyTable(), serviceTable(), sliceTable()];
  const locate = () => ({ file: 'f', line: 1, column: 1 });
  manifests.write([{ key: 'CiliumNetworkPolicy/shop/p', apiVersion: 'cilium.io/v2', kind: 'CiliumNetworkPolicy', namespace: 'shop', name: 'p', object: object({ k8sService: { serviceName: 'legacy' } }), source: locate(), locate } satisfies ManifestRow]);
  const set = new PolicySet(manifests, policies, problems, undefined, policyServices(rows, slices));
  let changes = 0;
  set.subscribe(() => { changes += 1; });
  const peers = (): string[] => set.groups().flatMap((group) => group.rules).flatMap((rule) => selected(rule.peers as readonly Peer[]));
  const turn = async (): Promise<void> => { await new Promise(setImmediate); await new Promise(setImmediate); };
  const service = (name: string): ServiceRow => ({
    key: `shop/${name}`, namespace: 'shop', name, type: 'ClusterIP', labels: {}, annotations: {}, headless: false, clusterIps: ['10.218.0.9'], externalIps: [], loadBalancerIps: [], ports: [], internalLocal: false, externalLocal: false,
    sourceRanges: [], publishNotReady: false, forwarding: {},
  });
  const slice = (name: string, address: string): SliceRow => ({ key: `shop/${name}-1`, namespace: 'shop', service: name, family: 4, ports: [], endpoints: [{ addresses: [address], ready: true, serving: true, terminating: false }] });
  expect(peers()).toEqual([]);
  rows.write([service('legacy'), service('other')]);
  slices.write([slice('legacy', '192.0.2.1'), slice('other', '192.0.2.9')]);
  await turn();
  expect([peers(), changes]).toEqual([['192.0.2.1/32'], 1]);
  slices.write([slice('other', '192.0.2.10')]);
  await turn();
  expect(changes).toBe(1);
  slices.write([slice('legacy', '192.0.2.2')]);
  await turn();
  expect([peers(), changes]).toEqual([['192.0.2.2/32'], 2]);
});
