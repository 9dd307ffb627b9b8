import { describe, expect, test } from '@jest/globals';
import { parse } from 'yaml';
import { manifestTable, problemTable, type ManifestRow } from '../directory/tables.ts';
import { absentGroups, readCidrGroup } from './cidr-group.ts';
import { judgeFlow, makeWorld } from './offline.ts';
import { PolicySet } from './reflector.ts';
import { policyTable } from './tables.ts';
import { check, describe as describeProblem } from './validate.ts';

type Json = Record<string, unknown>;
const group = (name: string, cidrs: string[], labels?: Record<string, string>): Json =>
  ({ apiVersion: 'cilium.io/v2', kind: 'CiliumCIDRGroup', metadata: { name, ...(labels === undefined ? {} : { labels }) }, spec: { externalCIDRs: cidrs } });
const policy = (set: unknown, section = 'egress'): Json => ({
  apiVersion: 'cilium.io/v2', kind: 'CiliumNetworkPolicy', metadata: { name: 'p', namespace: 'shop' },
  spec: { endpointSelector: {}, [section]: [{ [section.startsWith('egress') ? 'toCIDRSet' : 'fromCIDRSet']: [set] }] },
});
const CORP = group('corp', ['10.0.0.0/8', '2001:db8::/32'], { team: 'a' });
const LAB = group('lab', ['192.0.2.0/24'], { team: 'b' });

describe('what a group selects', () => {
  test.each([
    ['by name', { cidrGroupRef: 'corp' }, ['10.9.9.9', '2001:db8::1'], ['192.0.2.1', '11.0.0.1']],
    ['by a label', { cidrGroupSelector: { matchLabels: { team: 'b' } } }, ['192.0.2.1'], ['10.9.9.9']],
    ['by a label with its source', { cidrGroupSelector: { matchLabels: { 'cidrgroup:team': 'b' } } }, ['192.0.2.1'], ['10.9.9.9']],
    ['by the label of its name', { cidrGroupSelector: { matchExpressions: [{ key: 'io.cilium.policy.cidrgroupname/lab', operator: 'Exists' }] } }, ['192.0.2.1'], ['10.9.9.9']],
    ['by what it lacks', { cidrGroupSelector: { matchExpressions: [{ key: 'team', operator: 'NotIn', values: ['a'] }] } }, ['192.0.2.1'], ['10.9.9.9']],
    ['a label of another source', { cidrGroupSelector: { matchLabels: { 'k8s:team': 'b' } } }, [], ['192.0.2.1', '10.9.9.9']],
    ['all of them', { cidrGroupSelector: {} }, ['192.0.2.1', '10.9.9.9'], ['11.0.0.1']],
    ['less an exception', { cidrGroupRef: 'corp', except: ['10.1.0.0/16', '172.16.0.0/12'] }, ['10.9.9.9', '2001:db8::1'], ['10.1.2.3', '172.16.0.1']],
    ['less an exception around it', { cidrGroupRef: 'lab', except: ['192.0.0.0/8'] }, [], ['192.0.2.1']],
    ['one that is not there', { cidrGroupRef: 'none' }, [], ['192.0.2.1', '10.9.9.9', '11.0.0.1']],
  ])('%s', (_, set, allowed, denied) => {
    for (const [section, direction] of [['egress', 'egress'], ['ingress', 'ingress']] as const) {
      const world = makeWorld({ ipv6: true, namespaces: {}, endpoints: [{ name: 'a', namespace: 'shop', labels: {} }], policies: [policy(set, section)], cidrGroups: [CORP, LAB] });
      const judge = (ip: string): string => judgeFlow(world, { direction, protocol: 'TCP', port: 1, ...(direction === 'egress' ? { from: 'shop/a', to: { ip } } : { from: { ip }, to: 'shop/a' }) });
      expect([allowed.map(judge), denied.map(judge)]).toEqual([allowed.map(() => 'allowed'), denied.map(() => 'denied')]);
    }
  });

  test('a deny by group wins', () => {
    const world = makeWorld({
      ipv6: true, namespaces: {}, endpoints: [{ name: 'a', namespace: 'shop', labels: {} }], cidrGroups: [LAB],
      policies: [policy({ cidrGroupRef: 'lab', except: ['192.0.2.7/32'] }, 'egressDeny'), policy({ cidr: '0.0.0.0/0' })],
    });
    const judge = (ip: string): string => judgeFlow(world, { direction: 'egress', from: 'shop/a', to: { ip }, protocol: 'UDP', port: 1 });
    expect(['192.0.2.1', '192.0.2.7', '192.0.3.1'].map(judge)).toEqual(['denied', 'allowed', 'allowed']);
  });
});

describe('a group as an object', () => {
  test.each([
    ['a good one', '{externalCIDRs: [10.0.0.0/8, "2001:db8::/32"]}', undefined],
    ['an empty one', '{externalCIDRs: []}', undefined],
    ['no spec', 'null', 'needs the field `spec`'],
    ['no prefixes', '{}', 'spec: spec needs the field `externalCIDRs`'],
    ['a slip', '{externalCidrs: []}', 'spec.externalCidrs: unknown field `externalCidrs`: spec has externalCIDRs (did you mean `externalCIDRs`?)'],
    ['a bare address', '{externalCIDRs: [10.0.0.1]}', 'spec.externalCIDRs[0]: a CIDR must be an address with a prefix length; found "10.0.0.1" (write 10.0.0.1/32)'],
    ['no list', '{externalCIDRs: 10.0.0.0/8}', 'spec.externalCIDRs: externalCIDRs must be a list'],
    ['IPv4 in IPv6 form', '{externalCIDRs: ["::ffff:10.0.0.0/104"]}', 'spec.externalCIDRs[0]: a CIDR is an IPv4 prefix in IPv6 form'],
  ])('%s', (_, spec, message) => {
    const { valid, problems } = check({ apiVersion: 'cilium.io/v2', kind: 'CiliumCIDRGroup', metadata: { name: 'g' }, spec: parse(spec) as unknown });
    expect([valid, problems.map(describeProblem).join('\n')]).toEqual([message === undefined, message === undefined ? '' : expect.stringContaining(message)]);
  });

  test.each([
    ['a name nobody has', { cidrGroupRef: 'none' }, 'spec.egress.0.toCIDRSet.0.cidrGroupRef', 'there is no CiliumCIDRGroup none'],
    ['a slip', { cidrGroupRef: 'korp' }, 'spec.egress.0.toCIDRSet.0.cidrGroupRef', 'did you mean `corp`?'],
    ['labels nobody has', { cidrGroupSelector: { matchLabels: { team: 'z' } } }, 'spec.egress.0.toCIDRSet.0.cidrGroupSelector', 'no CiliumCIDRGroup has these labels'],
  ])('%s is a warning', (_, set, path, message) => {
    const [one, ...more] = absentGroups(policy(set), [CORP, LAB].map(readCidrGroup));
    expect([one!.severity, one!.path.join('.'), more]).toEqual(['warning', path, []]);
    expect(describeProblem(one!)).toContain(message);
  });
});

describe('groups come and go while policies are in force', () => {
  const row = (object: Json): ManifestRow => {
    const { name, namespace = '' } = object['metadata'] as { name: string; namespace?: string };
    const source = { file: 'f', line: 1, column: 1 };
    return { key: `${String(object['kind'])}/${namespace}/${name}`, apiVersion: '', kind: String(object['kind']), namespace, name, object, source, locate: () => source };
  };
  const prefixes = (set: PolicySet): string[] => set.groups().flatMap((one) => one.rules)
    .flatMap(({ peers }) => (peers === 'any' ? [] : peers.map((peer) => (peer.kind === 'cidr' ? peer.prefix.text : ''))));

  test('rules follow the group; without it they select nothing and a warning says so; a bad version changes nothing', () => {
    const [manifests, policies, problems] = [manifestTable(), policyTable(), problemTable()];
    let told = 0;
    const set = new PolicySet(manifests, policies, problems);
    set.subscribe(() => { told += 1; });
    const warnings = (): string[] => problems.rows().map(({ severity, message }) => `${severity} ${message.split(',')[0]}`);

    manifests.write([row(policy({ cidrGroupRef: 'corp' }))]);
    expect([prefixes(set), warnings()]).toEqual([[], ['warning CiliumNetworkPolicy p: there is no CiliumCIDRGroup corp']]);
    manifests.write([row(group('corp', ['10.0.0.0/8']))]);
    expect([prefixes(set), warnings(), told]).toEqual([['10.0.0.0/8'], [], 2]);
    manifests.write([row(group('corp', ['10.0.0.0/8', '11.0.0.0/8']))]);
    expect([prefixes(set), told]).toEqual([['10.0.0.0/8', '11.0.0.0/8'], 3]);
    manifests.write([row(group('corp', ['10.0.0.0']))]);
    expect([prefixes(set), warnings(), told]).toEqual([['10.0.0.0/8', '11.0.0.0/8'], [expect.stringContaining('error CiliumCIDRGroup corp: a CIDR must be')], 3]);
    manifests.write([], ['CiliumCIDRGroup//corp']);
    expect([prefixes(set), warnings(), told]).toEqual([[], ['warning CiliumNetworkPolicy p: there is no CiliumCIDRGroup corp'], 4]);
  });

  test('a new version that the kernel has no room for is refused: the prefixes before it stay', () => {
    const [manifests, policies, problems] = [manifestTable(), policyTable(), problemTable()];
    const set = new PolicySet(manifests, policies, problems);
    manifests.write([row(policy({ cidrGroupRef: 'corp' })), row(group('corp', ['10.0.0.0/8']))]);
    set.accept([]);
    manifests.write([row(group('corp', ['10.0.0.0/8', '11.0.0.0/8']))]);
    expect([set.refuseLatest('no room'), prefixes(set)]).toEqual([true, ['10.0.0.0/8']]);
    set.accept([]);
    expect(policies.rows()[0]).toMatchObject({ state: 'refused', message: 'no room; the version before it is still in force' });
  });
});
