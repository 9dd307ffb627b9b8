// Peer sets: the union of one entry's peers, each distinct one kept once with the identities in it, for as long as a merged
// policy holds it.
import { hash } from 'node:crypto';
import { peerKey, type Peer } from './rule.ts';
import type { Follower, Selection, Selections } from './selections.ts';

/** Narrows a peer set to some identities; equal labels, equal key. */
export interface Within { readonly key: string; readonly ids: ReadonlySet<number> }

interface PeerSet {
  readonly id: number;
  readonly key: string;
  readonly digest: string;
  readonly follower: Follower;
  readonly selections: readonly Selection[];
  readonly members: ReadonlySet<number>;
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
    const set = this.#make(key, hash('sha256', name).slice(0, 32), peers, within);
    this.#byKey.set(key, set);
    this.#byId.set(set.id, set);
    for (const id of set.members) this.#enter(set, id);
    return set.id;
  }

  #make(key: string, digest: string, peers: 'any' | readonly Peer[], within: Within | undefined): PeerSet {
    const id = this.#next;
    this.#next += 1;
    // Almost always one selector, whose members are those of the set.
    if (within === undefined && peers.length === 1) {
      const changed = (identity: number, { members }: Selection): void => {
        if (members.has(identity)) this.#enter(set, identity);
        else this.#leave(set, identity);
      };
      const follower = { changed };
      const selection = this.#selections.follow((peers as readonly Peer[])[0]!, follower);
      const set: PeerSet = { id, key, digest, follower, selections: [selection], members: selection.members, holders: 0 };
      return set;
    }
    return this.#makeUnion(id, key, digest, peers, within);
  }

  #makeUnion(id: number, key: string, digest: string, peers: 'any' | readonly Peer[], within: Within | undefined): PeerSet {
    const members = new Set<number>();
    const selections: Selection[] = [];
    const isIn = (identity: number): boolean => (within === undefined || within.ids.has(identity)) && selections.some((selection) => selection.members.has(identity));
    const changed = (identity: number): void => {
      if (isIn(identity) === members.has(identity)) return;
      if (members.delete(identity)) this.#leave(set, identity);
      else {
        members.add(identity);
        this.#enter(set, identity);
      }
    };
    const set: PeerSet = { id, key, digest, follower: { changed }, selections, members, holders: 0 };
    for (const peer of peers === 'any' ? [] : peers) selections.push(this.#selections.follow(peer, set.follower));
    for (const near of peers === 'any' ? [within!.ids] : selections.map((selection) => selection.members)) {
      for (const identity of near) if (within === undefined || within.ids.has(identity)) members.add(identity);
    }
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
    for (const identity of set.members) this.#leave(set, identity);
    for (const selection of new Set(set.selections)) this.#selections.unfollow(selection, set.follower);
  }

  /** Ascending. */
  of(identity: number): number[] {
    const sets = [...this.#ofIdentity.get(identity) ?? []];
    return sets.every((set, index) => index === 0 || sets[index - 1]! < set) ? sets : sets.sort((a, b) => a - b);
  }

  /** Names a set the same in every image; its number is of this compiler only. */
  digest(id: number): string { return this.#byId.get(id)!.digest; }
}
