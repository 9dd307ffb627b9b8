// Peer sets: the union of one entry's peers, each distinct one kept once with the identities in it, for as long as a merged
// policy holds it.
import { createHash } from 'node:crypto';
import { peerKey, type Peer } from './rule.ts';
import type { Follower, Selection, Selections } from './selections.ts';

/** Narrows a peer set to some identities; equal labels, equal key. */
export interface Within { readonly key: string; readonly ids: ReadonlySet<number> }

interface PeerSet extends Follower {
  readonly id: number;
  readonly key: string;
  readonly digest: string;
  readonly selections: readonly Selection[];
  readonly members: Set<number>;
  holders: number;
}

export class PeerSets {
  readonly #selections: Selections;
  readonly #byKey = new Map<string, PeerSet>();
  readonly #byId = new Map<number, PeerSet>();
  readonly #ofIdentity = new Map<number, Set<number>>();
  #next = 0;
  /** Identities whose sets have changed since this was cleared. */
  readonly changed = new Set<number>();

  constructor(selections: Selections) { this.#selections = selections; }

  /** Of any peer only with `within`: then those identities alone, of them only what the peers select. */
  intern(peers: 'any' | readonly Peer[], within?: Within): number {
    const texts = peers === 'any' ? ['any'] : [...new Set(peers.map(peerKey))].sort();
    const name = `${texts.join(' | ')}${within === undefined ? '' : ` within ${within.key}`}`;
    // Other identities may have the same labels.
    const key = within === undefined ? name : `${name} ${[...within.ids].sort((a, b) => a - b).join()}`;
    const known = this.#byKey.get(key);
    if (known !== undefined) return known.id;
    const set = this.#make(key, createHash('sha256').update(name).digest('hex').slice(0, 32), peers, within);
    this.#byKey.set(key, set);
    this.#byId.set(set.id, set);
    for (const id of set.members) this.#enter(set, id);
    return set.id;
  }

  #make(key: string, digest: string, peers: 'any' | readonly Peer[], within: Within | undefined): PeerSet {
    const selections: Selection[] = [];
    const isIn = (id: number): boolean => (within === undefined || within.ids.has(id)) && (peers === 'any' || selections.some(({ members }) => members.has(id)));
    const members = new Set<number>();
    const changed = (id: number): void => {
      if (isIn(id) === members.has(id)) return;
      if (members.delete(id)) this.#leave(set, id);
      else {
        members.add(id);
        this.#enter(set, id);
      }
    };
    const set: PeerSet = { id: this.#next, key, digest, selections, members, holders: 0, changed };
    this.#next += 1;
    for (const peer of peers === 'any' ? [] : peers) selections.push(this.#selections.follow(peer, set));
    const near = peers === 'any' ? within!.ids : selections.flatMap((selection) => [...selection.members]);
    for (const id of near) if (within === undefined || within.ids.has(id)) members.add(id);
    return set;
  }

  #enter({ id: set }: PeerSet, id: number): void {
    const sets = this.#ofIdentity.get(id);
    if (sets === undefined) this.#ofIdentity.set(id, new Set([set]));
    else sets.add(set);
    this.changed.add(id);
  }

  #leave({ id: set }: PeerSet, id: number): void {
    const sets = this.#ofIdentity.get(id)!;
    sets.delete(set);
    if (sets.size === 0) this.#ofIdentity.delete(id);
    this.changed.add(id);
  }

  hold(id: number): void { this.#byId.get(id)!.holders += 1; }

  release(id: number): void {
    const set = this.#byId.get(id)!;
    set.holders -= 1;
    if (set.holders > 0) return;
    this.#byKey.delete(set.key);
    this.#byId.delete(id);
    for (const selection of new Set(set.selections)) this.#selections.unfollow(selection, set);
    for (const identity of set.members) this.#leave(set, identity);
  }

  /** Ascending. */
  of(identity: number): number[] {
    const sets = [...this.#ofIdentity.get(identity) ?? []];
    return sets.every((set, index) => index === 0 || sets[index - 1]! < set) ? sets : sets.sort((a, b) => a - b);
  }

  /** Names a set the same in every image; its number is of this compiler only. */
  digest(id: number): string { return this.#byId.get(id)!.digest; }
}
