// What a change of policies changes: who reaches whom on which ports, before and after. Workloads of the same labels are one
// group; only groups whose merged policy or labels differ are compared, interval by interval.
import { isDeepStrictEqual } from 'node:util';
import { RESERVED, type ReservedName } from '../identity/reserved.ts';
import { groupsOfWorkloads, regions, type DiffGroup, type Sides } from './diff-groups.ts';
import type { MergedPolicy, PolicyImage, PolicyRef, RuleRef } from './image.ts';
import { LAST_KEY, type KeyRange } from './intervals.ts';
import type { World } from './offline.ts';
import { isConflict } from './rule-set.ts';
import { isAllowed, verdict, type Verdict } from './verdict.ts';
import { Verdicts } from './verdicts.ts';

export interface Change {
  readonly from: DiffGroup;
  readonly to: DiffGroup;
  /** `requests`: L7 rules let other requests pass than before; where all pass now it is opened, where all did closed. */
  readonly change: 'opened' | 'closed' | 'requests';
  /** (protocol << 16) | port */
  readonly ranges: readonly KeyRange[];
  /** What decides now, at both ends. */
  readonly by: readonly (RuleRef | PolicyRef)[];
}

const ENTITIES: readonly ReservedName[] = ['host', 'remote-node', 'kube-apiserver', 'health', 'ingress', 'init', 'unmanaged', 'world-ipv4', 'world-ipv6'];

/** Both worlds have the same workloads; their labels may differ. */
export function diffWorlds(given: Sides<World>): Change[] {
  const worlds = sides(given, (world): Judged => ({ ...world, verdicts: new Verdicts(world.image) }));
  const workloads = groupsOfWorkloads(worlds);
  const outside = [
    ...ENTITIES.map((name): DiffGroup => ({ name, kind: 'entity', members: [name], classes: sides(worlds, ({ image }) => image.classOfIdentity.get(RESERVED[name])!) })),
    ...regions(worlds),
  ];
  const changes: Change[] = [];
  const compare = (from: DiffGroup, to: DiffGroup): void => {
    if (differs(worlds, from, 'egress') || differs(worlds, to, 'ingress') || (isRelabelled(from) && to.policies !== undefined) || (isRelabelled(to) && from.policies !== undefined)) {
      changes.push(...changesOf(worlds, from, to));
    }
  };
  for (const subject of workloads) {
    for (const peer of workloads) compare(subject, peer);
    for (const peer of outside) {
      compare(subject, peer);
      compare(peer, subject);
    }
  }
  return changes;
}

interface Judged extends World { readonly verdicts: Verdicts }

const sides = <From, To>(of: Sides<From>, make: (one: From) => To): Sides<To> => ({ old: make(of.old), new: make(of.new) });

/** What L7 rules say is no part of a policy's key. */
function differs(worlds: Sides<World>, { policies }: DiffGroup, direction: 'egress' | 'ingress'): boolean {
  if (policies === undefined) return false;
  const [old, now] = [policies.old[direction], policies.new[direction]];
  return old !== now || (old !== undefined && !isDeepStrictEqual(worlds.old.image.policies.get(old)!.l7, worlds.new.image.policies.get(old)!.l7));
}
const isRelabelled = ({ relabelled }: DiffGroup): boolean => relabelled === true;

interface Ends { readonly image: PolicyImage; readonly verdicts: Verdicts; readonly judged: readonly { readonly policy: string; readonly peer: string }[] }

function changesOf(worlds: Sides<Judged>, from: DiffGroup, to: DiffGroup): Change[] {
  const ends: Sides<Ends> = { old: endsOf(worlds, 'old', from, to), new: endsOf(worlds, 'new', from, to) };
  const policies = [ends.old, ends.new].flatMap(({ image, judged }) => judged.map(({ policy }) => image.policies.get(policy)!));
  const bounds = [...new Set([0, ...policies.flatMap((policy: MergedPolicy) => policy.intervals.map(({ lower }) => lower))])].sort((a, b) => a - b);
  const found: Record<Change['change'], { low: number; high: number }[]> = { opened: [], closed: [], requests: [] };
  bounds.forEach((low, index) => {
    const high = (bounds[index + 1] ?? LAST_KEY + 1) - 1;
    const passing = sides(ends, (one) => passingAt(one, low));
    if (passing.old === passing.new) return;
    const ranges = found[changeOf(passing)];
    const last = ranges.at(-1);
    if (last !== undefined && last.high + 1 === low) last.high = high;
    else ranges.push({ low, high });
  });
  return (['closed', 'requests', 'opened'] as const).filter((change) => found[change].length > 0)
    .map((change) => ({ from, to, change, ranges: found[change], by: decidedBy(ends.new, found[change][0]!.low, change) }));
}

/** The policies that are asked on one side of the comparison: at the source for egress, at the destination for ingress. */
function endsOf(worlds: Sides<Judged>, side: 'old' | 'new', from: DiffGroup, to: DiffGroup): Ends {
  const egress = from.policies?.[side].egress;
  const ingress = to.policies?.[side].ingress;
  return {
    image: worlds[side].image, verdicts: worlds[side].verdicts,
    judged: [...(egress === undefined ? [] : [{ policy: egress, peer: to.classes[side] }]), ...(ingress === undefined ? [] : [{ policy: ingress, peer: from.classes[side] }])],
  };
}

const [NOTHING, EVERYTHING] = ['nothing', 'everything'];

const changeOf = ({ old, new: now }: Sides<string>): Change['change'] =>
  (old === NOTHING || now === EVERYTHING ? 'opened' : now === NOTHING || old === EVERYTHING ? 'closed' : 'requests');

/** What passes there: nothing, everything, or the requests that these rules name. */
function passingAt(ends: Ends, key: number): string {
  const { image, verdicts, judged } = ends;
  if (!judged.every(({ policy, peer }) => isAllowed({ action: verdicts.action(policy, peer, key >>> 16, key & 0xffff) }))) return NOTHING;
  if (judged.every(({ policy }) => image.policies.get(policy)!.l7.size === 0)) return EVERYTHING;
  const proxied = judge(ends, key).flatMap((one) => one.proxied ?? []);
  if (proxied.some(isConflict)) return NOTHING;
  const asked = proxied.flatMap((one) => (isConflict(one) || one.rules.some(({ l7 }) => l7 === 'any') ? [] : [one.rules.map(({ l7 }) => l7)]));
  return asked.length === 0 ? EVERYTHING : JSON.stringify(asked);
}

const judge = ({ image, judged }: Ends, key: number): Verdict[] =>
  judged.map(({ policy, peer }) => verdict(image, { policy, class: peer, protocol: key >>> 16, port: key & 0xffff }));

function decidedBy(ends: Ends, key: number, change: Change['change']): (RuleRef | PolicyRef)[] {
  return judge(ends, key).flatMap((one, index): readonly (RuleRef | PolicyRef)[] => {
    if (change !== 'closed' || one.proxied !== undefined) return one.rules;
    if (isAllowed(one)) return [];
    return one.action === 'deny' ? one.rules : ends.image.policies.get(ends.judged[index]!.policy)!.enforcedBy;
  });
}
