import { describe, expect, test } from '@jest/globals';
import { RESERVED, reservedIdentities } from '../identity/reserved.ts';
import { compile } from './compile.ts';
import { SCTP, TCP, UDP } from './icmp.ts';
import type { EndpointInput, IdentityInput, PolicyImage } from './image.ts';
import { keyOf } from './intervals.ts';
import { makeWorld, prefixNumbers } from './offline.ts';
import { makeRandom, randomCase } from './random-cases.ts';
import { readRules } from './rules.ts';
import { verdict } from './verdict.ts';

const pod = (id: number, app: string): IdentityInput => ({ id, labels: [`k8s:app=${app}`, 'k8s:io.kubernetes.pod.namespace=shop', 'k8s:io.cilium.k8s.policy.cluster=default'] });
const endpoint = (id: number, identity: number, http?: number): EndpointInput =>
  ({ id, identity, namespace: 'shop', namedPorts: http === undefined ? [] : [{ name: 'http', port: http, protocol: 'TCP' }] });
const WEB = pod(300, 'web');
const DB = pod(301, 'db');
const ENDPOINTS = [endpoint(1, 300, 8080), endpoint(2, 301), endpoint(3, 301)];

function image(spec: object, endpoints = ENDPOINTS, identities = [...reservedIdentities(), WEB, DB], ipv6 = true): PolicyImage {
  const object = { kind: 'CiliumNetworkPolicy', metadata: { name: 'p', namespace: 'shop' }, spec };
  return compile({ rules: readRules(object, []), identities, endpoints, cidrIdentity: prefixNumbers(), ipv6 });
}

const policyOf = (one: PolicyImage, id: number, direction: 'ingress' | 'egress') => one.policies.get(one.ofEndpoint.get(id)![direction]!)!;

describe('merged policies', () => {
  const spec = {
    endpointSelector: { matchLabels: { app: 'db' } },
    ingress: [{ fromEndpoints: [{ matchLabels: { app: 'web' } }], toPorts: [{ ports: [{ port: '5432', protocol: 'TCP' }, { port: '80', endPort: 90 }] }] }, { fromEntities: ['all'], toPorts: [{ ports: [{ port: '53', protocol: 'UDP' }] }] }],
    ingressDeny: [{ fromCIDR: ['10.0.0.0/8'] }],
    log: { value: 'db' },
  };

  test('bits are entries: deny first, the built-in entry last', () => {
    const policy = policyOf(image(spec), 2, 'ingress');
    expect(policy.rules.map((rule) => rule.path)).toEqual(['spec.ingressDeny[0]', 'spec.ingress[0]', 'spec.ingress[1]', 'allow-localhost']);
    expect(policy.rules[1]).toEqual({ policy: { kind: 'CiliumNetworkPolicy', namespace: 'shop', name: 'p' }, path: 'spec.ingress[0]', action: 'allow', log: 'db' });
    expect([policy.words, policy.defaultAction, policy.enforcedBy.map((ref) => ref.name)]).toEqual([1, 'default-deny', ['p']]);
  });

  test('intervals are disjoint port ranges of each protocol', () => {
    const { intervals } = policyOf(image(spec), 2, 'ingress');
    const deny = { word: 0, mask: 0b0001n, action: 'deny' };
    const allow = (mask: bigint) => ({ word: 0, mask, action: 'allow' });
    const rest = { steps: [deny, allow(0b1000n)] };
    const web = { steps: [deny, allow(0b1010n)] };
    expect(intervals).toEqual([
      { lower: 0, ...rest },
      { lower: keyOf(TCP, 80), ...web }, { lower: keyOf(TCP, 91), ...rest },
      { lower: keyOf(TCP, 5432), ...web }, { lower: keyOf(TCP, 5433), ...rest },
      { lower: keyOf(UDP, 53), steps: [deny, allow(0b1100n)] }, { lower: keyOf(UDP, 54), ...rest },
      { lower: keyOf(UDP, 80), ...web }, { lower: keyOf(UDP, 91), ...rest },
      { lower: keyOf(SCTP, 80), ...web }, { lower: keyOf(SCTP, 91), ...rest },
    ]);
  });

  test('an entry for any peer has its bit in every class', () => {
    const one = image(spec);
    const policy = policyOf(one, 2, 'ingress');
    for (const peer of one.classes.values()) expect(peer.row(policy)[0]! & 0b0100n).toBe(0b0100n);
  });

  test('endpoints with the same rules share one policy; a direction without rules has none', () => {
    const one = image(spec);
    expect(one.ofEndpoint.get(2)).toEqual(one.ofEndpoint.get(3));
    expect([one.ofEndpoint.get(2)!.egress, one.ofEndpoint.get(1)!.ingress]).toEqual([undefined, undefined]);
    expect(one.policies.size).toBe(1);
  });

  test('more than 64 entries take more than one word', () => {
    const entries = Array.from({ length: 130 }, (_, index) => ({ fromEndpoints: [{ matchLabels: { app: `x${index}` } }] }));
    const one = image({ endpointSelector: {}, ingress: entries, ingressDeny: [{ fromEndpoints: [{ matchLabels: { app: 'web' } }] }] });
    const policy = policyOf(one, 1, 'ingress');
    expect([policy.words, policy.rules.length]).toEqual([3, 132]);
    expect(policy.intervals[0]!.steps.map((step) => [step.word, step.action])).toEqual([[0, 'deny'], [0, 'allow'], [1, 'allow'], [2, 'allow']]);
    const found = verdict(one, { policy: policy.key, class: one.classOfIdentity.get(300)!, protocol: TCP, port: 1 });
    expect([found.action, found.rules.map((rule) => rule.path)]).toEqual(['deny', ['spec.ingressDeny[0]']]);
    const host = verdict(one, { policy: policy.key, class: one.classOfIdentity.get(RESERVED.host)!, protocol: TCP, port: 1 });
    expect([host.action, host.word, host.rules.map((rule) => rule.path)]).toEqual(['allow', 2, ['allow-localhost']]);
  });

  test('only default deny: no bit, one empty interval', () => {
    const policy = policyOf(image({ endpointSelector: {}, egress: [{}] }), 1, 'egress');
    expect([policy.words, policy.intervals, policy.defaultAction]).toEqual([0, [{ lower: 0, steps: [] }], 'default-deny']);
  });

  test('named ports: the own number on ingress makes policies differ', () => {
    const named = { endpointSelector: {}, ingress: [{ toPorts: [{ ports: [{ port: 'HTTP', protocol: 'TCP' }] }] }] };
    const one = image(named, [endpoint(1, 300, 8080), endpoint(2, 300, 9090), endpoint(3, 300, 8080)]);
    const keys = [1, 2, 3].map((id) => one.ofEndpoint.get(id)!.ingress);
    expect([keys[0] === keys[1], keys[0] === keys[2]]).toEqual([false, true]);
  });
});

test('named ports of a NetworkPolicy on egress are each receiver\'s own: one bit for each number', () => {
  const object = { kind: 'NetworkPolicy', metadata: { name: 'n', namespace: 'shop' }, spec: { podSelector: {}, policyTypes: ['Egress'], egress: [{ ports: [{ port: 'http' }, { port: 53 }] }] } };
  const one = compile({
    rules: readRules(object, []), identities: [...reservedIdentities(), WEB, DB], cidrIdentity: prefixNumbers(), ipv6: true,
    endpoints: [endpoint(1, 300, 8080), endpoint(2, 301, 9090)],
  });
  const policy = policyOf(one, 1, 'egress');
  expect(policy.rules.map((rule) => rule.path)).toEqual(['spec.egress[0]', 'spec.egress[0]', 'spec.egress[0]']);
  const action = (id: number, port: number): string =>
    verdict(one, { policy: policy.key, class: one.classOfIdentity.get(id)!, protocol: TCP, port }).action;
  expect([action(300, 8080), action(301, 8080), action(301, 9090), action(RESERVED['world-ipv4'], 8080), action(RESERVED['world-ipv4'], 53)])
    .toEqual(['allow', 'default-deny', 'allow', 'default-deny', 'allow']);
});

describe('classes and prefixes', () => {
  const spec = { endpointSelector: {}, egress: [{ toCIDRSet: [{ cidr: '10.0.0.9/8', except: ['10.1.0.0/16'] }] }, { toCIDR: ['0.0.0.0/0', '2001:DB8::/32'] }] };

  test('every prefix has an identity; a /0 is the world itself', () => {
    const { prefixes, classOfIdentity } = image(spec);
    expect([...prefixes.keys()]).toEqual(['10.0.0.0/8', '10.1.0.0/16', '0.0.0.0/0', '2001:db8::/32']);
    expect(prefixes.get('0.0.0.0/0')).toBe(RESERVED['world-ipv4']);
    for (const id of prefixes.values()) expect(classOfIdentity.has(id)).toBe(true);
    expect(image(spec, ENDPOINTS, undefined, false).prefixes.get('0.0.0.0/0')).toBe(RESERVED.world);
  });

  test('an excepted prefix is in another class than the prefix around it', () => {
    const { prefixes, classOfIdentity } = image({ endpointSelector: {}, egress: [spec.egress[0]] });
    expect(classOfIdentity.get(prefixes.get('10.0.0.0/8')!)).not.toBe(classOfIdentity.get(prefixes.get('10.1.0.0/16')!));
    expect(classOfIdentity.get(prefixes.get('10.1.0.0/16')!)).toBe(classOfIdentity.get(300));
  });

  test('keys of policies and classes stay when other identities and endpoints come', () => {
    const before = image(spec);
    const after = image(spec, [endpoint(9, 301), ...ENDPOINTS], [pod(400, 'new'), DB, ...reservedIdentities(), WEB]);
    expect(after.ofEndpoint.get(1)).toEqual(before.ofEndpoint.get(1));
    for (const [id, key] of before.classOfIdentity) expect(after.classOfIdentity.get(id)).toBe(key);
  });
});

test('images of random policies keep the promises of image.ts', () => {
  for (let seed = 0; seed < 300; seed += 1) {
    const { image: one } = makeWorld(randomCase(makeRandom(seed), `random-${seed}`));
    for (const policy of one.policies.values()) {
      expect(policy.words).toBe(Math.ceil(policy.rules.length / 64));
      expect(policy.intervals[0]!.lower).toBe(0);
      policy.intervals.forEach(({ lower, steps }, index) => {
        const before = policy.intervals[index - 1];
        if (before !== undefined) {
          expect(lower).toBeGreaterThan(before.lower);
          expect(steps).not.toEqual(before.steps);
        }
        expect(steps.every((step) => step.mask !== 0n && step.word < policy.words)).toBe(true);
        const actions = steps.map((step) => step.action);
        expect(actions.lastIndexOf('deny')).toBeLessThan(actions.indexOf('allow') < 0 ? actions.length : actions.indexOf('allow'));
      });
      for (const peer of one.classes.values()) expect(peer.row(policy)).toHaveLength(policy.words);
    }
  }
});
