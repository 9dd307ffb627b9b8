// Rules that change nothing: allows that denies take away whole (`shadowed`), and rules of which another one has all (`duplicate`).
import { isDeepStrictEqual } from 'node:util';
import type { RuleRef } from './image.ts';
import type { KeyRange } from './intervals.ts';
import type { LintWorld } from './lint-world.ts';
import type { LintWarning } from './lint.ts';
import { parsePath } from './check.ts';
import { formatRule } from './explain-text.ts';
import { covers } from './prefix.ts';
import type { Peer, Rule, RuleGroup } from './rule.ts';
import type { Selector } from './selector.ts';

export type Locate = (ref: RuleRef) => string;

export function shadowed(world: LintWorld, at: Locate): LintWarning[] {
  const warnings: LintWarning[] = [];
  for (const group of world.groups) {
    for (const rule of group.rules.filter(({ ref }) => ref.action === 'allow')) {
      const denies = shadowOf(world, group, rule);
      if (denies === undefined) continue;
      warnings.push({
        name: 'shadowed', policy: group.policy, path: parsePath(rule.ref.path),
        message: `nothing that this allows gets through: ${denies.map((ref) => `${formatRule(ref)}${at(ref)}`).join(', ')} ${denies.length === 1 ? 'denies' : 'deny'} it, and deny wins`,
        mend: 'remove it, or narrow the deny',
      });
    }
  }
  return warnings;
}

/** The denies that leave nothing of an allow, for every workload that it is about; undefined when something is left. */
function shadowOf(world: LintWorld, group: RuleGroup, rule: Rule): RuleRef[] | undefined {
  const ranges = world.ranges(rule);
  const peers = world.peers(rule);
  const subjects = world.subjects(group);
  if (ranges.length === 0 || peers.length === 0 || subjects.length === 0) return undefined;
  const took = new Map<string, RuleRef>();
  const judged = new Set<string>();
  for (const subject of subjects) {
    const denies = world.groupsAt(subject).flatMap((one) => one.rules).filter(({ ref, direction }) => ref.action === 'deny' && direction === rule.direction);
    if (denies.length === 0) return undefined;
    const key = denies.map(({ ref }) => formatRule(ref)).join();
    if (judged.has(key)) continue;
    judged.add(key);
    const selected = denies.map((deny) => ({ deny, peers: new Set(world.peers(deny)), ranges: world.ranges(deny) }));
    for (const peer of peers) {
      const on = selected.filter((one) => one.peers.has(peer) && one.ranges.length > 0);
      if (!covered(ranges, on.flatMap((one) => one.ranges))) return undefined;
      for (const { deny, ranges: theirs } of on) if (touch(ranges, theirs)) took.set(formatRule(deny.ref), deny.ref);
    }
  }
  return [...took.values()];
}

export const touch = (a: readonly KeyRange[], b: readonly KeyRange[]): boolean => a.some((one) => b.some((other) => one.low <= other.high && other.low <= one.high));

function covered(ranges: readonly KeyRange[], by: readonly KeyRange[]): boolean {
  const sorted = [...by].sort((a, b) => a.low - b.low);
  return ranges.every(({ low, high }) => {
    let next = low;
    for (const one of sorted) if (one.low <= next && one.high >= next) next = one.high + 1;
    return next > high;
  });
}

/** By what is written, not by who happens to be there: so it stays true when workloads come. */
export function duplicates(world: LintWorld, at: Locate): LintWarning[] {
  const warnings: LintWarning[] = [];
  const entries = world.groups.flatMap((group) => group.rules.map((rule) => ({ group, rule })))
    .filter(({ rule }) => rule.peers.length > 0 && rule.ports.length > 0);
  const bySubject = new Map<string, typeof entries>();
  for (const entry of entries) bySubject.set(entry.group.subject.key, [...bySubject.get(entry.group.subject.key) ?? [], entry]);
  const wider = new Map([...bySubject].map(([key, [first]]) => [key, [...bySubject.values()].filter(([other]) => implies(first!.group.subject, other!.group.subject)).flat()]));
  const order = new Map(entries.map(({ rule }, index) => [rule, index]));
  for (const { group, rule } of entries) {
    const twin = wider.get(group.subject.key)!.find((other) => other.rule !== rule && holds(world, other.rule, rule)
      && (order.get(other.rule)! < order.get(rule)! || !implies(other.group.subject, group.subject) || !holds(world, rule, other.rule)));
    if (twin === undefined) continue;
    warnings.push({
      name: 'duplicate', policy: group.policy, path: parsePath(rule.ref.path),
      message: `${formatRule(twin.rule.ref)}${at(twin.rule.ref)} ${rule.ref.action === 'allow' ? 'allows' : 'denies'} all of this already`, mend: 'remove one of them',
    });
  }
  return warnings;
}

/** What `a` matches, `b` matches. */
function implies(a: Selector, b: Selector): boolean {
  const texts = new Set(a.requirements.map(textOf));
  return b.requirements.every((one) => texts.has(textOf(one)));
}

const textOf = (one: Selector['requirements'][number]): string => `${one.source}:${one.key} ${one.operator} ${[...one.values].sort().join()}`;

/** The groups that are about every endpoint that this one is about, by what is written. */
export const wider = (world: LintWorld, group: RuleGroup): RuleGroup[] => world.groups.filter((other) => implies(group.subject, other.subject));

/** `outer` speaks of all that `inner` speaks of. */
export function holds(world: LintWorld, outer: Rule, inner: Rule): boolean {
  if (outer.direction !== inner.direction || outer.ref.action !== inner.ref.action) return false;
  if (outer.dns !== undefined && !(inner.dns?.every(({ key }) => outer.dns!.some((other) => other.key === key)) ?? false)) return false;
  if (!isDeepStrictEqual(outer.l7, inner.l7)) return false;
  if (outer.ports !== 'all' && (inner.ports === 'all' || !covered(world.ranges(inner), world.ranges(outer)) || world.ranges(inner).length === 0)) return false;
  if (outer.peers === 'any') return true;
  const peers = outer.peers;
  return inner.peers !== 'any' && inner.peers.every((peer) => peers.some((other) => holdsPeer(other, peer)));
}

function holdsPeer(outer: Peer, inner: Peer): boolean {
  if (outer.kind === 'labels') return inner.kind === 'labels' && implies(inner.selector, outer.selector);
  if (outer.kind === 'fqdn') return inner.kind === 'fqdn' && inner.selector.key === outer.selector.key;
  return inner.kind === 'cidr' && covers(outer.prefix, inner.prefix)
    && outer.except.every((except) => !covers(inner.prefix, except) && !covers(except, inner.prefix) || inner.except.some((own) => covers(own, except)));
}
