// Recorded flows under other policies: the workloads are those that the flows name, with the labels they had; each flow is judged at both
// of its ends as the kernel would, and compared with what became of it.
import { RESERVED, reservedIdentities } from '../identity/reserved.ts';
import { compile } from './compile.ts';
import { readCidrGroup } from './cidr-group.ts';
import type { Direction, EndpointInput, IdentityInput, PolicyRef, RuleRef } from './image.ts';
import { identityOf, passes, prefixNumbers, type PolicyCase, type World } from './offline.ts';
import { parsePrefix } from './prefix.ts';
import type { L7Request } from './request.ts';
import { readRules } from './rules.ts';
import { verdict, type Verdict } from './verdict.ts';

export interface RecordedEnd { readonly name: string; readonly identity: number; readonly labels: readonly string[]; readonly namespace: string; readonly ip: string; readonly isWorkload: boolean }

/** A connection, or a request that Envoy saw: replies belong to the one that they answer. */
export interface RecordedFlow {
  readonly from: RecordedEnd;
  readonly to: RecordedEnd;
  readonly protocol: number;
  readonly port: number;
  readonly allowed: boolean;
  /** It left for another node, which judged the other end. */
  readonly egressOnly: boolean;
  readonly request?: L7Request;
}

export interface Simulated { readonly flow: RecordedFlow; readonly count: number; readonly change: 'opened' | 'closed'; readonly by: readonly (RuleRef | PolicyRef)[] }

export interface Simulation { readonly changes: readonly Simulated[]; readonly flows: number; readonly tuples: number }

/** Tuples that are told apart; a recording with more is refused by its reader. */
export const maxTuples = 200_000;

export class Simulator {
  readonly #tuples = new Map<string, { readonly flow: RecordedFlow; count: number }>();
  #flows = 0;

  /** False when there are too many different ones. */
  add(flow: RecordedFlow): boolean {
    this.#flows += 1;
    const { from, to, protocol, port, allowed, egressOnly, request } = flow;
    const key = [from.identity, from.name, from.isWorkload ? '' : from.ip, to.identity, to.name, to.isWorkload ? '' : to.ip, protocol, port, allowed, egressOnly, request === undefined ? '' : JSON.stringify(request)].join('\u0000');
    const known = this.#tuples.get(key);
    if (known !== undefined) known.count += 1;
    else if (this.#tuples.size >= maxTuples) return false;
    else this.#tuples.set(key, { flow, count: 1 });
    return true;
  }

  /** `endpoints`: where named ports come from, which flows do not tell. */
  judge({ policies, cidrGroups = [], endpoints }: Pick<PolicyCase, 'policies' | 'cidrGroups' | 'endpoints'>): Simulation {
    const tuples = [...this.#tuples.values()];
    const ports = new Map(endpoints.map(({ namespace, name, namedPorts = [] }) => [`${namespace}/${name}`, namedPorts]));
    const world = worldOf(tuples.map(({ flow }) => flow), policies, cidrGroups, ports);
    const changes = tuples.flatMap(({ flow, count }): Simulated[] => {
      const sides = sidesOf(flow).flatMap((direction) => judgeSide(world, flow, direction));
      const allowed = sides.every(({ one }) => passes(one, flow.request));
      if (allowed === flow.allowed) return [];
      return [{ flow, count, change: allowed ? 'opened' : 'closed', by: sides.flatMap(({ one, enforcedBy }) => decidedBy(one, enforcedBy, allowed, flow.request)) }];
    });
    return { changes, flows: this.#flows, tuples: tuples.length };
  }
}

/** Traffic to oneself is never judged. */
const sidesOf = ({ from, to, egressOnly }: RecordedFlow): readonly Direction[] =>
  (from.isWorkload && from.ip === to.ip ? [] : egressOnly ? ['egress'] : ['egress', 'ingress']);

function worldOf(flows: readonly RecordedFlow[], policies: PolicyCase['policies'], cidrGroups: NonNullable<PolicyCase['cidrGroups']>,
  ports: ReadonlyMap<string, EndpointInput['namedPorts']>): World {
  const identities = new Map<number, IdentityInput>(reservedIdentities().map((one) => [one.id, one]));
  const pods = new Map<string, EndpointInput>();
  for (const { from, to } of flows) {
    for (const { name, identity, labels, namespace, isWorkload } of [from, to]) {
      if (!isWorkload) continue;
      identities.set(identity, { id: identity, labels });
      pods.set(nameKey(name, identity), { id: pods.size + 1, identity, namespace, namedPorts: ports.get(name) ?? [] });
    }
  }
  const rules = policies.flatMap((policy) => readRules(policy, cidrGroups.map(readCidrGroup)));
  const endpoints = [...pods.values()].map((one, index) => ({ ...one, id: index + 1 }));
  const image = compile({ rules, identities: [...identities.values()], endpoints, cidrIdentity: prefixNumbers(), ipv6: true });
  return {
    ipv6: true, rules, identities: [...identities.values()], endpoints, pods: new Map([...pods.keys()].map((key, index) => [key, endpoints[index]!])), image,
    prefixes: [...image.prefixes.keys()].map((text) => parsePrefix(text)!), identityOfAddress: new Map(),
  };
}

/** A workload whose labels changed while it was recorded is two. */
const nameKey = (name: string, identity: number): string => `${name}\u0000${identity}`;

function judgeSide(world: World, flow: RecordedFlow, direction: Direction): { readonly one: Verdict; readonly enforcedBy: readonly PolicyRef[] }[] {
  const [own, peer] = direction === 'egress' ? [flow.from, flow.to] : [flow.to, flow.from];
  if (!own.isWorkload) return [];
  const endpoint = world.pods.get(nameKey(own.name, own.identity))!;
  const policy = world.image.ofEndpoint.get(endpoint.id)![direction];
  const one = verdict(world.image, { policy, class: world.image.classOfIdentity.get(peerIdentity(world, peer))!, protocol: flow.protocol, port: flow.port });
  return [{ one, enforcedBy: policy === undefined ? [] : world.image.policies.get(policy)!.enforcedBy }];
}

/** Other policies may name other prefixes: who has no labels of its own is what its address is. */
function peerIdentity(world: World, { identity, isWorkload, ip }: RecordedEnd): number {
  const isWorld = ([RESERVED['world'], RESERVED['world-ipv4'], RESERVED['world-ipv6']] as number[]).includes(identity) || world.image.classOfIdentity.get(identity) === undefined;
  return isWorkload || !isWorld ? identity : identityOf(world, { ip });
}

function decidedBy(one: Verdict, enforcedBy: readonly PolicyRef[], allowed: boolean, request: L7Request | undefined): readonly (RuleRef | PolicyRef)[] {
  if (allowed) return one.rules;
  if (passes(one, request)) return [];
  if (one.proxied !== undefined) return one.rules;
  return one.action === 'deny' ? one.rules : enforcedBy;
}
