// A merged policy from its rule groups: all rules that select an endpoint in one direction, as bits, intervals and a default.
import { hash } from 'node:crypto';
import { reservedLabels } from '../identity/reserved.ts';
import { bitsOf, type Bit, type PortNumbers } from './bits.ts';
import type { Direction, L7Rules, MergedPolicy, NameBits, RuleRef } from './image.ts';
import { makeIntervals } from './intervals.ts';
import { shapeOf } from './l7.ts';
import type { PeerSets } from './peer-sets.ts';
import { labelPeer, type Rule, type RuleGroup } from './rule.ts';
import { makeSelector, requirement } from './selector.ts';

/** The node reaches its own workloads (probes, the user's shell) unless a deny rule names it. */
export const ALLOW_LOCALHOST: Rule = {
  ref: { policy: { kind: '', namespace: '', name: '' }, path: 'allow-localhost', action: 'allow' },
  direction: 'ingress',
  peers: [labelPeer(makeSelector(reservedLabels('host').map((label) => requirement(label.slice(0, -1), 'In', ['']))), 'entity host')],
  ports: 'all',
  builtIn: true,
};

export const concerns = (group: RuleGroup, direction: Direction): boolean =>
  group.defaultDeny[direction] || group.rules.some((rule) => rule.direction === direction);

export const namesPorts = (group: RuleGroup): boolean =>
  group.rules.some((rule) => rule.ports !== 'all' && rule.ports.some((port) => port.kind === 'named'));

export function merge(groups: readonly RuleGroup[], direction: Direction, ports: PortNumbers, peerSets: PeerSets): MergedPolicy {
  const rules = groups.flatMap((group) => group.rules.filter((rule) => rule.direction === direction));
  if (direction === 'ingress') rules.push(ALLOW_LOCALHOST);
  const bits = (['deny', 'allow'] as const)
    .flatMap((action) => rules.filter((rule) => rule.ref.action === action))
    .flatMap((rule) => bitsOf(rule, ports, peerSets));
  const enforcedBy = [...new Map(groups.filter((group) => group.defaultDeny[direction])
    .map(({ policy }) => [`${policy.kind}/${policy.namespace}/${policy.name}`, policy])).values()];
  const defaultAction = enforcedBy.length > 0 ? 'default-deny' as const : 'allow' as const;
  const content = [direction, defaultAction, enforcedBy.map((ref) => [ref.kind, ref.namespace, ref.name]), bits.map((bit) =>
    [refKey(bit.ref), bit.set === 'any' ? 'any' : peerSets.digest(bit.set), bit.ranges.map(({ low, high }) => [low, high]),
    ...(bit.peers.length + bit.queries.length === 0 ? [] : [[bit.peers, bit.queries].map((names) => names.map(({ key }) => key))]),
    // Not what they say: the rule set behind the same rows is told.
    ...(bit.l7 === undefined ? [] : [shapeOf(bit.l7)])])];
  return {
    key: hash('sha256', JSON.stringify(content)).slice(0, 32),
    direction,
    words: Math.ceil(bits.length / 64),
    defaultAction,
    intervals: makeIntervals(bits),
    rules: bits.map((bit) => bit.ref),
    peerSets: bits.map((bit) => bit.set),
    names: nameBitsOf(bits),
    l7: new Map(bits.flatMap(({ l7 }, bit): [number, L7Rules][] => (l7 === undefined ? [] : [[bit, l7]]))),
    enforcedBy,
  };
}

/** By name, use and word: what the kernel looks up. */
function nameBitsOf(bits: readonly Bit[]): NameBits[] {
  const found = new Map<string, NameBits>();
  bits.forEach(({ peers, queries }, index) => {
    for (const [use, names] of [['peer', peers], ['query', queries]] as const) {
      for (const selector of names) {
        const word = index >> 6;
        const key = `${use} ${word} ${selector.key}`;
        found.set(key, { selector, use, word, mask: (found.get(key)?.mask ?? 0n) | 1n << BigInt(index & 63) });
      }
    }
  });
  return [...found.values()];
}

const refKey = ({ policy, path, action, log }: RuleRef): readonly unknown[] =>
  [policy.kind, policy.namespace, policy.name, path, action, log ?? null];
