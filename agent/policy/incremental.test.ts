// A compiler that is told of one change after another, and one that begins from nothing: the same image after every change.
import { describe, expect, test } from '@jest/globals';
import { reservedIdentities } from '../identity/reserved.ts';
import { Compiler, compile, type CompileInput } from './compile.ts';
import { differenceOf } from './difference.ts';
import type { EndpointInput, IdentityInput, PolicyImage } from './image.ts';
import { makeWorld, prefixNumbers, type PolicyCase } from './offline.ts';
import { makeRandom, randomCase, type Random } from './random-cases.ts';
import type { RuleGroup } from './rule.ts';
import { RuleSets, type Derived } from './rule-sets.ts';

const SEQUENCES = 400;
const EDITS = 12;

/** All that the kernel is told, without numbers that are a compiler's own. */
function contentOf(image: PolicyImage): object {
  const policies = [...image.policies.values()].sort((a, b) => (a.key < b.key ? -1 : 1));
  return {
    policies: policies.map(({ peerSets, l7, ...policy }) => ({ ...policy, l7: [...l7], sets: peerSets.map((set) => set === 'any') })),
    rows: [...image.classes.values()].sort((a, b) => (a.key < b.key ? -1 : 1)).map((peers) => [peers.key, peers.sets.size, policies.map((policy) => peers.row(policy))]),
    classOfIdentity: [...image.classOfIdentity].sort(([a], [b]) => a - b), prefixes: [...image.prefixes].sort(([a], [b]) => (a < b ? -1 : 1)),
    ofEndpoint: [...image.ofEndpoint].sort(([a], [b]) => a - b).map(([id, { ingress, egress }]) => [id, ingress, egress]),
  };
}

/** What Envoy and the kernel are told of L7 rules. */
const derivedOf = ({ sets, rows, conflicts }: Derived): object => [[...sets.values()].sort((a, b) => (a.key < b.key ? -1 : 1)), ...[rows, conflicts].map((list) => list.map((one) => JSON.stringify(one, numbers)).sort())];

interface Live { groups: (readonly RuleGroup[])[]; identities: IdentityInput[]; endpoints: EndpointInput[] }

const groupsOf = (one: PolicyCase): (readonly RuleGroup[])[] => one.policies.map((policy) => makeWorld({ ...one, endpoints: [], policies: [policy] }).rules);

/** One thing that an agent sees happen; the numbers of identities and endpoints come and go. */
function edit(live: Live, random: Random, fresh: () => PolicyCase): void {
  const at = (list: readonly unknown[]): number => random.below(Math.max(1, list.length));
  const world = makeWorld(fresh());
  const pods = world.identities.slice(reservedIdentities().length);
  const port = { name: random.pick(['http', 'dns']), port: random.pick([53, 80, 8080]), protocol: random.pick(['TCP', 'UDP'] as const) };
  const edits: readonly (() => void)[] = [
    () => { live.groups = live.groups.toSpliced(at(live.groups), 1, ...groupsOf(fresh()).slice(0, 1)); },
    () => { live.groups = live.groups.toSpliced(at(live.groups), 0, ...groupsOf(fresh()).slice(0, 2)); },
    () => { live.groups = live.groups.toSpliced(at(live.groups), 1); },
    () => { live.groups = random.chance(0.3) ? live.groups.toReversed() : live.groups; },
    () => { live.identities = [...live.identities, { id: 1000 + random.below(500), labels: random.pick(pods).labels }].filter(({ id }, index, all) => all.findIndex((one) => one.id === id) === index); },
    () => { live.identities = live.identities.filter(({ id }) => id < 256 || live.endpoints.some(({ identity }) => identity === id) || random.chance(0.5)); },
    () => { live.identities = live.identities.map((one) => (one.id >= 256 && random.chance(0.3) ? { ...one, labels: random.pick(pods).labels } : one)); },
    () => { live.endpoints = [...live.endpoints, { id: 100 + random.below(1000), identity: random.pick(live.identities).id, namespace: 'one', namedPorts: random.chance(0.5) ? [port] : [] }].filter(({ id }, index, all) => all.findIndex((one) => one.id === id) === index); },
    () => { live.endpoints = live.endpoints.toSpliced(at(live.endpoints), 1); },
    () => { live.endpoints = live.endpoints.map((one) => (random.chance(0.4) ? { ...one, identity: random.pick(live.identities).id } : one)); },
    () => { live.endpoints = live.endpoints.map((one) => (random.chance(0.4) ? { ...one, namedPorts: random.chance(0.5) ? [port] : [] } : one)); },
  ];
  random.pick(edits)();
}

test(`${SEQUENCES} random sequences of ${EDITS} edits: step by step and from nothing are the same`, () => {
  for (let seed = 0; seed < SEQUENCES; seed += 1) {
    const random = makeRandom(seed);
    const l7 = seed % 2 === 1;
    const one = randomCase(random, 'live', l7);
    const ipv6 = one.ipv6;
    const fresh = (): PolicyCase => ({ ...randomCase(random, 'fresh', l7), ipv6 });
    const world = makeWorld(one);
    const live: Live = { groups: groupsOf(one), identities: [...world.identities], endpoints: [...world.endpoints] };
    const [compiler, ruleSets] = [new Compiler(ipv6), new RuleSets()];
    const cidrIdentity = prefixNumbers();
    for (let step = 0; step <= EDITS; step += 1) {
      const input: CompileInput = { rules: live.groups.flat(), identities: live.identities, endpoints: live.endpoints, cidrIdentity, ipv6 };
      const [stepped, whole] = [compiler.compile(input), compile(input)];
      const [now, again] = [[contentOf(stepped), derivedOf(ruleSets.derive(stepped))], [contentOf(whole), derivedOf(new RuleSets().derive(whole))]];
      if (JSON.stringify(now, numbers) !== JSON.stringify(again, numbers)) expect({ seed, step, now }).toEqual({ seed, step, now: again });
      edit(live, random, fresh);
    }
  }
}, 300_000);

const numbers = (_: string, value: unknown): unknown => (typeof value === 'bigint' ? String(value) : value);

describe('after a failure', () => {
  test('the next compile begins from nothing', () => {
    const one = randomCase(makeRandom(3), 'one');
    const { rules, identities, endpoints } = makeWorld({ ...one, policies: [{ kind: 'CiliumNetworkPolicy', metadata: { name: 'p', namespace: 'one' }, spec: { endpointSelector: {}, egress: [{ toCIDR: ['10.0.0.0/8'] }] } }] });
    const compiler = new Compiler(true);
    const input = { rules, identities, endpoints };
    expect(() => compiler.compile({ ...input, cidrIdentity: () => { throw new Error('no number is free'); } })).toThrow('no number');
    const cidrIdentity = prefixNumbers();
    expect(contentOf(compiler.compile({ ...input, cidrIdentity }))).toEqual(contentOf(compile({ ...input, cidrIdentity, ipv6: true })));
  });
});

describe('differenceOf', () => {
  const rows = (text: string): { key: string; value: string }[] => text.split(' ').filter((part) => part !== '').map((part) => ({ key: part[0]!, value: part }));
  test.each([
    ['nothing', 'a1 b1 c1', 'a1 b1 c1', '', ''],
    ['one more at the end', 'a1 b1', 'a1 b1 c1', 'c1', ''],
    ['one less in the middle', 'a1 b1 c1', 'a1 c1', '', 'b1'],
    ['one other', 'a1 b1 c1', 'a1 b2 c1', 'b2', 'b1'],
    ['a new order', 'a1 b1 c1 d1', 'a1 c1 b1 d1', '', ''],
    ['all others', 'a1 b1', 'c1 d1', 'c1 d1', 'a1 b1'],
    ['from nothing', '', 'a1', 'a1', ''],
  ])('%s', (_, old, now, added, removed) => expect(differenceOf(rows(old), rows(now), ({ key }) => key, (a, b) => a.value === b.value)).toEqual({ added: rows(added), removed: rows(removed) }));
});
