// Peer sets: the union of one entry's peers, each distinct one kept once with the identities in it.
import { createHash } from 'node:crypto';
import type { Membership } from './membership.ts';
import type { Peer } from './rule.ts';

export interface PeerSet {
  readonly id: number;
  /** Positions of identities. */
  readonly members: readonly number[];
}

/** Narrows a peer set to some identities; equal content, equal key. */
export interface Within { readonly key: string; readonly positions: ReadonlySet<number> }

export const peerKey = (peer: Peer): string => (peer.kind === 'labels'
  ? peer.selector.key
  : `${peer.prefix.text} - ${peer.except.map((one) => one.text).sort().join(' ')}`);

export class PeerSets {
  readonly #membership: Membership;
  readonly #sets = new Map<string, PeerSet>();
  readonly #digests: string[] = [];

  constructor(membership: Membership) {
    this.#membership = membership;
  }

  /** Of any peer only with `within`: then those identities alone, of them only what the peers select. */
  intern(peers: 'any' | readonly Peer[], within?: Within): number {
    const texts = peers === 'any' ? ['any'] : [...new Set(peers.map(peerKey))].sort();
    const key = `${texts.join(' | ')}${within === undefined ? '' : ` within ${within.key}`}`;
    const known = this.#sets.get(key);
    if (known !== undefined) return known.id;
    const lists = peers === 'any' ? [[...within!.positions]] : peers.map((peer) => this.#membership.selectPeer(peer));
    const all = lists.length === 1 ? lists[0]! : [...new Set(lists.flat())];
    const members = within === undefined ? all : all.filter((position) => within.positions.has(position));
    const id = this.#sets.size;
    this.#sets.set(key, { id, members });
    this.#digests.push(createHash('sha256').update(key).digest('hex').slice(0, 32));
    return id;
  }

  all(): Iterable<PeerSet> { return this.#sets.values(); }

  /** Names a set the same in every image; its number is of this image only. */
  digest(id: number): string { return this.#digests[id]!; }
}
