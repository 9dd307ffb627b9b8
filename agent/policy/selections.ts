// Selectors and prefixes that rules use, each once, with the identities that it selects now; what comes or goes is told to
// those who follow it. An identity is held against the few selectors that one of its own labels leads to.
import { Membership } from './membership.ts';
import { peerKey, type Peer } from './rule.ts';
import type { LabelSet } from './selector.ts';

export interface Follower { readonly changed: (id: number, selection: Selection) => void }

export interface Selection {
  readonly key: string;
  readonly peer: Peer;
  readonly members: Set<number>;
  readonly followers: Set<Follower>;
  /** Labels of which a member has one; none: anybody may be a member. */
  readonly tokens: readonly string[];
}

const OUTSIDE = 'outside';
const ANYBODY = 'anybody';

export class Selections {
  readonly #membership: Membership;
  readonly #labels = new Map<number, LabelSet>();
  readonly #selections = new Map<string, Selection>();
  readonly #byToken = new Map<string, Set<Selection>>();

  constructor(ipv6: boolean) { this.#membership = new Membership([], ipv6); }

  follow(peer: Peer, follower: Follower): Selection {
    const key = peerKey(peer);
    let selection = this.#selections.get(key);
    if (selection === undefined) {
      selection = { key, peer, members: new Set(this.#membership.selectPeer(peer)), followers: new Set(), tokens: this.#tokensOf(peer) };
      this.#selections.set(key, selection);
      for (const token of selection.tokens) {
        const same = this.#byToken.get(token);
        if (same === undefined) this.#byToken.set(token, new Set([selection]));
        else same.add(selection);
      }
    }
    selection.followers.add(follower);
    return selection;
  }

  unfollow(selection: Selection, follower: Follower): void {
    selection.followers.delete(follower);
    if (selection.followers.size > 0) return;
    this.#selections.delete(selection.key);
    for (const token of selection.tokens) {
      const same = this.#byToken.get(token)!;
      same.delete(selection);
      if (same.size === 0) this.#byToken.delete(token);
    }
  }

  add(id: number, set: LabelSet): void {
    this.#labels.set(id, set);
    this.#membership.add(id, set);
    for (const selection of this.#near(set)) {
      if (!this.#membership.includes(selection.peer, set)) continue;
      selection.members.add(id);
      for (const follower of selection.followers) follower.changed(id, selection);
    }
  }

  remove(id: number): void {
    const set = this.#labels.get(id)!;
    this.#labels.delete(id);
    this.#membership.remove(id);
    for (const selection of this.#near(set)) {
      if (!selection.members.delete(id)) continue;
      for (const follower of selection.followers) follower.changed(id, selection);
    }
  }

  *#near(set: LabelSet): Generator<Selection> {
    if (this.#selections.size === 0) return;
    yield* this.#byToken.get(ANYBODY) ?? [];
    if (set.prefixes.length > 0 || [...set.byKey.keys()].some((key) => key.startsWith('world'))) yield* this.#byToken.get(OUTSIDE) ?? [];
    for (const [key, labels] of set.byKey) {
      yield* this.#byToken.get(key) ?? [];
      for (const value of labels.length === 1 ? [labels[0]!.value] : new Set(labels.map((label) => label.value))) yield* this.#byToken.get(`${key}=${value}`) ?? [];
    }
  }

  /** Of the requirements that a label must fulfil, the one by which the fewest others are found. */
  #tokensOf(peer: Peer): readonly string[] {
    if (peer.kind === 'cidr') return [OUTSIDE];
    if (peer.kind === 'fqdn') return [];
    const choices = peer.selector.requirements.filter((one) => one.prefix === undefined && (one.operator === 'In' || one.operator === 'Exists'))
      .map((one) => (one.operator === 'Exists' ? [one.key] : [...new Set(one.values)].map((value) => `${one.key}=${value}`)));
    const crowd = (tokens: readonly string[]): number => tokens.reduce((sum, token) => sum + (this.#byToken.get(token)?.size ?? 0), 0);
    return choices.reduce<readonly string[] | undefined>((best, tokens) => (best === undefined || crowd(tokens) < crowd(best) ? tokens : best), undefined) ?? [ANYBODY];
  }
}
