import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { parse } from 'yaml';
import { regularExpression } from './formats.ts';
import { lintPolicies } from './files.ts';
import { formatFinding } from './manifests.ts';
import { check, describe as describeProblem } from './validate.ts';

const policy = (spec: string, kind = 'CiliumNetworkPolicy'): unknown =>
  ({ apiVersion: 'cilium.io/v2', kind, metadata: { name: 'p' }, spec: parse(spec) as unknown });

const errorsOf = (object: unknown): string[] => check(object).problems.filter((one) => one.severity === 'error').map(describeProblem);

describe('mistakes and their mends', () => {
  test.each([
    ['the port of the well-known article', 'toPorts: [{port: "8080"}]', 'spec.ingress[0].toPorts[0].port', 'write toPorts: [{ports: [{port: "8080", protocol: TCP}]}]'],
    ['a port without its list', 'toPorts: {ports: [{port: "80", protocol: UDP}]}', 'spec.ingress[0].toPorts', 'write toPorts: [{ports: [{port: "80", protocol: UDP}]}]'],
    ['ports straight in the entry', 'ports: [{port: 80}]', 'spec.ingress[0].ports', 'write toPorts: [{ports: [{port: "80", protocol: TCP}]}]'],
    ['a port as a number', 'toPorts: [{ports: [{port: 8080}]}]', 'spec.ingress[0].toPorts[0].ports[0].port', 'write it in quotes: "8080"'],
    ['a bare port', 'toPorts: [{ports: ["8080"]}]', 'spec.ingress[0].toPorts[0].ports[0]', 'write {port: "8080", protocol: TCP}'],
    ['a protocol in small letters', 'toPorts: [{ports: [{port: "80", protocol: tcp}]}]', 'spec.ingress[0].toPorts[0].ports[0].protocol', 'did you mean `TCP`?'],
    ['ICMP as a protocol', 'toPorts: [{ports: [{port: "8", protocol: ICMP}]}]', 'spec.ingress[0].toPorts[0].ports[0].protocol', 'icmps: [{fields: [{type: 8, family: IPv4}]}]'],
    ['a peer of the other kind of policy', 'from: [{podSelector: {matchLabels: {app: a}}}]', 'spec.ingress[0].from', 'write fromEndpoints: [{matchLabels: {app: a}}]'],
    ['an ipBlock', 'from: [{ipBlock: {cidr: 10.0.0.0/8}}]', 'spec.ingress[0].from', 'write fromCIDR: ["10.0.0.0/8"]'],
    ['the other direction', 'toEndpoints: [{}]', 'spec.ingress[0].toEndpoints', 'in ingress the field is `fromEndpoints`'],
    ['a slip', 'fromEndpoint: [{}]', 'spec.ingress[0].fromEndpoint', 'did you mean `fromEndpoints`?'],
    ['labels without matchLabels', 'fromEndpoints: [{app: web}]', 'spec.ingress[0].fromEndpoints[0].app', 'write {matchLabels: {app: web}}'],
    ['an address without length', 'fromCIDR: [10.0.0.1]', 'spec.ingress[0].fromCIDR[0]', 'write 10.0.0.1/32'],
    ['an unknown entity', 'fromEntities: [worlds]', 'spec.ingress[0].fromEntities[0]', 'did you mean `world`?'],
    ['two kinds of peers', 'fromEndpoints: [{}]\nfromEntities: [world]', 'spec.ingress[0]', 'make an entry of each'],
    ['a type of the other family', 'icmps: [{fields: [{type: PacketTooBig}]}]', 'spec.ingress[0].icmps[0].fields[0].type', 'add family: IPv6'],
    ['a shell pattern as a path', 'toPorts: [{ports: [{port: "80", protocol: TCP}], rules: {http: [{path: "/a/**"}]}}]', 'spec.ingress[0].toPorts[0].rules.http[0].path', '"/a/.*"'],
  ])('%s', (_, entry, field, mend) => {
    const errors = errorsOf(policy(`{endpointSelector: {}, ingress: [${JSON.stringify(parse(entry))}]}`));
    expect(errors[0]).toContain(`${field}: `);
    expect(errors[0]).toContain(mend);
  });

  test.each([
    ['no section', 'endpointSelector: {}', 'needs at least one entry'],
    ['two subjects', '{endpointSelector: {}, nodeSelector: {}, ingress: [{}]}', 'exactly one of endpointSelector, nodeSelector'],
    ['podSelector', '{podSelector: {}, ingress: [{}]}', 'did you mean `endpointSelector`?'],
    ['a boolean default deny', '{endpointSelector: {}, ingress: [{}], enableDefaultDeny: false}', 'write {ingress: false, egress: false}'],
    ['no selector at all', '[]', 'spec must be an object'],
  ])('spec: %s', (_, spec, message) => expect(errorsOf(policy(spec)).join('\n')).toContain(message));

  test.each([[null], ['text'], [[]], [{}], [{ kind: 'Pod' }], [{ kind: 'CiliumNetworkPolicy', spec: { __proto__: null, ingress: [null] }, metadata: [] }]])(
    'whatever it is, it is refused and nothing throws: %j', (object) => expect(check(object).valid).toBe(false));
});

describe('warnings leave a policy valid', () => {
  test.each([
    ['an empty peer list', 'fromEndpoints: []', 'selects nobody'],
    ['an item without ports', 'toPorts: [{ports: []}]', 'allows or denies nothing'],
    ['an unknown label source', 'fromEndpoints: [{matchLabels: {"foo:app": a}}]', 'label source `foo` is unknown'],
    ['an octal port', 'toPorts: [{ports: [{port: "0443"}]}]', 'octal'],
    ['L7 rules for what the node sends', '{fromEntities: [host], toPorts: [{ports: [{port: "80", protocol: TCP}], rules: {http: [{}]}}]}', 'the node\'s own processes are never asked'],
  ])('%s', (_, entry, message) => {
    const { valid, problems } = check(policy(`{endpointSelector: {}, ingress: [${JSON.stringify(parse(entry))}]}`));
    expect([valid, problems.map((one) => one.severity)]).toEqual([true, ['warning']]);
    expect(problems[0]!.message).toContain(message);
  });
});

describe('valid, but refused until it is enforced', () => {
  test.each([
    ['toGroups: [{aws: {labels: {a: b}}}]', 'spec.egress.0.toGroups'],
    ['{toEntities: [world], authentication: {mode: required}}', 'spec.egress.0.authentication.mode'],
    ['toPorts: [{ports: [{port: "80", protocol: TCP}], rules: {kafka: [{topic: a}]}}]', 'spec.egress.0.toPorts.0.rules.kafka'],
    ['toPorts: [{ports: [{port: "443", protocol: TCP}], originatingTLS: {secret: {name: s}}, rules: {http: [{}]}}]', 'spec.egress.0.toPorts.0.originatingTLS'],
    ['toPorts: [{ports: [{port: "443", protocol: TCP}], terminatingTLS: {secret: {name: s}}}]', 'spec.egress.0.toPorts.0.terminatingTLS'],
    ['toPorts: [{ports: [{port: "80", protocol: TCP}], rules: {http: [{headerMatches: [{name: x, secret: {name: s}}]}]}}]', 'spec.egress.0.toPorts.0.rules.http.0.headerMatches.0.secret'],
    ['toPorts: [{ports: [{port: "443", protocol: TCP}], listener: {name: l, envoyConfig: {name: e}}}]', 'spec.egress.0.toPorts.0.listener'],
    ['toCIDR: ["::ffff:10.0.0.0/104"]', 'spec.egress.0.toCIDR.0'],
    ['{toEntities: [world, host], toPorts: [{ports: [{port: "80", protocol: TCP}], rules: {http: [{}]}}]}', 'spec.egress.0.toEntities.1'],
    ['{toEntities: [host], toPorts: [{ports: [{port: "443", protocol: TCP}], serverNames: [a.b]}]}', 'spec.egress.0.toEntities.0'],
  ])('%s', (entry, field) => {
    const { valid, unsupported } = check(policy(`{endpointSelector: {}, egress: [${JSON.stringify(parse(entry))}]}`));
    expect([valid, unsupported.map((one) => one.path.join('.'))]).toEqual([true, [field]]);
    expect(unsupported[0]!.message).toContain('does not enforce it yet');
  });

  test.each(['{toEntities: [host], toPorts: [{ports: [{port: "80", protocol: TCP}]}]}', '{toEntities: [all], toPorts: [{ports: [{port: "80", protocol: TCP}], rules: {http: [{}]}}]}'])('L7 rules and the node, where nothing is refused: %s', (entry) =>
    expect(check(policy(`{endpointSelector: {}, egress: [${JSON.stringify(parse(entry))}]}`)).unsupported).toEqual([]));
  test('a policy for nodes', () => expect(check(policy('{nodeSelector: {}, ingress: [{}]}', 'CiliumClusterwideNetworkPolicy')).unsupported).toHaveLength(1));
  test('authentication disabled is nothing', () =>
    expect(check(policy('{endpointSelector: {}, ingress: [{fromEntities: [world], authentication: {mode: disabled}}]}')).unsupported).toEqual([]));
});

describe('regular expressions', () => {
  test.each([['/a/.*', true], ['(?i)get|post', true], ['(?P<x>a)', true], ['\\pL+', true], ['a{2,3}', true], ['[[:alpha:]]', true],
    ['a**', false], ['(', false], ['*.a', false], ['a(?=b)', false], ['(a)\\1', false], ['[b-a]', false], ['a{1001}', false], ['\\Z', false], ['/'.repeat(10_000), true], ['/'.repeat(10_001), false]])('%s: %s', (text, valid) =>
    expect(regularExpression(text) === undefined).toBe(valid));
});

describe('NetworkPolicy', () => {
  const knp = (spec: object): unknown => ({ apiVersion: 'networking.k8s.io/v1', kind: 'NetworkPolicy', metadata: { name: 'p' }, spec });
  test.each([
    ['a full one', { podSelector: {}, policyTypes: ['Ingress'], ingress: [{ from: [{ ipBlock: { cidr: '10.0.0.0/8', except: ['10.1.0.0/16'] } }], ports: [{ port: 80, endPort: 90 }] }] }, true],
    ['endPort with a name', { podSelector: {}, ingress: [{ ports: [{ port: 'http', endPort: 90 }] }] }, false],
    ['an empty peer', { podSelector: {}, ingress: [{ from: [{}] }] }, false],
    ['ipBlock beside pods', { podSelector: {}, ingress: [{ from: [{ ipBlock: { cidr: '10.0.0.0/8' }, podSelector: {} }] }] }, false],
    ['an except outside', { podSelector: {}, ingress: [{ from: [{ ipBlock: { cidr: '10.0.0.0/8', except: ['11.0.0.0/16'] } }] }] }, false],
  ])('%s: valid %s', (_, spec, valid) => expect(check(knp(spec)).valid).toBe(valid));
});

test('files: every finding stands at its line and column', () => {
  const folder = mkdtempSync(join(tmpdir(), 'weir-policy-'));
  try {
    writeFileSync(join(folder, 'a.yaml'), [
      'kind: Pod', '---', 'apiVersion: cilium.io/v2', 'kind: CiliumNetworkPolicy', 'metadata: {name: a}', 'spec:',
      '  endpointSelector: {}', '  ingress:', '    - toPorts:', '        - port: "8080"', '',
    ].join('\n'));
    writeFileSync(join(folder, 'b.yaml'), 'apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: a}\nspec: {endpointSelector: {}, ingress: [{}]}\n');
    writeFileSync(join(folder, 'c.yml'), 'a: [b\n');
    const { policies, findings } = lintPolicies([folder, join(folder, 'missing.yaml')]);
    expect(policies).toBe(1);
    const lines = findings.map((one) => formatFinding(one).replaceAll(`${folder}/`, ''));
    expect(lines).toEqual([
      expect.stringMatching(/^a\.yaml:10:11: spec\.ingress\[0\]\.toPorts\[0\]\.port: unknown field `port`.*\(write toPorts: \[\{ports: \[\{port: "8080", protocol: TCP\}\]\}\]\)$/),
      expect.stringContaining('b.yaml:3:12: metadata.name: CiliumNetworkPolicy/default/a is also in a.yaml:5'),
      expect.stringContaining('c.yml:2:1: '),
      expect.stringMatching(/^missing\.yaml:1:1: .*ENOENT/),
    ]);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
