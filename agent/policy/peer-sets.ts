// Peer sets: the union of one entry's peers, each distinct one kept once with the identities in it.
import { createHash } from 'node:crypto';
import type { Membership } from './membership.ts';
import type { Peer } from './rule.ts';

export interface PeerSet {
  readonly id: number;
  /** Positions of identities. */
  readonly members: readonly number[];
}

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

  intern(peers: readonly Peer[]): number {
    const key = [...new Set(peers.map(peerKey))].sort().join(' | ');
    const known = this.#sets.get(key);
    if (known !== undefined) return known.id;
    const lists = peers.map((peer) => this.#membership.selectPeer(peer));
    const members = lists.length === 1 ? lists[0]! : [...new Set(lists.flat())];
    const id = this.#sets.size;
    this.#sets.set(key, { id, members });
    this.#digests.push(createHash('sha256').update(key).digest('hex').slice(0, 32));
    return id;
  }

  all(): Iterable<PeerSet> { return this.#sets.values(); }

  /** Names a set the same in every image; its number is of this image only. */
  digest(id: number): string { return this.#digests[id]!; }
}
