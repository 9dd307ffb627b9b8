// Which L7 rules hold together, and where the kernel asks for them.
import { describe, expect, test } from '@jest/globals';
import { parse } from 'yaml';
import { RESERVED, reservedIdentities } from '../identity/reserved.ts';
import { Compiler } from './compile.ts';
import { TCP } from './icmp.ts';
import type { EndpointInput, IdentityInput, PolicyImage } from './image.ts';
import { keyOf } from './intervals.ts';
import { prefixNumbers } from './offline.ts';
import type { RuleGroup } from './rule.ts';
import { RuleSets, type Derived } from './rule-sets.ts';
import { readRules } from './rules.ts';

const pod = (id: number, app: string): IdentityInput => ({ id, labels: [`k8s:app=${app}`, 'k8s:io.kubernetes.pod.namespace=shop', 'k8s:io.cilium.k8s.policy.cluster=default'] });
const [WEB, DB, API] = [pod(300, 'web'), pod(301, 'db'), pod(302, 'api')];
const endpoint: EndpointInput = { id: 1, identity: DB.id, namespace: 'shop', namedPorts: [] };
const object = (spec: string, name = 'p', mode = 'enforce'): Record<string, unknown> =>
  ({ apiVersion: 'cilium.io/v2', kind: 'CiliumNetworkPolicy', metadata: { name, namespace: 'shop', annotations: { 'policy.weir.io/mode': mode } }, spec: { endpointSelector: { matchLabels: { app: 'db' } }, ...parse(spec) as object } });

function compiler() {
  const [one, sets, cidrIdentity] = [new Compiler(true), new RuleSets(), prefixNumbers()];
  const read = new Map<object, readonly RuleGroup[]>();
  return (objects: readonly Record<string, unknown>[], identities: readonly IdentityInput[] = [WEB, DB, API]): { image: PolicyImage; derived: Derived } => {
    for (const each of objects) if (!read.has(each)) read.set(each, readRules(each, []));
    const image = one.compile({ rules: objects.flatMap((each) => read.get(each)!), identities: [...reservedIdentities(), ...identities], endpoints: [endpoint], cidrIdentity });
    return { image, derived: sets.derive(image) };
  };
}
const derive = (...specs: readonly string[]): { image: PolicyImage; derived: Derived } => compiler()(specs.map((spec, index) => object(spec, `p${index}`)));

/** What Envoy asks of the peer on a port: `policy path (any)`. */
function asked({ image, derived }: { image: PolicyImage; derived: Derived }, identity: number, port: number, direction: 'ingress' | 'egress' = 'ingress', bits?: bigint): string[] | undefined {
  const policy = image.policies.get(image.ofEndpoint.get(1)![direction]!)!;
  const at = policy.intervals.findLastIndex(({ lower }) => lower <= keyOf(TCP, port));
  const rows = derived.rows.filter((row) => row.policy === policy.key && row.interval === at && row.class === image.classOfIdentity.get(identity) && (bits === undefined || row.bits === bits));
  expect(rows.length).toBeLessThan(2);
  return rows[0] && derived.sets.get(rows[0].set)!.rules.map(({ ref, l7 }) => `${ref.policy.name} ${ref.path}${l7 === 'any' ? ' any' : ''}`.trim());
}

const http = (from: string, path: string, port = 80): string => `{${from}toPorts: [{ports: [{port: "${port}", protocol: TCP}], rules: {http: [{path: "${path}"}]}}]}`;
const from = (app: string): string => `fromEndpoints: [{matchLabels: {app: ${app}}}], `;
const plain = (app: string): string => `{fromEndpoints: [{matchLabels: {app: ${app}}}]}`;

describe('which rules hold for a peer', () => {
  test.each<[string, string[], Partial<Record<'web' | 'api' | 'host', string[] | undefined>>]>([
    ['one rule, one peer', [`ingress: [${http(from('web'), '/a')}]`], { web: ['p0 spec.ingress[0].toPorts[0]'], api: undefined }],
    ['the union of two policies', [`ingress: [${http(from('web'), '/a')}]`, `ingress: [${http('', '/b')}]`],
      { web: ['p0 spec.ingress[0].toPorts[0]', 'p1 spec.ingress[0].toPorts[0]'], api: ['p1 spec.ingress[0].toPorts[0]'] }],
    ['a plain allow lets every request of its peers pass', [`ingress: [${http('', '/a')}]`, `ingress: [${plain('api')}]`],
      { web: ['p0 spec.ingress[0].toPorts[0]'], api: ['p0 spec.ingress[0].toPorts[0]', 'p1 spec.ingress[0] any'] }],
    ['without default deny every request passes', [`{ingress: [${http('', '/a')}], enableDefaultDeny: {ingress: false}}`], { web: ['p0 spec.ingress[0].toPorts[0]', 'default-allow any'] }],
    ['deny goes before', [`{ingress: [${http('', '/a')}], ingressDeny: [${plain('web')}]}`], { web: undefined, api: ['p0 spec.ingress[0].toPorts[0]'] }],
    ['the node itself is never redirected', [`ingress: [${http('', '/a')}]`], { host: undefined }],
    ['two items of one entry: each is a rule', ['ingress: [{toPorts: [{ports: [{port: "80", protocol: TCP}], rules: {http: [{path: /a}]}}, {ports: [{port: "80", protocol: TCP}], rules: {http: [{path: /b}]}}]}]'],
      { web: ['p0 spec.ingress[0].toPorts[0]', 'p0 spec.ingress[0].toPorts[1]'] }],
    ['a plain item beside an L7 item is for its own port', [`ingress: [{toPorts: [{ports: [{port: "81", protocol: TCP}]}, {ports: [{port: "80", protocol: TCP}], rules: {http: [{}]}}]}]`],
      { web: ['p0 spec.ingress[0].toPorts[1]'] }],
    ['server names on every protocol: TCP', ['ingress: [{toPorts: [{ports: [{port: "80"}], serverNames: ["*.a.example"]}]}]'], { web: ['p0 spec.ingress[0].toPorts[0]'] }],
  ])('%s', (_, specs, wanted) => {
    const all = derive(...specs);
    const ids = { web: WEB.id, api: API.id, host: RESERVED.host };
    for (const [who, rules] of Object.entries(wanted)) expect({ who, rules: asked(all, ids[who as keyof typeof ids], 80) }).toEqual({ who, rules });
    expect(all.derived.conflicts).toEqual([]);
  });

  test('more bits than one word: rules of every word take part', () => {
    const many = Array.from({ length: 70 }, (_, index) => http(from('web'), `/${index}`));
    expect(asked(derive(`ingress: [${many.join()}]`), WEB.id, 80)).toHaveLength(70);
  });

  test.each([
    ['HTTP and names of TLS', 'rules: {http: [{}]}', 'serverNames: [a.example]', 'some rules read plain HTTP and others server names of TLS'],
    ['HTTP and opened TLS', 'rules: {http: [{}]}', 'terminatingTLS: {secret: {name: s}}, rules: {http: [{}]}', 'TLS that is opened and others plain HTTP'],
    ['two secrets', 'terminatingTLS: {secret: {name: s}}, rules: {http: [{}]}', 'terminatingTLS: {secret: {name: t}}, rules: {http: [{}]}', 'different secrets'],
  ])('%s on one port for one peer: refused with words, other peers go on', (_, one, two, message) => {
    const all = derive(`ingress: [{toPorts: [{ports: [{port: "80", protocol: TCP}], ${one}}]}]`, `ingress: [{${from('web')}toPorts: [{ports: [{port: "80", protocol: TCP}], ${two}}]}]`);
    expect([asked(all, WEB.id, 80), asked(all, API.id, 80)]).toEqual([undefined, ['p0 spec.ingress[0].toPorts[0]']]);
    expect(all.derived.conflicts).toEqual([{ message: expect.stringContaining(message), policies: [expect.objectContaining({ name: 'p0' }), expect.objectContaining({ name: 'p1' })] }]);
  });
});

describe('names', () => {
  const toName = (name: string, path: string): string => `{toFQDNs: [{matchName: ${name}}], toPorts: [{ports: [{port: "80", protocol: TCP}], rules: {http: [{path: ${path}}]}}]}`;
  const all = derive(`egress: [${toName('a.example', '/a')}, ${toName('b.example', '/b')}, {toCIDR: [192.0.2.0/24], toPorts: [{ports: [{port: "80", protocol: TCP}], rules: {http: [{path: /c}]}}]}]`);
  const world = RESERVED['world-ipv4'];
  const cidr = all.image.prefixes.get('192.0.2.0/24')!;
  const path = (index: number): string => `p0 spec.egress[${index}].toPorts[0]`;
  test.each<[string, number, bigint, string[] | undefined]>([
    ['of no name', world, 0n, undefined],
    ['of one', world, 1n, [path(0)]],
    ['of both', world, 3n, [path(0), path(1)]],
    ['of a prefix', cidr, 4n, [path(2)]],
    ['of a prefix and a name', cidr, 6n, [path(1), path(2)]],
  ])('an address %s', (_, identity, bits, rules) => { expect(asked(all, identity, 80, 'egress', bits)).toEqual(rules); });
});

describe('what a change costs', () => {
  const first = object(`ingress: [${http(from('web'), '/a')}]`);
  test('a new identity of a known class: the same answer, not looked at again', () => {
    const next = compiler();
    const before = next([first]).derived;
    expect(before.rows).toHaveLength(1);
    expect(next([first], [WEB, DB, API, { ...pod(400, 'web'), labels: [...WEB.labels, 'k8s:x=y'] }]).derived).toBe(before);
  });

  test('another path: same policy, rows and key, other content', () => {
    const next = compiler();
    const before = next([first]);
    const rows = structuredClone(before.derived.rows);
    const keys = [...before.image.policies.keys()];
    const after = next([object(`ingress: [${http(from('web'), '/other')}]`)]);
    expect([[...after.image.policies.keys()], after.derived.rows]).toEqual([keys, rows]);
    expect([...after.derived.sets.keys()]).toEqual([...before.derived.sets.keys()]);
    expect([...after.derived.sets.values()][0]!.rules[0]!.l7).toMatchObject({ http: [{ path: '/other' }] });
  });

  test.each([
    ['HTTP rules that go', 'ingress: [{fromEndpoints: [{matchLabels: {app: web}}], toPorts: [{ports: [{port: "80", protocol: TCP}]}]}]', 0],
    ['names instead of HTTP', 'ingress: [{fromEndpoints: [{matchLabels: {app: web}}], toPorts: [{ports: [{port: "80", protocol: TCP}], serverNames: [a.example]}]}]', 1],
  ])('%s: another policy in the kernel', (_, spec, rows) => {
    const next = compiler();
    const before = next([first]);
    const [keys, sets] = [[...before.image.policies.keys()], [...before.derived.sets.keys()]];
    const after = next([object(spec)]);
    expect(after.derived.rows).toHaveLength(rows);
    expect([...after.image.policies.keys()]).not.toEqual(keys);
    expect([...after.derived.sets.keys()]).not.toEqual(sets);
  });

  test('audited rules are judged at L4 alone', () => {
    const { image, derived } = compiler()([object(`ingress: [${http(from('web'), '/a')}]`, 'p', 'audit')]);
    expect([[...image.policies.values()].map(({ l7 }) => l7.size), derived.rows]).toEqual([[1], []]);
  });
});
