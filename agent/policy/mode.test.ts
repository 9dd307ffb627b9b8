// The mode of a policy: what is enforced is as if the audited and those that are off were not there, what is audited as if all but those off were.
import { describe, expect, test } from '@jest/globals';
import { Table } from '../store/table.ts';
import { manifestTable, problemTable, type ManifestRow } from '../directory/tables.ts';
import { Compiler } from './compile.ts';
import { protocolNumber } from './icmp.ts';
import type { EndpointPolicies } from './image.ts';
import { modes } from './mode.ts';
import { naiveVerdict } from './naive.ts';
import { endpointOf, identityOf, judgeFlow, makeWorld, prefixNumbers, sidesOf, type CaseFlow, type PolicyCase, type World } from './offline.ts';
import { makeRandom, randomCase } from './random-cases.ts';
import { PolicySet } from './reflector.ts';
import { policyTable, type PolicyRow } from './tables.ts';
import { isAllowed, verdict } from './verdict.ts';

type Object = Readonly<Record<string, unknown>>;
const MODE = 'policy.weir.io/mode';
const withMode = (policy: Object, mode: string | undefined): Object => (mode === undefined ? policy
  : { ...policy, metadata: { ...policy['metadata'] as object, annotations: { [MODE]: mode } } });

/** As the kernel takes it where an endpoint has an audit. */
function judgeAudit(world: World, flow: CaseFlow): 'allowed' | 'denied' {
  const allows = sidesOf(flow).every((side) => {
    const [subject, peer] = side === 'ingress' ? [flow.to, flow.from] : [flow.from, flow.to];
    const endpoint = endpointOf(world, subject);
    const keys: EndpointPolicies = (endpoint && world.image.ofEndpoint.get(endpoint.id)) ?? {};
    const policy = side === 'ingress' ? keys.auditIngress ?? keys.ingress : keys.auditEgress ?? keys.egress;
    return isAllowed(verdict(world.image, { policy, class: world.image.classOfIdentity.get(identityOf(world, peer))!, protocol: protocolNumber(flow.protocol)!, port: flow.port ?? flow.icmpType ?? 0 }));
  });
  return allows ? 'allowed' : 'denied';
}

const SETS = 5_000;
const SEED = 20261121;

test(`${SETS} random sets with random modes: live is what is enforced alone, the audit is both, by the naive evaluator`, () => {
  const seen = { alike: 0, closes: 0, opens: 0 };
  for (let set = 0; set < SETS; set += 1) {
    const random = makeRandom(SEED + set);
    const plain = randomCase(random, `modes-${set}`);
    const chosen = plain.policies.map(() => random.pick(modes));
    const only = (...wanted: string[]): PolicyCase => ({ ...plain, policies: plain.policies.filter((_, index) => wanted.includes(chosen[index]!)) });
    const world = makeWorld({ ...plain, policies: plain.policies.map((policy, index) => withMode(policy, chosen[index])) });
    for (const flow of plain.flows) {
      const found = [judgeFlow(world, flow), judgeAudit(world, flow)];
      const wanted = [naiveVerdict(only('enforce'), flow), naiveVerdict(only('enforce', 'audit'), flow)];
      if (found.join() !== wanted.join()) expect({ set, flow, found, chosen, policies: plain.policies }).toEqual(wanted);
      seen[wanted[0] === wanted[1] ? 'alike' : wanted[0] === 'allowed' ? 'closes' : 'opens'] += 1;
    }
  }
  expect(Math.min(seen.alike, seen.closes, seen.opens)).toBeGreaterThan(100);
}, 120_000);

test('modes that change one by one: the compiler that remembers says what one from scratch says', () => {
  for (let set = 0; set < 200; set += 1) {
    const random = makeRandom(SEED + set);
    const plain = randomCase(random, `turns-${set}`);
    const compiler = new Compiler(plain.ipv6);
    const chosen: string[] = plain.policies.map(() => 'enforce');
    const numbers = prefixNumbers();
    for (let turn = 0; turn < 6 && chosen.length > 0; turn += 1) {
      chosen[random.below(chosen.length)] = random.pick(modes);
      const world = makeWorld({ ...plain, policies: plain.policies.map((policy, index) => withMode(policy, chosen[index])) });
      const image = compiler.compile({ rules: world.rules, identities: world.identities, endpoints: world.endpoints, cidrIdentity: numbers });
      expect(new Map(image.ofEndpoint)).toEqual(new Map(world.image.ofEndpoint));
      expect([...image.policies.keys()].sort()).toEqual([...world.image.policies.keys()].sort());
    }
  }
});

describe('where a mode is said', () => {
  const source = { file: 'a.yaml', line: 1, column: 1 };
  const row = (kind: string, name: string, namespace: string, object: object): ManifestRow =>
    ({ key: `${kind}/${namespace}/${name}`, kind, name, namespace, object, source, locate: () => source } as unknown as ManifestRow);
  const policy = (kind: string, name: string, mode?: string): ManifestRow => {
    const namespace = kind === 'CiliumClusterwideNetworkPolicy' ? '' : 'shop';
    const spec = kind === 'NetworkPolicy' ? { podSelector: {} } : { endpointSelector: {}, ingress: [{}] };
    const apiVersion = kind === 'NetworkPolicy' ? 'networking.k8s.io/v1' : 'cilium.io/v2';
    return row(kind, name, namespace, withMode({ apiVersion, kind, metadata: { name, ...(namespace === '' ? {} : { namespace }) }, spec }, mode));
  };
  const space = (mode?: string): ManifestRow => row('Namespace', 'shop', '', withMode({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'shop' } }, mode));
  const all = (mode?: string): ManifestRow[] => ['CiliumNetworkPolicy', 'CiliumClusterwideNetworkPolicy', 'NetworkPolicy'].map((kind) => policy(kind, 'p', mode));

  test.each<{ name: string; steps: ManifestRow[][]; states: string[]; modes: string[]; problem?: RegExp }>([
    { name: 'nowhere: enforced', steps: [all()], states: ['enforced', 'enforced', 'enforced'], modes: ['enforce', 'enforce', 'enforce'] },
    { name: 'audit, by each kind', steps: [all('audit')], states: ['audited', 'audited', 'audited'], modes: ['audit', 'audit', 'audit'] },
    { name: 'off: listed, and left out', steps: [all('off')], states: ['off', 'off', 'off'], modes: [] },
    { name: 'by the namespace: not of what is clusterwide', steps: [[space('audit'), ...all()]], states: ['audited', 'enforced', 'audited'], modes: ['audit', 'enforce', 'audit'] },
    { name: 'its own goes before its namespace', steps: [[space('audit'), ...all('enforce')]], states: ['enforced', 'enforced', 'enforced'], modes: ['enforce', 'enforce', 'enforce'] },
    { name: 'the namespace turns', steps: [[space('audit'), ...all()], [space()]], states: ['enforced', 'enforced', 'enforced'], modes: ['enforce', 'enforce', 'enforce'] },
    { name: 'the namespace turns wrong: its last good one holds', steps: [[space('audit'), ...all()], [space('audti')]], states: ['audited', 'enforced', 'audited'], modes: ['audit', 'enforce', 'audit'], problem: /mode must be one of enforce, audit, off; found "audti" \(did you mean `audit`\?\)/ },
    { name: 'a policy turns wrong: refused, its last good version holds', steps: [[policy('NetworkPolicy', 'p', 'audit')], [policy('NetworkPolicy', 'p', 'enforced')]], states: ['refused'], modes: ['audit'], problem: /found "enforced" \(did you mean `enforce`\?\)/ },
    { name: 'wrong from the start: nothing of it', steps: [[policy('CiliumNetworkPolicy', 'p', 'true')]], states: ['refused'], modes: [], problem: /one of enforce, audit, off; found "true"/ },
  ])('$name', ({ steps, states, modes: wanted, problem }) => {
    const [manifests, policies, problems] = [manifestTable(), policyTable(), problemTable()];
    const set = new PolicySet(manifests, policies as Table<PolicyRow>, problems);
    for (const rows of steps) manifests.write(rows);
    set.accept([]);
    const byKind = (rows: readonly PolicyRow[]): string[] => all().flatMap(({ kind }) => rows.filter((one) => one.kind === kind).map(({ state }) => state));
    expect(byKind(policies.rows())).toEqual(states);
    expect(set.groups().map(({ mode }) => mode)).toEqual(wanted);
    expect(problems.rows().map(({ message, mend }) => `${message} (${mend})`).join('\n')).toMatch(problem ?? /^$/);
  });
});
