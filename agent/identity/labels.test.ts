import { describe, expect, test } from '@jest/globals';
import { cidrLabels, formatLabel, isIdentityLabel, parseLabel, podIdentityLabels, prefixOfCidrLabelKey } from './labels.ts';
import { RESERVED, reservedIdentities, reservedLabels, reservedName } from './reserved.ts';

describe('labels', () => {
  test.each([
    ['k8s:app=web', { source: 'k8s', key: 'app', value: 'web' }],
    ['k8s:url=a=b', { source: 'k8s', key: 'url', value: 'a=b' }],
    ['k8s:when=10:30', { source: 'k8s', key: 'when', value: '10:30' }],
    ['reserved:host=', { source: 'reserved', key: 'host', value: '' }],
    ['plain', { source: 'unspec', key: 'plain', value: '' }],
    ['cidr:10.0.0.0/8=', { source: 'cidr', key: '10.0.0.0/8', value: '' }],
  ])('%s is read', (text, label) => expect(parseLabel(text)).toEqual(label));

  test('what is written is read back', () => expect(formatLabel(parseLabel('k8s:a/b=c'))).toBe('k8s:a/b=c'));

  test.each([
    ['app', true], ['app.kubernetes.io/name', true], ['example.com/team', true], ['mykubernetes.io/x', true],
    ['pod-template-hash', false], ['controller-revision-hash', false], ['topology.kubernetes.io/zone', false],
    ['statefulset.kubernetes.io/pod-name', false], ['kubernetes.io/name', false], ['x.k8s.io/y', false],
    ['io.kubernetes.pod.namespace', false], ['io.cilium.k8s.policy.serviceaccount', false],
  ])('pod label %s is part of the identity: %s', (key, expected) => expect(isIdentityLabel(key)).toBe(expected));

  test('a pod cannot forge the labels that policy trusts', () => {
    const labels = podIdentityLabels({
      labels: { app: 'a', 'pod-template-hash': 'x', 'io.kubernetes.pod.namespace': 'kube-system', 'io.cilium.k8s.policy.serviceaccount': 'admin' },
      namespace: 'shop', namespaceLabels: { env: 'prod' }, serviceAccount: 'default',
    });
    expect(labels).toEqual([
      'k8s:app=a', 'k8s:io.cilium.k8s.namespace.labels.env=prod', 'k8s:io.cilium.k8s.policy.cluster=default',
      'k8s:io.cilium.k8s.policy.serviceaccount=default', 'k8s:io.kubernetes.pod.namespace=shop',
    ]);
  });

  test.each([
    ['10.0.0.0/8', true, ['cidr:10.0.0.0/8=', 'reserved:world-ipv4=']],
    ['10.0.0.0/8', false, ['cidr:10.0.0.0/8=', 'reserved:world=']],
    ['2001:db8::/32', true, ['cidr:2001-db8--0/32=', 'reserved:world-ipv6=']],
    ['::1/128', true, ['cidr:0--1/128=', 'reserved:world-ipv6=']],
    ['0.0.0.0/0', true, ['reserved:world-ipv4=']],
    ['::/0', true, ['reserved:world-ipv6=']],
  ])('prefix %s (dual stack %s) has its labels', (prefix, ipv6, labels) => expect(cidrLabels(prefix, ipv6)).toEqual(labels));

  test('a cidr label names its prefix', () => expect(prefixOfCidrLabelKey('2001-db8--0/32')).toBe('2001:db8::0/32'));
});

describe('reserved identities', () => {
  test('numbers are those of the field', () => {
    expect(RESERVED).toEqual({
      host: 1, world: 2, unmanaged: 3, health: 4, init: 5, 'remote-node': 6, 'kube-apiserver': 7, ingress: 8, 'world-ipv4': 9, 'world-ipv6': 10,
    });
    expect(reservedIdentities()).toHaveLength(10);
    expect([reservedName(1), reservedName(10), reservedName(99)]).toEqual(['host', 'world-ipv6', undefined]);
  });

  test('the API server is a remote node too', () =>
    expect(reservedLabels('kube-apiserver')).toEqual(['reserved:kube-apiserver=', 'reserved:remote-node=']));
});
