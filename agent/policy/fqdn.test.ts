import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { parse } from 'yaml';
import { answerFqdn, readCases, type FqdnCase } from './cases.ts';
import { compile } from './compile.ts';
import { policiesOfDnsByTcp } from './dns-by-tcp.ts';
import { fqdnMatcher, fqdnSelector } from './fqdn.ts';
import { readRules } from './rules.ts';
import { check, errorText } from './validate.ts';

test('fqdn.jsonl', () => {
  const cases = readCases<FqdnCase & { matches: boolean }>(join(import.meta.dirname, 'testdata', 'fqdn.jsonl'));
  expect(cases.length).toBe(62);
  expect(cases.filter((one) => answerFqdn(one).matches !== one.matches)).toEqual([]);
});

const rows: readonly { name: string; pattern: string; yes: readonly string[]; no: readonly string[] }[] = [
  { name: 'one star: one label, also an empty one', pattern: '*.example.com', yes: ['a.example.com.', '.example.com.'], no: ['example.com.', 'a.b.example.com.'] },
  { name: 'two stars and a dot: one label or more', pattern: '**.example.com', yes: ['a.example.com.', 'a.b.c.example.com.'], no: ['example.com.', '.example.com.', 'a..example.com.', 'aexample.com.'] },
  { name: 'stars inside a label', pattern: 'a*b*c.io', yes: ['abc.io.', 'axxbyyc.io.'], no: ['ab.io.', 'a.bc.io.'] },
  { name: 'every name', pattern: '*', yes: ['.', 'com.', 'a.b.c.', 'A.b.'], no: ['', 'com', 'a..b.', 'mün.de.'] },
  { name: 'a run of stars is one', pattern: '***.com', yes: ['x.com.', '.com.'], no: ['x.y.com.', 'com.'] },
  { name: 'no star', pattern: 'WWW.a.io', yes: ['www.a.io.'], no: ['WWW.a.io.', 'x.a.io.'] },
];
describe('patterns', () => {
  test.each(rows)('$name', ({ pattern, yes, no }) => {
    const matches = fqdnMatcher(fqdnSelector({ matchPattern: pattern }));
    expect([yes.filter((name) => !matches(name)), no.filter(matches)]).toEqual([[], []]);
  });
});

const policy = (egress: string): Record<string, unknown> => ({
  apiVersion: 'cilium.io/v2', kind: 'CiliumNetworkPolicy', metadata: { name: 'names', namespace: 'default' }, spec: { endpointSelector: {}, egress: parse(egress) },
});

describe('refused, with the field', () => {
  test.each([
    ['an empty label', '[{toFQDNs: [{matchName: a..b}]}]', 'spec.egress[0].toFQDNs[0].matchName'],
    ['a star in a name', '[{toFQDNs: [{matchName: "*.b"}]}]', 'spec.egress[0].toFQDNs[0].matchName'],
    ['both', '[{toFQDNs: [{matchName: a, matchPattern: a}]}]', 'spec.egress[0].toFQDNs[0]'],
    ['another letter', '[{toPorts: [{ports: [{port: "53", protocol: UDP}], rules: {dns: [{matchPattern: "ä.de"}]}}]}]', 'spec.egress[0].toPorts[0].rules.dns[0].matchPattern'],
    ['every port', '[{toPorts: [{ports: [{port: "0", protocol: UDP}], rules: {dns: [{matchPattern: "*"}]}}]}]', 'spec.egress[0].toPorts[0].ports[0].port'],
  ])('%s', (_, egress, field) => {
    const { valid, problems } = check(policy(egress));
    expect([valid, errorText(problems)]).toEqual([false, expect.stringContaining(field)]);
  });
});

const names = `
- toCIDR: [192.0.2.53/32]
  toPorts:
    - ports: [{port: "53", protocol: ANY}]
      rules: {dns: [{matchPattern: "*.example.test"}, {matchName: other.test}]}
    - ports: [{port: "853", protocol: TCP}]
- toFQDNs: [{matchPattern: "*.example.test"}, {matchName: Other.test}]
  toPorts: [{ports: [{port: "443", protocol: TCP}]}]
`;
test('an entry becomes a rule for its plain ports and one for each item with DNS rules, by UDP and TCP', () => {
  const [group] = readRules(policy(names), []);
  expect(group!.rules.map(({ ports, dns, peers }) => [ports, dns?.map(({ key }) => key), peers === 'any' ? peers : peers.map((peer) => peer.kind)])).toEqual([
    [[{ kind: 'range', protocol: 6, low: 853, high: 853 }], undefined, ['cidr']],
    [[{ kind: 'range', protocol: 17, low: 53, high: 53 }, { kind: 'range', protocol: 6, low: 53, high: 53 }], ['pattern *.example.test.', 'name other.test.'], ['cidr']],
    [[{ kind: 'range', protocol: 6, low: 443, high: 443 }], undefined, ['fqdn', 'fqdn']],
  ]);
});

test('a merged policy has a bit for each of them, and says which names set it', () => {
  const image = compile({ rules: readRules(policy(names), []), identities: [{ id: 300, labels: ['k8s:io.kubernetes.pod.namespace=default'] }], endpoints: [{ id: 1, identity: 300, namespace: 'default', namedPorts: [] }], cidrIdentity: () => 0x1000001, ipv6: true });
  const [merged] = [...image.policies.values()];
  expect(merged!.names.map(({ selector, use, word, mask }) => [selector.text, use, word, mask])).toEqual([
    ['*.example.test.', 'query', 0, 2n], ['other.test.', 'query', 0, 2n], ['*.example.test.', 'peer', 0, 4n], ['other.test.', 'peer', 0, 4n],
  ]);
  const steps = merged!.intervals.flatMap((interval) => interval.steps);
  expect(steps).toEqual([
    { word: 0, mask: 2n, action: 'dns' }, { word: 0, mask: 4n, action: 'allow', named: true }, { word: 0, mask: 1n, action: 'allow' }, { word: 0, mask: 2n, action: 'dns' },
  ]);
});

test.each([
  { protocol: 'ANY', byTcp: ['names'] }, { protocol: 'TCP', byTcp: ['names'] }, { protocol: 'UDP', byTcp: [] },
])('DNS rules for $protocol: whose need the proxy of DNS by TCP', ({ protocol, byTcp }) => {
  const object = { ...policy(names.replace('protocol: ANY', `protocol: ${protocol}`)), metadata: { name: 'names', namespace: 'default' } };
  const image = compile({ rules: readRules(object, []), identities: [{ id: 300, labels: ['k8s:io.kubernetes.pod.namespace=default'] }], endpoints: [{ id: 1, identity: 300, namespace: 'default', namedPorts: [] }], cidrIdentity: () => 0x1000001, ipv6: true });
  expect(policiesOfDnsByTcp(image).map(({ name }) => name)).toEqual(byTcp);
});
