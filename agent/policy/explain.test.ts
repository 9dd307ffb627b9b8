import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { readCases } from './cases.ts';
import { explain, type Explanation } from './explain.ts';
import { protocolNumber } from './icmp.ts';
import type { Direction } from './image.ts';
import { endpointOf, judge, makeWorld, partyOf, sidesOf, type CaseFlow, type PolicyCase, type World } from './offline.ts';
import { makeRandom, randomCase } from './random-cases.ts';
import { judgeRequest } from './request.ts';
import { isConflict } from './rule-set.ts';
import { check } from './validate.ts';
import { isAllowed } from './verdict.ts';

const cases = (name: string): PolicyCase[] => readCases<PolicyCase>(join(import.meta.dirname, 'testdata', name));

function explainCase(world: World, flow: CaseFlow, direction: Direction): Explanation {
  return explain({
    direction, from: partyOf(world, flow.from), to: partyOf(world, flow.to),
    protocol: protocolNumber(flow.protocol)!, port: flow.port ?? flow.icmpType ?? 0,
    rules: world.rules, identities: world.identities, endpoints: world.endpoints,
    endpoint: endpointOf(world, direction === 'ingress' ? flow.to : flow.from), ipv6: world.ipv6, ...(flow.request === undefined ? {} : { request: flow.request }),
  });
}

describe.each(['surprises.jsonl', 'cnp-l34.jsonl', 'knp.jsonl', 'knp-disputed.jsonl'])('%s', (name) => {
  test('every explanation gives the verdict of the compiled image and names its rules', () => {
    for (const one of cases(name)) {
      const world = makeWorld(one);
      for (const flow of one.flows) {
        for (const side of sidesOf(flow)) {
          const decided = judge(world, flow, side);
          const explanation = explainCase(world, flow, side);
          expect({ id: one.id, flow, verdict: explanation.verdict }).toEqual({ id: one.id, flow, verdict: decided.action });
          expect(explanation.decidedBy).toEqual(expect.arrayContaining([...decided.rules]));
        }
      }
    }
  });
});

test('L7 rules: the rules and the answer to every request are those of the compiled image', () => {
  const counts = { none: 0, request: 0, conflict: 0 };
  for (let seed = 0; seed < 300; seed += 1) {
    const one = randomCase(makeRandom(seed), `l7-${seed}`, true);
    const world = makeWorld(one);
    for (const flow of one.flows) for (const side of sidesOf(flow)) {
      const { proxied } = judge(world, flow, side);
      const { redirect } = explainCase(world, flow, side);
      const wanted = proxied === undefined ? undefined : isConflict(proxied) ? { conflict: proxied.message }
        : { rules: proxied.rules, ...(flow.request === undefined ? {} : { answer: judgeRequest(proxied, flow.request) }) };
      const found = redirect && (redirect.conflict === undefined ? { rules: redirect.rules, ...(redirect.answer && { answer: redirect.answer }) } : { conflict: redirect.conflict.message });
      expect({ seed, flow, side, found }).toEqual({ seed, flow, side, found: wanted });
      counts[found === undefined ? 'none' : 'conflict' in found ? 'conflict' : 'request'] += 1;
    }
  }
  expect(Math.min(...Object.values(counts))).toBeGreaterThan(10);
});

test('every suggestion is valid, opens its flow and no other flow of another pair or port', () => {
  let opened = 0;
  for (const one of cases('cnp-l34.jsonl').slice(0, 120)) {
    const world = makeWorld(one);
    for (const flow of one.flows) {
      for (const side of sidesOf(flow)) {
        const { suggestion } = explainCase(world, flow, side);
        if (suggestion === undefined) continue;
        expect(check(suggestion.object)).toEqual({ valid: true, problems: [], unsupported: [] });
        const after = makeWorld({ ...one, policies: [...one.policies, suggestion.object] });
        expect(judge(after, flow, side).action).toBe('allow');
        opened += 1;
        expect(newlyOpen(world, after, one, flow, side)).toEqual([]);
      }
    }
  }
  expect(opened).toBeGreaterThan(200);
});

/** Flows of other pairs, and of the same pair on other ports, that the suggestion opened too. */
function newlyOpen(before: World, after: World, one: PolicyCase, flow: CaseFlow, side: Direction): CaseFlow[] {
  const names = [...before.pods.keys()];
  const labels = (party: CaseFlow['from']): string => partyOf(before, party).labels.join();
  const pairs: CaseFlow[] = names.flatMap((from) => names.map((to) => ({ ...flow, from, to })))
    .filter((other) => labels(other.from) !== labels(flow.from) || labels(other.to) !== labels(flow.to));
  const ports: CaseFlow[] = [{ ...flow, protocol: 'TCP', port: 4242 }, { ...flow, protocol: 'UDP', port: flow.port ?? 1 }, { ...flow, protocol: 'ICMP', port: undefined, icmpType: 13 }]
    .filter((other) => other.protocol !== flow.protocol || other.port !== flow.port);
  return [...pairs, ...ports, ...one.flows.filter((other) => labels(other.from) !== labels(flow.from))]
    .filter((other) => !isAllowed(judge(before, other, side)) && isAllowed(judge(after, other, side)));
}

describe('words', () => {
  const endpoints = ['web', 'db', 'intruder'].map((app) => ({ name: app, namespace: 'shop', labels: { app }, namedPorts: [] }));
  const world = (spec: object): World => makeWorld({
    ipv6: true, namespaces: { shop: {} }, endpoints,
    policies: [{ apiVersion: 'cilium.io/v2', kind: 'CiliumNetworkPolicy', metadata: { name: 'db', namespace: 'shop' }, spec: { endpointSelector: { matchLabels: { app: 'db' } }, ...spec } }],
  });
  const flow = (from: CaseFlow['from'], port = 5432): CaseFlow => ({ direction: 'ingress', from, to: 'shop/db', protocol: 'TCP', port });
  const allowWeb = { ingress: [{ fromEndpoints: [{ matchLabels: { app: 'web' } }], toPorts: [{ ports: [{ port: '5432', protocol: 'TCP' }] }] }] };

  test('a default deny: the nearest rule, what it missed, and the policy that would allow it', () => {
    const one = explainCase(world(allowWeb), flow('shop/intruder'), 'ingress');
    expect(one.text).toContain('shop/intruder -> shop/db 5432/TCP, ingress of shop/db: denied by default, no rule allows it');
    expect(one.text).toContain('Nearest rule: CiliumNetworkPolicy shop/db spec.ingress[0]: the peer is none of: endpoints app=web (wants app=web, it has app=intruder)');
    expect(one.suggestion!.object).toEqual({
      apiVersion: 'cilium.io/v2', kind: 'CiliumNetworkPolicy', metadata: { name: 'allow-ingress-intruder-to-db-tcp-5432', namespace: 'shop' },
      spec: { endpointSelector: { matchLabels: { app: 'db' } }, ingress: [{ fromEndpoints: [{ matchLabels: { app: 'intruder' } }], toPorts: [{ ports: [{ port: '5432', protocol: 'TCP' }] }] }] },
    });
    expect(one.text).toContain(one.suggestion!.yaml.trimEnd());
  });

  test.each<[string, CaseFlow['from'], object]>([
    ['an address', { ip: '192.0.2.7' }, { fromCIDR: ['192.0.2.7/32'] }],
    ['an IPv6 address', { ip: '2001:db8::7' }, { fromCIDR: ['2001:db8::7/128'] }],
    ['another node', { entity: 'remote-node' }, { fromEndpoints: [{ matchLabels: { 'reserved:remote-node': '' }, matchExpressions: [{ key: 'reserved:kube-apiserver', operator: 'DoesNotExist' }] }] }],
    ['the API server', { entity: 'kube-apiserver' }, { fromEntities: ['kube-apiserver'] }],
    ['the outside without an address', { entity: 'world-ipv4' }, { fromEntities: ['world'] }],
  ])('the suggestion for %s', (_, from, peer) => {
    const spec = explainCase(world(allowWeb), flow(from), 'ingress').suggestion!.object['spec'];
    expect(spec).toMatchObject({ ingress: [peer] });
  });

  test('a suggestion that cannot be exact says what else it opens', () => {
    const text = (from: CaseFlow['from']): string => explainCase(world(allowWeb), flow(from), 'ingress').text;
    expect(text('shop/intruder')).toContain('This policy would allow it, and nothing else:');
    expect(text({ entity: 'remote-node' })).toContain('and with it every node of this kind:');
    expect(text({ entity: 'world-ipv6' })).toContain('and with it every address of this kind:');
  });

  test('a deny rule has to go: no allow can open it', () => {
    const one = explainCase(world({ ...allowWeb, ingressDeny: [{ fromEntities: ['all'], toPorts: [{ ports: [{ port: '1', endPort: 9999 }] }] }] }), flow('shop/web'), 'ingress');
    expect([one.verdict, one.suggestion, one.decidedBy.map((rule) => rule.path)]).toEqual(['deny', undefined, ['spec.ingressDeny[0]']]);
    expect(one.text).toContain('to open this flow CiliumNetworkPolicy shop/db spec.ingressDeny[0] has to go or be narrowed');
  });

  test('an allowed flow names every rule that allows it', () => {
    const one = explainCase(world({ ingress: [...allowWeb.ingress, { fromEntities: ['cluster'] }] }), flow('shop/web'), 'ingress');
    expect(one.decidedBy.map((rule) => rule.path)).toEqual(['spec.ingress[0]', 'spec.ingress[1]']);
  });

  test('no policy: it says so', () => {
    const one = explainCase(world(allowWeb), { ...flow('shop/db'), to: 'shop/web' }, 'ingress');
    expect([one.verdict, one.text]).toEqual(['none', expect.stringContaining('No policy selects shop/web for ingress.')]);
  });

  test('control characters of labels are shown, not sent to the terminal', () => {
    const one = explain({ ...input(world(allowWeb)), from: { name: 'x\u001b[2J', labels: ['k8s:app=\u0007'] } });
    expect(one.text).not.toMatch(/[\u0007\u001b]/);
    expect(one.text).toContain('x\\u001b[2J');
  });

  const input = (one: World) => ({
    direction: 'ingress' as const, from: partyOf(one, 'shop/web'), to: partyOf(one, 'shop/db'), protocol: 6, port: 1,
    rules: one.rules, identities: one.identities, endpoints: one.endpoints, ipv6: true,
  });
});
