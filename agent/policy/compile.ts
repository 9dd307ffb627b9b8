// The compiler: rules, identities and endpoints in, a PolicyImage out; no kernel numbers.
// selectors -> peer sets -> classes; groups per endpoint -> merged policies with bits, intervals and steps.
// It remembers what it was given, and works only on what differs: a first compile is one from nothing, by the same code.
import { cidrLabels } from '../identity/labels.ts';
import { RESERVED } from '../identity/reserved.ts';
import { Classes } from './classes.ts';
import { differenceOf } from './difference.ts';
import type { EndpointInput, IdentityInput, PolicyImage } from './image.ts';
import { PeerSets } from './peer-sets.ts';
import { parsePrefix } from './prefix.ts';
import type { RuleGroup } from './rule.ts';
import { Selections } from './selections.ts';
import { labelSet } from './selector.ts';
import { Subjects } from './subjects.ts';

export interface CompileInput {
  /** A group that is the same object as before is the same group. */
  readonly rules: readonly RuleGroup[];
  readonly identities: readonly IdentityInput[];
  readonly endpoints: readonly EndpointInput[];
  /** The number of a prefix that rules name; the same prefix gets the same number every time. */
  readonly cidrIdentity: (prefix: string) => number;
  /** False: the cluster has IPv4 only, and all outside is `world`. */
  readonly ipv6: boolean;
}

export const compile = (input: CompileInput): PolicyImage => new Compiler(input.ipv6).compile(input);

export class Compiler {
  readonly #ipv6: boolean;
  #state: State;

  constructor(ipv6: boolean) {
    this.#ipv6 = ipv6;
    this.#state = new State(ipv6);
  }

  /** The image before ends with this: its maps are those of the new one. */
  compile(input: Omit<CompileInput, 'ipv6'>): PolicyImage {
    if (!this.#state.keepsOrder(input.rules)) this.#state = new State(this.#ipv6);
    try {
      return this.#state.update(input);
    } catch (error) {
      // Half an update is no state to go on from.
      this.#state = new State(this.#ipv6);
      throw error;
    }
  }
}

class State {
  readonly #ipv6: boolean;
  readonly #selections: Selections;
  readonly #peerSets: PeerSets;
  readonly #subjects: Subjects;
  readonly #classes: Classes;
  readonly #prefixes = new Map<string, number>();
  readonly #prefixUsers = new Map<string, number>();
  readonly #ofPrefix = new Map<number, readonly string[]>();
  /** As the selections have them. */
  readonly #labels = new Map<number, readonly string[]>();
  readonly #given = new Map<number, readonly string[]>();
  #rules: readonly RuleGroup[] = [];
  #identities: readonly IdentityInput[] = [];

  constructor(ipv6: boolean) {
    this.#ipv6 = ipv6;
    this.#selections = new Selections(ipv6);
    this.#peerSets = new PeerSets(this.#selections);
    this.#subjects = new Subjects(this.#selections, this.#peerSets);
    this.#classes = new Classes(this.#peerSets);
  }

  /** Whether the groups that stay are in the order that they were in. */
  keepsOrder(rules: readonly RuleGroup[]): boolean {
    if (rules.length === this.#rules.length && rules.every((group, position) => group === this.#rules[position])) return true;
    const positions = new Map(rules.map((group, position) => [group, position]));
    let last = -1;
    return this.#rules.every((group) => {
      const position = positions.get(group) ?? last + 1;
      const follows = position > last;
      if (positions.has(group)) last = position;
      return follows;
    });
  }

  update({ rules, identities, endpoints, cidrIdentity }: Omit<CompileInput, 'ipv6'>): PolicyImage {
    const groups = differenceOf(this.#rules, rules, (group) => group, () => false);
    const labels = differenceOf(this.#identities, identities, ({ id }) => id, sameIdentity);
    this.#rules = rules;
    this.#identities = identities;
    for (const { id } of labels.removed) this.#given.delete(id);
    for (const identity of labels.added) this.#given.set(identity.id, identity.labels);
    const moved = new Set([...labels.removed, ...labels.added].map(({ id }) => id));
    for (const id of this.#namePrefixes(groups.added, groups.removed, cidrIdentity)) moved.add(id);
    for (const id of moved) this.#settle(id);
    this.#subjects.regroup(rules, groups.added, groups.removed);
    this.#subjects.update(endpoints, (id) => this.#labels.get(id), moved.size > 0);
    for (const id of [...moved, ...this.#peerSets.changed]) {
      if (this.#labels.has(id)) this.#classes.set(id);
      else this.#classes.delete(id);
    }
    this.#peerSets.changed.clear();
    return {
      policies: this.#subjects.merged.byKey, classes: this.#classes.byKey, classOfIdentity: this.#classes.ofIdentity,
      ofEndpoint: this.#subjects.ofEndpoint, prefixes: this.#prefixes,
    };
  }

  /** The identities of prefixes that came into use or went out of it. */
  #namePrefixes(added: readonly RuleGroup[], removed: readonly RuleGroup[], cidrIdentity: (prefix: string) => number): number[] {
    const texts = new Set<string>();
    for (const [groups, step] of [[added, 1], [removed, -1]] as const) {
      for (const text of groups.flatMap(prefixesOf)) {
        this.#prefixUsers.set(text, (this.#prefixUsers.get(text) ?? 0) + step);
        texts.add(text);
      }
    }
    return [...texts].map((text) => {
      const id = this.#prefixes.get(text) ?? (parsePrefix(text)!.length === 0 ? this.#world(text) : cidrIdentity(text));
      if (this.#prefixUsers.get(text)! > 0) this.#prefixes.set(text, id);
      else {
        this.#prefixes.delete(text);
        this.#prefixUsers.delete(text);
      }
      this.#prefixLabels(text, id);
      return id;
    });
  }

  #prefixLabels(text: string, id: number): void {
    if (this.#prefixes.has(text)) this.#ofPrefix.set(id, cidrLabels(text, this.#ipv6));
    // The whole of both families is one identity where there is IPv4 only.
    else if (!(this.#prefixes.has('0.0.0.0/0') && this.#world('0.0.0.0/0') === id)) this.#ofPrefix.delete(id);
  }

  #world(text: string): number {
    if (!this.#ipv6) return RESERVED.world;
    return text.includes(':') ? RESERVED['world-ipv6'] : RESERVED['world-ipv4'];
  }

  /** What is given goes before what a prefix would make of it. */
  #settle(id: number): void {
    const labels = this.#given.get(id) ?? this.#ofPrefix.get(id);
    const old = this.#labels.get(id);
    if (old !== undefined && labels !== undefined && sameLabels(old, labels)) return;
    if (old !== undefined) this.#selections.remove(id);
    this.#labels.delete(id);
    if (labels === undefined) return;
    this.#labels.set(id, labels);
    this.#selections.add(id, labelSet(labels));
  }
}

const sameLabels = (a: readonly string[], b: readonly string[]): boolean => a === b || (a.length === b.length && a.every((label, index) => label === b[index]));
const sameIdentity = (a: IdentityInput, b: IdentityInput): boolean => a.id === b.id && sameLabels(a.labels, b.labels);

const prefixesOf = (group: RuleGroup): string[] => group.rules.flatMap(({ peers }) => (peers === 'any' ? [] : peers))
  .flatMap((peer) => (peer.kind === 'cidr' ? [peer.prefix, ...peer.except].map(({ text }) => text) : []));
