// The merged policies in use, each built once for the rule groups that it is of and kept for as long as an endpoint has it.
import type { Direction, MergedPolicy } from './image.ts';
import type { PeerSets } from './peer-sets.ts';

interface Content { readonly text: string; readonly policy: MergedPolicy; holders: number }

export class MergedPolicies {
  readonly byKey = new Map<string, MergedPolicy>();
  readonly #peerSets: PeerSets;
  readonly #byText = new Map<string, Content>();
  /** Different groups may make equal policies. */
  readonly #ofKey = new Map<string, Set<Content>>();

  constructor(peerSets: PeerSets) { this.#peerSets = peerSets; }

  /** `text` says all that it is built of. */
  hold(direction: Direction, text: string, build: () => MergedPolicy): Held {
    const name = `${direction} ${text}`;
    let content = this.#byText.get(name);
    if (content === undefined) {
      content = { text: name, policy: build(), holders: 0 };
      this.#byText.set(name, content);
      const same = this.#ofKey.get(content.policy.key);
      if (same === undefined) this.#ofKey.set(content.policy.key, new Set([content]));
      else same.add(content);
      this.byKey.set(content.policy.key, content.policy);
      for (const set of content.policy.peerSets) if (set !== 'any') this.#peerSets.hold(set);
    }
    content.holders += 1;
    return content;
  }

  release(held: Held): void {
    const content = held as Content;
    content.holders -= 1;
    if (content.holders > 0) return;
    this.#byText.delete(content.text);
    const { key } = content.policy;
    const same = this.#ofKey.get(key)!;
    same.delete(content);
    const other = [...same].at(-1);
    if (other === undefined) {
      this.#ofKey.delete(key);
      this.byKey.delete(key);
    } else this.byKey.set(key, other.policy);
    for (const set of content.policy.peerSets) if (set !== 'any') this.#peerSets.release(set);
  }
}

export interface Held { readonly text: string; readonly policy: MergedPolicy }
