// The class of an identity is the set of peer sets that it is in; equal sets share one, for as long as an identity has it.
import { hash } from 'node:crypto';
import type { MergedPolicy, PeerClass } from './image.ts';
import type { PeerSets } from './peer-sets.ts';

interface Interned { readonly text: string; readonly peers: PeerClass; holders: number }

export class Classes {
  readonly byKey = new Map<string, PeerClass>();
  readonly ofIdentity = new Map<number, string>();
  readonly #peerSets: PeerSets;
  readonly #byText = new Map<string, Interned>();
  readonly #current = new Map<number, Interned>();

  constructor(peerSets: PeerSets) { this.#peerSets = peerSets; }

  set(identity: number): void {
    const sets = this.#peerSets.of(identity);
    const text = sets.join();
    const old = this.#current.get(identity);
    if (old?.text === text) return;
    let found = this.#byText.get(text);
    if (found === undefined) {
      const key = hash('sha256', sets.map((id) => this.#peerSets.digest(id)).sort().join()).slice(0, 32);
      found = { text, peers: makeClass(key, new Set(sets)), holders: 0 };
      this.#byText.set(text, found);
      this.byKey.set(key, found.peers);
    }
    found.holders += 1;
    this.#current.set(identity, found);
    this.ofIdentity.set(identity, found.peers.key);
    if (old !== undefined) this.#release(old);
  }

  delete(identity: number): void {
    const old = this.#current.get(identity);
    if (old === undefined) return;
    this.#current.delete(identity);
    this.ofIdentity.delete(identity);
    this.#release(old);
  }

  #release(old: Interned): void {
    old.holders -= 1;
    if (old.holders > 0) return;
    this.#byText.delete(old.text);
    // A set that went and came has another number: the class of its new text may have the same key.
    if (this.byKey.get(old.peers.key) === old.peers) this.byKey.delete(old.peers.key);
  }
}

function makeClass(key: string, sets: ReadonlySet<number>): PeerClass {
  const rows = new Map<string, readonly bigint[]>();
  const row = (policy: MergedPolicy): readonly bigint[] => {
    const known = rows.get(policy.key);
    if (known !== undefined) return known;
    const words = new Array<bigint>(policy.words).fill(0n);
    policy.peerSets.forEach((set, bit) => {
      if (set === 'any' || sets.has(set)) words[bit >> 6]! |= 1n << BigInt(bit & 63);
    });
    rows.set(policy.key, words);
    return words;
  };
  return { key, sets, row };
}
