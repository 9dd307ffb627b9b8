// Which rule groups select which endpoint, and so which merged policies it has. Only endpoints whose groups, identity or ports
// changed are looked at again.
import { peersWithPort, type PortNumbers } from './bits.ts';
import { differenceOf } from './difference.ts';
import type { Direction, EndpointInput, PolicyImage } from './image.ts';
import { concerns, merge, namesPorts } from './merge.ts';
import { MergedPolicies, type Held } from './merged-policies.ts';
import { commonNamedPorts, namedPortsOf, type NamedPortTable } from './named-ports.ts';
import type { PeerSets } from './peer-sets.ts';
import { labelPeer, type RuleGroup } from './rule.ts';
import type { Follower, Selection, Selections } from './selections.ts';

interface Group extends Follower {
  readonly serial: number;
  readonly group: RuleGroup;
  readonly concerns: Readonly<Record<Direction, boolean>>;
  readonly namesPorts: boolean;
  selection: Selection | undefined;
  position: number;
}

interface NamedPorts { readonly common: NamedPortTable; readonly withPort: PortNumbers['withPort']; readonly key: string }
type Policies = { readonly [direction in Direction]?: Held };
interface Endpoint { readonly input: EndpointInput; policies: Policies }

const NO_PORTS: NamedPorts = { common: commonNamedPorts([]), withPort: new Map(), key: '' };
const samePorts = (a: EndpointInput, b: EndpointInput): boolean => a.namedPorts === b.namedPorts || namedPortsOf(a).key === namedPortsOf(b).key;

export class Subjects {
  readonly merged: MergedPolicies;
  readonly ofEndpoint: Map<number, { readonly ingress?: string; readonly egress?: string }> & PolicyImage['ofEndpoint'] = new Map();
  readonly #selections: Selections;
  readonly #peerSets: PeerSets;
  readonly #groups = new Map<RuleGroup, Group>();
  readonly #ofIdentity = new Map<number, Set<Group>>();
  readonly #endpoints = new Map<number, Endpoint>();
  readonly #byIdentity = new Map<number, Set<Endpoint>>();
  readonly #changed = new Set<number>();
  #list: readonly EndpointInput[] = [];
  #ports = NO_PORTS;
  #serial = 0;

  constructor(selections: Selections, peerSets: PeerSets) {
    this.#selections = selections;
    this.#peerSets = peerSets;
    this.merged = new MergedPolicies(peerSets);
  }

  /** `rules` are all that hold from now on, in their order. */
  regroup(rules: readonly RuleGroup[], added: readonly RuleGroup[], removed: readonly RuleGroup[]): void {
    if (added.length === 0 && removed.length === 0) return;
    for (const group of removed) this.#removeGroup(this.#groups.get(group)!);
    for (const group of added) this.#addGroup(group);
    rules.forEach((group, position) => { this.#groups.get(group)!.position = position; });
  }

  #addGroup(group: RuleGroup): void {
    const entry: Group = {
      serial: this.#serial, group, concerns: { ingress: concerns(group, 'ingress'), egress: concerns(group, 'egress') }, namesPorts: namesPorts(group), position: 0, selection: undefined,
      changed: (id, { members }) => { this.#select(entry, id, members.has(id)); },
    };
    this.#serial += 1;
    this.#groups.set(group, entry);
    entry.selection = this.#selections.follow(labelPeer(group.subject, ''), entry);
    for (const id of entry.selection.members) this.#select(entry, id, true);
  }

  #removeGroup(entry: Group): void {
    for (const id of entry.selection!.members) this.#select(entry, id, false);
    this.#selections.unfollow(entry.selection!, entry);
    this.#groups.delete(entry.group);
  }

  #select(entry: Group, id: number, selected: boolean): void {
    const groups = this.#ofIdentity.get(id);
    if (!selected) {
      groups?.delete(entry);
      if (groups?.size === 0) this.#ofIdentity.delete(id);
    } else if (groups === undefined) this.#ofIdentity.set(id, new Set([entry]));
    else groups.add(entry);
    this.#changed.add(id);
  }

  /** Gives every endpoint its policies; those that nobody has any more go. `relabelled`: an identity came, went or changed. */
  update(endpoints: readonly EndpointInput[], labelsOf: (identity: number) => readonly string[] | undefined, relabelled: boolean): void {
    const { added, removed } = differenceOf(this.#list, endpoints, ({ id }) => id, (a, b) => a.id === b.id && a.identity === b.identity && samePorts(a, b));
    this.#list = endpoints;
    const gone = removed.flatMap(({ id }) => this.#forget(id));
    for (const input of added) this.#enter(input);
    const hadPorts = this.#ports !== NO_PORTS;
    if ([...added, ...removed].some(({ namedPorts }) => namedPorts.length > 0) || (hadPorts && relabelled)) this.#renumber(labelsOf);
    for (const identity of this.#changed) gone.push(...this.#assign(identity));
    this.#changed.clear();
    // Last: what one endpoint gives up another may have taken.
    for (const held of gone) this.merged.release(held);
  }

  #enter(input: EndpointInput): void {
    const endpoint: Endpoint = { input, policies: {} };
    this.#endpoints.set(input.id, endpoint);
    const same = this.#byIdentity.get(input.identity);
    if (same === undefined) this.#byIdentity.set(input.identity, new Set([endpoint]));
    else same.add(endpoint);
    this.#changed.add(input.identity);
  }

  #forget(id: number): Held[] {
    const endpoint = this.#endpoints.get(id)!;
    this.#endpoints.delete(id);
    this.ofEndpoint.delete(id);
    const same = this.#byIdentity.get(endpoint.input.identity)!;
    same.delete(endpoint);
    if (same.size === 0) this.#byIdentity.delete(endpoint.input.identity);
    return held(endpoint.policies);
  }

  #renumber(labelsOf: (identity: number) => readonly string[] | undefined): void {
    const named = [...this.#endpoints.values()].map(({ input }) => input).filter(({ namedPorts }) => namedPorts.length > 0);
    const [common, withPort] = [commonNamedPorts(named), peersWithPort(named, labelsOf)];
    const peers = [...withPort].flatMap(([name, numbers]) => [...numbers].map(([number, { key, ids }]) => `${name} ${number} ${key} ${[...ids].sort((a, b) => a - b).join()}`)).sort();
    const key = `${common.key} ${peers.join(' ')}`;
    if (key === this.#ports.key) return;
    this.#ports = named.length === 0 ? NO_PORTS : { common, withPort, key };
    for (const group of this.#groups.values()) if (group.namesPorts) for (const id of group.selection!.members) this.#changed.add(id);
  }

  /** Returns what its endpoints had before. */
  #assign(identity: number): Held[] {
    const endpoints = this.#byIdentity.get(identity);
    if (endpoints === undefined) return [];
    const groups = [...this.#ofIdentity.get(identity) ?? []].sort((a, b) => a.position - b.position);
    const taking = { ingress: groups.filter((entry) => entry.concerns.ingress), egress: groups.filter((entry) => entry.concerns.egress) };
    const texts = { ingress: textOf(taking.ingress), egress: textOf(taking.egress) };
    const before: Held[] = [];
    for (const endpoint of endpoints) {
      before.push(...held(endpoint.policies));
      const of = (direction: Direction): Held | undefined => this.#policyOf(endpoint.input, taking[direction], texts[direction], direction);
      endpoint.policies = { ingress: of('ingress'), egress: of('egress') };
      this.ofEndpoint.set(endpoint.input.id, { ingress: endpoint.policies.ingress?.policy.key, egress: endpoint.policies.egress?.policy.key });
    }
    return before;
  }

  #policyOf(endpoint: EndpointInput, taking: readonly Group[], groups: string, direction: Direction): Held | undefined {
    if (taking.length === 0) return undefined;
    const named = taking.some((entry) => entry.namesPorts);
    const own = named && direction === 'ingress' ? namedPortsOf(endpoint) : undefined;
    const text = named ? `${groups} ${own?.key ?? ''} ${this.#ports.key}` : groups;
    const ports: PortNumbers = { named: direction === 'egress' ? this.#ports.common : own, withPort: this.#ports.withPort };
    return this.merged.hold(direction, text, () => merge(taking.map(({ group }) => group), direction, ports, this.#peerSets));
  }
}

const textOf = (groups: readonly Group[]): string => groups.map(({ serial }) => serial).join();

const held = ({ ingress, egress }: Policies): Held[] => [ingress, egress].filter((one) => one !== undefined);
