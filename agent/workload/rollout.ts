// Replicas as their Deployments want them, and as they are -> the pods that shall be there now: a replica that must run anew has its replacement
// beside it, which is ready before the old one ends; one at a time of each Deployment. With strategy Recreate all end first. Pure.
import { otherReplica } from './pods.ts';
import { sameRun } from './shim-spec.ts';
import type { PodRow } from './tables.ts';

export interface Standing {
  /** The pod that runs under this key, or did when the agent before died; undefined: none. */
  readonly pod: (key: string) => PodRow | undefined;
  /** The same, and while it ends. */
  readonly there: (key: string) => PodRow | undefined;
  /** It answers, and everybody who asks for it by a Service gets there. */
  readonly isReady: (key: string) => boolean;
  readonly subscribe: (listener: () => void) => () => void;
}

/** `wanted`: under their first names; `asked`: what was asked for until now. */
export function rollOut(wanted: readonly PodRow[], asked: (key: string) => PodRow | undefined, { pod, there, isReady }: Standing): PodRow[] {
  const rolling = new Set<string>();
  const names = new Set(wanted.map(({ key }) => key));
  const recreated = recreatedAmong(wanted, there);
  return wanted.flatMap((first) => {
    if (first.owner?.kind !== 'Deployment' || first.source === undefined) return [first];
    if (first.recreate === true) return recreated(first);
    const second = otherReplica(first);
    if (names.has(second.key)) return [first];
    const standing = [first, second].flatMap((next) => {
      const now = asked(next.key) ?? pod(next.key);
      return now === undefined || now.owner?.name !== first.owner!.name ? [] : [{ now, next }];
    });
    const group = groupOf(first);
    const [one, two] = standing;
    if (one === undefined) return [first];
    if (two === undefined) return replaced(one, one.next === first ? second : first, isReady, group, rolling);
    rolling.add(group);
    return settled([one, two], isReady);
  });
}

const groupOf = ({ namespace, owner }: PodRow): string => `${namespace}/${owner!.name}`;

/** As which of its two names a replica is there. */
const standingAs = (first: PodRow, there: Standing['there']): Replica[] => [first, otherReplica(first)].flatMap((next) => {
  const now = there(next.key);
  return now === undefined || now.owner?.name !== first.owner!.name ? [] : [{ now, next }];
});

/** Of strategy Recreate: who is as it should be stays, who is not goes, and nobody comes while any of those is there. */
function recreatedAmong(wanted: readonly PodRow[], there: Standing['there']): (first: PodRow) => PodRow[] {
  const replicas = wanted.filter(({ recreate }) => recreate === true);
  const waiting = new Set(replicas.filter((first) => standingAs(first, there).some(({ now, next }) => !sameRun(now, next))).map(groupOf));
  return (first) => {
    const fresh = standingAs(first, there).find(({ now, next }) => sameRun(now, next));
    return fresh !== undefined ? [fresh.next] : waiting.has(groupOf(first)) ? [] : [first];
  };
}

interface Replica { readonly now: PodRow; readonly next: PodRow }

/** One that nobody reaches is replaced where it is. */
function replaced({ now, next }: Replica, beside: PodRow, isReady: Standing['isReady'], group: string, rolling: Set<string>): PodRow[] {
  if (sameRun(now, next) || !isReady(next.key)) return [next];
  if (rolling.has(group)) return [now];
  rolling.add(group);
  return [now, beside];
}

/** Both are there: the old one goes when the new one answers. */
function settled(both: readonly [Replica, Replica], isReady: Standing['isReady']): PodRow[] {
  const fresh = both.filter(({ now, next }) => sameRun(now, next));
  const ready = fresh.find(({ next }) => isReady(next.key));
  if (ready !== undefined) return [ready.next];
  const old = both.find((one) => !fresh.includes(one) && isReady(one.next.key));
  // The wish has changed meanwhile: who answers stays, the other one is made anew.
  if (old !== undefined) return both.map((one) => (one === old ? one.now : one.next));
  return [(fresh[0] ?? both[0]).next];
}
