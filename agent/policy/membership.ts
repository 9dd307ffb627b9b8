// Which identities a selector or a prefix selects, found by index: identities x selectors would be quadratic.
import { worldName } from '../identity/labels.ts';
import { covers, type Prefix } from './prefix.ts';
import type { Peer } from './rule.ts';
import { matches, type LabelSet, type Requirement, type Selector } from './selector.ts';

/** Over a fixed list of label sets; answers are positions in that list, ascending. */
export class Membership {
  readonly #sets: readonly LabelSet[];
  readonly #ipv6: boolean;
  readonly #all: readonly number[];
  readonly #byKey = new Map<string, Map<string, number[]>>();
  /** Sorted by first address, then wider before narrower. */
  readonly #prefixes: { readonly prefix: Prefix; readonly position: number }[] = [];
  readonly #selected = new Map<string, readonly number[]>();

  constructor(sets: readonly LabelSet[], ipv6: boolean) {
    this.#sets = sets;
    this.#ipv6 = ipv6;
    this.#all = sets.map((_, position) => position);
    sets.forEach((set, position) => {
      for (const [key, labels] of set.byKey) {
        const values = this.#byKey.get(key) ?? new Map<string, number[]>();
        this.#byKey.set(key, values);
        for (const value of new Set(labels.map((label) => label.value))) {
          const positions = values.get(value);
          if (positions === undefined) values.set(value, [position]);
          else positions.push(position);
        }
      }
      for (const prefix of set.prefixes) this.#prefixes.push({ prefix, position });
    });
    this.#prefixes.sort((a, b) => order(a.prefix, b.prefix));
  }

  select(selector: Selector): readonly number[] {
    const known = this.#selected.get(selector.key);
    if (known !== undefined) return known;
    const positions = this.#candidates(selector).filter((position) => matches(selector, this.#sets[position]!));
    this.#selected.set(selector.key, positions);
    return positions;
  }

  /** CIDR peers select what is outside the cluster only: identities that carry a `cidr:` or world label. */
  selectPeer(peer: Peer): readonly number[] {
    if (peer.kind === 'labels') return this.select(peer.selector);
    if (peer.except.some((except) => covers(except, peer.prefix))) return [];
    return (peer.prefix.length === 0 ? this.#world(peer.prefix.family) : this.#inside(peer.prefix))
      .filter((position) => !this.#sets[position]!.prefixes.some((inner) => peer.except.some((except) => covers(except, inner))));
  }

  /** A cluster with IPv4 only has no IPv6 outside. */
  #world(family: 4 | 6): number[] {
    if (family === 6 && !this.#ipv6) return [];
    return this.#byKey.get(worldName(family === 6, this.#ipv6))?.get('')
      ?.filter((position) => this.#sets[position]!.prefixes.every((prefix) => prefix.family === family)) ?? [];
  }

  #inside(prefix: Prefix): number[] {
    let low = 0;
    let high = this.#prefixes.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (order(this.#prefixes[middle]!.prefix, prefix) < 0) low = middle + 1;
      else high = middle;
    }
    const positions: number[] = [];
    for (; low < this.#prefixes.length && covers(prefix, this.#prefixes[low]!.prefix); low += 1) {
      positions.push(this.#prefixes[low]!.position);
    }
    return positions.sort((a, b) => a - b);
  }

  /** The shortest list that some requirement narrows the choice to. */
  #candidates(selector: Selector): readonly number[] {
    let best = this.#all;
    for (const one of selector.requirements) {
      const found = this.#holders(one);
      if (found !== undefined && found.length < best.length) best = found;
    }
    return best;
  }

  #holders(one: Requirement): readonly number[] | undefined {
    if (one.prefix !== undefined || (one.operator !== 'In' && one.operator !== 'Exists')) return undefined;
    const values = this.#byKey.get(one.key);
    if (values === undefined) return [];
    const lists = one.operator === 'Exists' ? [...values.values()] : one.values.map((value) => values.get(value) ?? []);
    if (lists.length === 1) return lists[0]!;
    return [...new Set(lists.flat())].sort((a, b) => a - b);
  }
}

function order(a: Prefix, b: Prefix): number {
  if (a.family !== b.family) return a.family - b.family;
  if (a.first !== b.first) return a.first < b.first ? -1 : 1;
  return a.length - b.length;
}
