// The rule sets of an image, and where the kernel asks for each: (policy, interval, class, bits that matched) -> rule set. Only policies and
// classes that are new are worked on: a new identity of a known class costs nothing here.
import { RESERVED } from '../identity/reserved.ts';
import type { Interval, MergedPolicy, PeerClass, PolicyImage, RuleSet, Step } from './image.ts';
import { isConflict, proxiedAt, type Conflict, type Proxied } from './rule-set.ts';

/** One row of the kernel, still without numbers. */
export interface ProxyRow { readonly policy: string; readonly interval: number; readonly class: string; readonly bits: bigint; readonly set: string }

export interface Derived {
  /** By key. */
  readonly sets: ReadonlyMap<string, RuleSet>;
  readonly rows: readonly ProxyRow[];
  readonly conflicts: readonly Conflict[];
}

interface Found { readonly row: Omit<ProxyRow, 'set'>; readonly rules: RuleSet | Conflict }

/** Names of different rules that an address may have at once: up to this many every combination has its row, above it each alone, pairs and all. */
const MAX_COMBINED = 6;

export const NOTHING: Derived = { sets: new Map(), rows: [], conflicts: [] };

interface Peers { readonly peers: PeerClass; readonly outside: boolean }
/** `sets`: of peers that its L7 rules are about; other classes are not looked at. */
interface OfPolicy { readonly policy: MergedPolicy; readonly sets: readonly number[]; readonly anybody: boolean; readonly named: boolean; readonly found: Map<string, readonly Found[]> }

export class RuleSets {
  readonly #policies = new Map<string, OfPolicy>();
  readonly #classes = new Map<string, Peers>();
  #derived = NOTHING;

  /** The same object as before where nothing changed. Policies that are audited only are judged at L4 alone. */
  derive(image: PolicyImage): Derived {
    const policies = [...enforcedIn(image)].map((key) => image.policies.get(key)!).filter(({ l7 }) => l7.size > 0);
    let changed = this.#forget(new Set(policies));
    if (policies.length > 0) {
      const { gone, fresh } = this.#followClasses(image);
      for (const known of this.#policies.values()) {
        for (const key of [...gone, ...fresh.map(([name]) => name)]) changed = known.found.delete(key) || changed;
        changed = enter(known, fresh) || changed;
      }
      for (const policy of policies) {
        if (this.#policies.has(policy.key)) continue;
        const known = ofPolicy(policy);
        this.#policies.set(policy.key, known);
        changed = enter(known, this.#classes) || changed;
      }
    }
    if (changed) this.#derived = gather([...this.#policies.values()].flatMap(({ found }) => [...found.values()].flat()));
    return this.#derived;
  }

  /** A policy whose L7 rules were edited has its key still, and is another. */
  #forget(policies: ReadonlySet<MergedPolicy>): boolean {
    const gone = [...this.#policies.values()].filter(({ policy }) => !policies.has(policy));
    for (const { policy } of gone) this.#policies.delete(policy.key);
    if (policies.size === 0) this.#classes.clear();
    return gone.length > 0;
  }

  #followClasses(image: PolicyImage): { gone: string[]; fresh: [string, Peers][] } {
    const outside = outsideOf(image);
    const gone = [...this.#classes.keys()].filter((key) => !image.classes.has(key));
    const fresh: [string, Peers][] = [];
    for (const [key, peers] of image.classes) {
      const known = this.#classes.get(key);
      if (known?.peers !== peers || known.outside !== outside.has(key)) fresh.push([key, { peers, outside: outside.has(key) }]);
    }
    for (const key of gone) this.#classes.delete(key);
    for (const [key, peers] of fresh) this.#classes.set(key, peers);
    return { gone, fresh };
  }
}

function ofPolicy(policy: MergedPolicy): OfPolicy {
  const sets = [...policy.l7.keys()].map((bit) => policy.peerSets[bit]!);
  return {
    policy, sets: [...new Set(sets.filter((set) => set !== 'any'))], anybody: sets.includes('any'), found: new Map(),
    named: policy.intervals.some(({ steps }) => steps.some(({ action, named }) => action === 'proxy' && named === true)),
  };
}

/** True: there is something new. */
function enter({ policy, sets, anybody, named, found }: OfPolicy, classes: Iterable<readonly [string, Peers]>): boolean {
  let changed = false;
  // Classes that are alike to this policy have the same answers.
  const known = new Map<string, readonly Place[]>();
  for (const [key, { peers, outside }] of classes) {
    if (!anybody && !(named && outside) && !sets.some((set) => peers.sets.has(set))) continue;
    const row = peers.row(policy);
    const alike = `${outside && named} ${row.join()}`;
    const places = known.get(alike) ?? placesOf(policy, row, outside && named);
    known.set(alike, places);
    if (places.length === 0) continue;
    found.set(key, places.map(({ at, one: { bits, rules } }) => ({ row: { policy: policy.key, interval: at, class: key, bits }, rules })));
    changed = true;
  }
  return changed;
}

function enforcedIn(image: PolicyImage): Set<string> {
  const keys = new Set<string>();
  for (const { ingress, egress } of image.ofEndpoint.values()) for (const key of [ingress, egress]) if (key !== undefined) keys.add(key);
  return keys;
}

/** Classes of addresses outside the cluster: only these have names (bpf/lib/dns_learn.h). */
function outsideOf(image: PolicyImage): Set<string> {
  const identities = [RESERVED.world, RESERVED['world-ipv4'], RESERVED['world-ipv6'], ...image.prefixes.values()];
  return new Set(identities.map((id) => image.classOfIdentity.get(id)).filter((key) => key !== undefined));
}

interface Place { readonly at: number; readonly one: Proxied }

const placesOf = (policy: MergedPolicy, row: readonly bigint[], named: boolean): Place[] => policy.intervals.flatMap((interval, at) =>
  (interval.steps.some(({ action }) => action === 'proxy') ? proxiedWith(policy, interval, row, named).map((one) => ({ at, one })) : []));

function proxiedWith(policy: MergedPolicy, interval: Interval, row: readonly bigint[], named: boolean): Proxied[] {
  const byBits = new Map<bigint, Proxied>();
  for (const one of named ? [row, ...withNames(policy, interval, row)] : [row]) {
    const proxied = proxiedAt(policy, interval, one);
    if (proxied === undefined) continue;
    // The kernel tells the bits of the step that decided, and no more: of two readings the one that lets less pass.
    const known = byBits.get(proxied.bits);
    if (known === undefined || (!isConflict(known.rules) && isOpen(known.rules) && !isConflict(proxied.rules) && !isOpen(proxied.rules))) byBits.set(proxied.bits, proxied);
  }
  return [...byBits.values()];
}

const isOpen = ({ rules }: RuleSet): boolean => rules.some(({ l7 }) => l7 === 'any');

/** The row of the class with the bits that names may add to one step. */
function* withNames(policy: MergedPolicy, { steps }: Interval, row: readonly bigint[]): Generator<readonly bigint[]> {
  for (const step of steps.filter(({ action, named }) => action === 'proxy' && named === true)) {
    for (const mask of combined(masksOf(policy, step))) yield row.with(step.word, row[step.word]! | mask);
  }
}

const masksOf = ({ names }: MergedPolicy, step: Step): bigint[] => [...new Set(names
  .filter(({ use, word, mask }) => use === 'peer' && word === step.word && (mask & step.mask) !== 0n).map(({ mask }) => mask))];

function combined(masks: readonly bigint[]): Iterable<bigint> {
  const sums = new Set<bigint>();
  if (masks.length <= MAX_COMBINED) {
    for (let which = 1; which < 2 ** masks.length; which += 1) sums.add(masks.reduce((sum, mask, at) => (which >> at & 1 ? sum | mask : sum), 0n));
    return sums;
  }
  for (const mask of masks) sums.add(mask);
  for (const [at, mask] of masks.entries()) for (const other of masks.slice(at + 1)) sums.add(mask | other);
  return sums.add(masks.reduce((sum, mask) => sum | mask, 0n));
}

function gather(found: readonly Found[]): Derived {
  const sets = new Map<string, RuleSet>();
  const conflicts = new Map<string, Conflict>();
  const rows: ProxyRow[] = [];
  for (const { row, rules } of found) {
    if (isConflict(rules)) conflicts.set(JSON.stringify(rules), rules);
    else {
      sets.set(rules.key, rules);
      rows.push({ ...row, set: rules.key });
    }
  }
  return { sets, rows, conflicts: [...conflicts.values()] };
}
