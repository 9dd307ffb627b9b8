// The ends that a comparison of two worlds tells apart: workloads by their labels and what they enforce, the outside by the
// prefixes that either world names.
import { CLUSTER, NAMESPACE, NAMESPACE_LABELS, SERVICE_ACCOUNT, parseLabel } from '../identity/labels.ts';
import { identityOf, type World } from './offline.ts';
import { covers, parsePrefix, type Prefix } from './prefix.ts';

export interface Sides<T> { readonly old: T; readonly new: T }

export interface DiffGroup {
  readonly name: string;
  readonly kind: 'workloads' | 'entity' | 'prefix';
  /** Names of workloads; else the name itself. */
  readonly members: readonly string[];
  readonly labels?: readonly string[];
  /** Keys of the class as a peer. */
  readonly classes: Sides<string>;
  /** Of workloads: keys of the merged policies. */
  readonly policies?: Sides<{ readonly ingress?: string; readonly egress?: string }>;
  readonly relabelled?: boolean;
}

export function groupsOfWorkloads(worlds: Sides<World>): DiffGroup[] {
  const labels = { old: labelsById(worlds.old), new: labelsById(worlds.new) };
  const found = new Map<string, DiffGroup & { readonly members: string[] }>();
  for (const [name, old] of worlds.old.pods) {
    const now = worlds.new.pods.get(name)!;
    const policies = { old: worlds.old.image.ofEndpoint.get(old.id)!, new: worlds.new.image.ofEndpoint.get(now.id)! };
    const own = { old: labels.old.get(old.identity)!, new: labels.new.get(now.identity)! };
    const key = JSON.stringify([own, policies]);
    const group = found.get(key);
    if (group !== undefined) group.members.push(name);
    else {
      const classes = { old: worlds.old.image.classOfIdentity.get(old.identity)!, new: worlds.new.image.classOfIdentity.get(now.identity)! };
      found.set(key, { name, kind: 'workloads', members: [name], labels: own.new, classes, policies, relabelled: own.old.join() !== own.new.join() });
    }
  }
  return [...found.values()].map((group) => ({ ...group, name: groupName(group) }));
}

const labelsById = ({ identities }: World): Map<number, readonly string[]> => new Map(identities.map(({ id, labels }) => [id, labels]));

/** `shop/web`, or for several `shop app=web,tier=frontend (3 workloads)`. */
function groupName({ members, labels }: Pick<DiffGroup, 'members' | 'labels'>): string {
  if (members.length === 1) return members[0]!;
  const parsed = (labels ?? []).map(parseLabel);
  const namespace = parsed.find(({ key }) => key === NAMESPACE)?.value ?? '';
  const own = parsed.filter(({ key }) => ![NAMESPACE, CLUSTER, SERVICE_ACCOUNT].includes(key) && !key.startsWith(NAMESPACE_LABELS));
  return `${namespace} ${own.map(({ key, value }) => `${key}=${value}`).join(',') || 'without labels'} (${members.length} workloads)`;
}

/** Every prefix that rules of either world name, each by an address that no narrower one has. */
export function regions(worlds: Sides<World>): DiffGroup[] {
  const prefixes = [...new Map([...worlds.old.prefixes, ...worlds.new.prefixes].map((prefix) => [prefix.text, prefix])).values()].filter(({ length }) => length > 0);
  return prefixes.flatMap((prefix): DiffGroup[] => {
    const ip = addressOf(prefix, prefixes.filter((other) => other !== prefix && covers(prefix, other)));
    if (ip === undefined) return [];
    const classOf = (world: World): string => world.image.classOfIdentity.get(identityOf(world, { ip }))!;
    return [{ name: prefix.text, kind: 'prefix', members: [prefix.text], classes: { old: classOf(worlds.old), new: classOf(worlds.new) } }];
  });
}

/** The first that is in none of `inner`; undefined when they fill it. */
function addressOf(prefix: Prefix, inner: readonly Prefix[]): string | undefined {
  let next = prefix.first;
  for (const one of [...inner].sort((a, b) => (a.first < b.first ? -1 : 1))) {
    if (one.first > next) break;
    if (one.last >= next) next = one.last + 1n;
  }
  return next > prefix.last ? undefined : textOf(prefix.family, next);
}

/** Long but right; parsePrefix makes it short. */
function textOf(family: 4 | 6, number: bigint): string {
  const part = (size: bigint, index: number): bigint => (number >> (size * BigInt(index))) & ((1n << size) - 1n);
  const text = family === 4 ? [3, 2, 1, 0].map((index) => part(8n, index)).join('.') : [7, 6, 5, 4, 3, 2, 1, 0].map((index) => part(16n, index).toString(16)).join(':');
  return parsePrefix(text)!.text.split('/')[0]!;
}
