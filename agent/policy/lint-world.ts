// What lint judges against: the identities of the manifests at hand, and for a selector that none of them matches a made-up
// witness, so that rules for workloads that are elsewhere can be compared too.
import { NAMESPACE, NAMESPACE_LABELS, cidrLabels, parseLabel } from '../identity/labels.ts';
import { reservedIdentities } from '../identity/reserved.ts';
import { rangesOf } from './bits.ts';
import type { Direction, IdentityInput } from './image.ts';
import type { KeyRange } from './intervals.ts';
import { Membership } from './membership.ts';
import { commonNamedPorts, type NamedPortTable } from './named-ports.ts';
import type { World } from './offline.ts';
import type { Peer, Rule, RuleGroup } from './rule.ts';
import { labelSet, matches, type LabelSet, type Requirement, type Selector } from './selector.ts';

export class LintWorld {
  readonly groups: readonly RuleGroup[];
  /** Workloads are at hand at all: else nothing can be said about what selects nobody. */
  readonly hasWorkloads: boolean;
  readonly #identities: readonly IdentityInput[];
  readonly #membership: Membership;
  readonly #all: readonly number[];
  readonly #workloads: ReadonlySet<number>;
  readonly #namespaces: readonly LabelSet[];
  readonly #named: NamedPortTable;
  readonly #groupsAt = new Map<number, RuleGroup[]>();

  constructor(world: World) {
    this.groups = world.rules;
    const prefixes = [...world.image.prefixes].map(([text, id]) => ({ id, labels: cidrLabels(text, world.ipv6) }));
    const found = [...world.identities, ...prefixes];
    const known = new Membership(found.map(({ labels }) => labelSet(labels)), world.ipv6);
    const peers = world.rules.flatMap((group) => group.rules).flatMap((rule) => (rule.peers === 'any' ? [] : rule.peers));
    const selectors = [...world.rules.map(({ subject }) => subject), ...peers.flatMap((peer) => (peer.kind === 'labels' ? [peer.selector] : []))];
    const witnesses = [...new Map(selectors.map((selector) => [selector.key, selector])).values()]
      .filter((selector) => known.select(selector).length === 0)
      .map(witness).filter((labels) => labels !== undefined);
    this.#identities = [...found, ...witnesses.map((labels, index) => ({ id: -1 - index, labels }))];
    this.#membership = new Membership(this.#identities.map(({ labels }) => labelSet(labels)), world.ipv6);
    this.#all = this.#identities.map((_, position) => position);
    const reserved = new Set(reservedIdentities().map(({ id }) => id));
    this.#workloads = new Set(world.identities.flatMap(({ id }, position) => (reserved.has(id) ? [] : [position])));
    this.hasWorkloads = this.#workloads.size > 0;
    this.#namespaces = world.identities.filter(({ id }) => !reserved.has(id)).map(({ labels }) => labelSet(labels.filter(isOfNamespace)));
    this.#named = commonNamedPorts(world.endpoints);
    for (const group of this.groups) {
      for (const position of this.#membership.select(group.subject)) this.#groupsAt.set(position, [...this.#groupsAt.get(position) ?? [], group]);
    }
  }

  /** Those at hand that the selector matches. */
  workloads(selector: Selector): number[] { return this.#membership.select(selector).filter((position) => this.#workloads.has(position)); }

  /** Whom a group is about: workloads at hand, else its witness. */
  subjects(group: RuleGroup): readonly number[] {
    const found = this.workloads(group.subject);
    return found.length > 0 ? found : this.#membership.select(group.subject).filter((position) => this.#identities[position]!.id < 0);
  }

  /** Every group that selects one of them. */
  groupsAt(position: number): readonly RuleGroup[] { return this.#groupsAt.get(position) ?? []; }

  /** All whom one peer selects, witnesses too. */
  peer(peer: Peer): readonly number[] { return this.#membership.selectPeer(peer); }

  peers(rule: Rule): readonly number[] {
    return rule.peers === 'any' ? this.#all : [...new Set(rule.peers.flatMap((peer) => this.peer(peer)))];
  }

  ranges(rule: Rule): KeyRange[] { return rangesOf(rule, this.#named, this.#named); }

  /** Whether the manifests tell of any namespace that these requirements speak of. */
  knowsNamespace(selector: Selector): boolean {
    const scope = selector.requirements.filter((one) => one.key === NAMESPACE || one.key.startsWith(NAMESPACE_LABELS));
    return this.#namespaces.some((labels) => matches({ requirements: scope, key: '' }, labels));
  }

  /** For texts: a label by which people know it. */
  nameOf(position: number): string {
    const labels = this.#identities[position]!.labels.map(parseLabel);
    const app = ['app', 'app.kubernetes.io/name', 'k8s-app', 'name'].flatMap((key) => labels.find((label) => label.key === key) ?? [])[0];
    const namespace = labels.find(({ key }) => key === NAMESPACE)?.value;
    return `${namespace === undefined ? '' : `${namespace}/`}${app?.value ?? 'workloads'}`;
  }
}

const isOfNamespace = (text: string): boolean => {
  const { key } = parseLabel(text);
  return key === NAMESPACE || key.startsWith(NAMESPACE_LABELS);
};

/** The least labels that match; undefined when no labels do. */
function witness(selector: Selector): string[] | undefined {
  const value = (one: Requirement): string[] => {
    const name = `${one.source === 'any' ? 'k8s' : one.source}:${one.key}`;
    if (one.operator === 'Exists') return [`${name}=`];
    return one.operator === 'In' || one.operator === 'InOrAbsent' ? [`${name}=${one.values[0] ?? ''}`] : [];
  };
  const labels = [...new Set(selector.requirements.flatMap(value))].sort();
  return matches(selector, labelSet(labels)) ? labels : undefined;
}

/** True when a group enforces a direction or has rules for it. */
export const concerns = (group: RuleGroup, direction: Direction): boolean =>
  group.defaultDeny[direction] || group.rules.some((rule) => rule.direction === direction);
