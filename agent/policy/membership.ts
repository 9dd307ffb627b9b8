// Which identities a selector or a prefix selects, found by index: identities x selectors would be quadratic.
import { worldName } from '../identity/labels.ts';
import { covers, type Prefix } from './prefix.ts';
import type { Peer } from './rule.ts';
import { matches, type LabelSet, type Requirement, type Selector } from './selector.ts';

/** Over label sets by number; answers are numbers in no order. */
export class Membership {
  readonly #sets = new Map<number, LabelSet>();
  readonly #ipv6: boolean;
  readonly #byKey = new Map<string, Map<string, Set<number>>>();
  /** Sorted by first address, then wider before narrower. */
  readonly #prefixes: { readonly prefix: Prefix; readonly id: number }[] = [];
  #sorted = true;

  /** Numbered from 0; others come by `add`. */
  constructor(sets: readonly LabelSet[], ipv6: boolean) {
    this.#ipv6 = ipv6;
    sets.forEach((set, id) => { this.add(id, set); });
  }

  add(id: number, set: LabelSet): void {
    this.#sets.set(id, set);
    for (const [key, labels] of set.byKey) {
      let values = this.#byKey.get(key);
      if (values === undefined) this.#byKey.set(key, values = new Map());
      for (const { value } of labels) {
        const ids = values.get(value);
        if (ids === undefined) values.set(value, new Set([id]));
        else ids.add(id);
      }
    }
    for (const prefix of set.prefixes) this.#prefixes.push({ prefix, id });
    if (set.prefixes.length > 0) this.#sorted = false;
  }

  remove(id: number): void {
    const set = this.#sets.get(id)!;
    this.#sets.delete(id);
    for (const [key, labels] of set.byKey) {
      const values = this.#byKey.get(key)!;
      for (const { value } of labels) {
        const ids = values.get(value);
        ids?.delete(id);
        if (ids?.size === 0) values.delete(value);
      }
      if (values.size === 0) this.#byKey.delete(key);
    }
    for (let index = this.#prefixes.length - 1; set.prefixes.length > 0 && index >= 0; index -= 1) {
      if (this.#prefixes[index]!.id === id) this.#prefixes.splice(index, 1);
    }
  }

  select(selector: Selector): number[] {
    const held = selector.requirements.map((one) => this.#holders(one)).filter((ids) => ids !== undefined);
    const sizes = held.map((lists) => lists.reduce((sum, ids) => sum + ids.size, 0));
    const least = sizes.indexOf(Math.min(...sizes));
    const shortest = least < 0 ? [this.#sets.keys()] : held[least]!;
    // Who lacks the label of another requirement is passed over before the selector is asked.
    const needed = held.flatMap((lists, index) => (index !== least && lists.length === 1 ? lists : []));
    const found: number[] = [];
    for (const ids of shortest) {
      for (const id of ids) if (needed.every((others) => others.has(id)) && matches(selector, this.#sets.get(id)!)) found.push(id);
    }
    return shortest.length === 1 ? found : [...new Set(found)];
  }

  selectPeer(peer: Peer): number[] {
    if (peer.kind === 'labels') return this.select(peer.selector);
    if (peer.kind === 'fqdn') return [];
    const { prefix } = peer;
    const near = prefix.length === 0 ? this.#byKey.get(worldName(prefix.family === 6, this.#ipv6))?.get('') ?? [] : this.#inside(prefix);
    return [...near].filter((id) => this.includes(peer, this.#sets.get(id)!));
  }

  /** CIDR peers select what is outside the cluster only: identities that carry a `cidr:` or world label. */
  includes(peer: Peer, set: LabelSet): boolean {
    if (peer.kind === 'labels') return matches(peer.selector, set);
    if (peer.kind === 'fqdn') return false;
    const { prefix, except } = peer;
    if (except.some((one) => covers(one, prefix))) return false;
    const taken = prefix.length === 0 ? this.#isWorld(prefix.family, set) : set.prefixes.some((inner) => covers(prefix, inner));
    return taken && !set.prefixes.some((inner) => except.some((one) => covers(one, inner)));
  }

  /** A cluster with IPv4 only has no IPv6 outside. */
  #isWorld(family: 4 | 6, set: LabelSet): boolean {
    if (family === 6 && !this.#ipv6) return false;
    const labels = set.byKey.get(worldName(family === 6, this.#ipv6)) ?? [];
    return labels.some(({ value }) => value === '') && set.prefixes.every((prefix) => prefix.family === family);
  }

  #inside(prefix: Prefix): Set<number> {
    if (!this.#sorted) this.#prefixes.sort((a, b) => order(a.prefix, b.prefix));
    this.#sorted = true;
    let low = 0;
    let high = this.#prefixes.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (order(this.#prefixes[middle]!.prefix, prefix) < 0) low = middle + 1;
      else high = middle;
    }
    const ids = new Set<number>();
    for (; low < this.#prefixes.length && covers(prefix, this.#prefixes[low]!.prefix); low += 1) ids.add(this.#prefixes[low]!.id);
    return ids;
  }

  /** Who has a label that the requirement takes, in one list for each value; undefined where those without may fulfil it. */
  #holders(one: Requirement): ReadonlySet<number>[] | undefined {
    if (one.prefix !== undefined || (one.operator !== 'In' && one.operator !== 'Exists')) return undefined;
    const values = this.#byKey.get(one.key);
    if (values === undefined) return [];
    return one.operator === 'Exists' ? [...values.values()] : one.values.flatMap((value) => values.get(value) ?? []);
  }
}

function order(a: Prefix, b: Prefix): number {
  if (a.family !== b.family) return a.family - b.family;
  if (a.first !== b.first) return a.first < b.first ? -1 : 1;
  return a.length - b.length;
}
