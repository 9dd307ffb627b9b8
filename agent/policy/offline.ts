// Policies without a kernel: a case (namespaces, pods, policies, flows) is compiled and its flows are judged
// by the same compiler and the same steps that the kernel program takes.
import { cidrLabels, podIdentityLabels } from '../identity/labels.ts';
import { FIRST_LOCAL_IDENTITY, FIRST_WORKLOAD_IDENTITY, RESERVED, isReservedName, reservedIdentities } from '../identity/reserved.ts';
import { readCidrGroup } from './cidr-group.ts';
import { compile } from './compile.ts';
import { protocolNumber } from './icmp.ts';
import type { Direction, EndpointInput, IdentityInput, PolicyImage } from './image.ts';
import type { Mode } from './mode.ts';
import { longestMatch, parsePrefix, type Prefix } from './prefix.ts';
import { judgeRequest, type L7Request } from './request.ts';
import { isConflict } from './rule-set.ts';
import { policyRef, readRules } from './rules.ts';
import type { RuleGroup } from './rule.ts';
import type { Party } from './suggest.ts';
import type { PolicyService } from './to-services.ts';
import { isAllowed, verdict, type Verdict } from './verdict.ts';

export type CaseParty = string | { readonly ip: string } | { readonly entity: string };

export interface CaseFlow {
  readonly direction: Direction | 'both';
  readonly from: CaseParty;
  readonly to: CaseParty;
  readonly protocol: string;
  readonly port?: number;
  readonly icmpType?: number;
  /** Asked where Envoy is; without it the verdict is that of the connection. */
  readonly request?: L7Request;
  readonly verdict?: 'allowed' | 'denied';
}

export interface CasePod {
  readonly name: string;
  readonly namespace: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly serviceAccount?: string;
  readonly ip?: string;
  readonly namedPorts?: EndpointInput['namedPorts'];
}

export interface PolicyCase {
  readonly id: string;
  readonly ipv6: boolean;
  readonly namespaces: Readonly<Record<string, { readonly labels?: Readonly<Record<string, string>>; readonly mode?: Mode }>>;
  readonly endpoints: readonly CasePod[];
  readonly policies: readonly Readonly<Record<string, unknown>>[];
  /** Objects of CiliumCIDRGroup. */
  readonly cidrGroups?: readonly Readonly<Record<string, unknown>>[];
  /** For toServices. */
  readonly services?: readonly PolicyService[];
  readonly flows: readonly CaseFlow[];
}

/** A case with everything that it takes to judge a flow. */
export interface World {
  readonly ipv6: boolean;
  readonly rules: readonly RuleGroup[];
  readonly identities: readonly IdentityInput[];
  readonly endpoints: readonly EndpointInput[];
  /** By `namespace/name`. */
  readonly pods: ReadonlyMap<string, EndpointInput>;
  readonly image: PolicyImage;
  readonly prefixes: readonly Prefix[];
  /** Addresses that were asked for. */
  readonly identityOfAddress: Map<string, number>;
}

export function makeWorld(input: Omit<PolicyCase, 'id' | 'flows'>): World {
  const byLabels = new Map<string, IdentityInput>();
  const pods = new Map<string, EndpointInput>();
  for (const pod of input.endpoints) {
    const labels = podIdentityLabels({
      labels: pod.labels, namespace: pod.namespace,
      namespaceLabels: input.namespaces[pod.namespace]?.labels ?? {}, serviceAccount: pod.serviceAccount ?? 'default',
    });
    const key = labels.join('\n');
    const identity = byLabels.get(key) ?? { id: FIRST_WORKLOAD_IDENTITY + byLabels.size, labels };
    byLabels.set(key, identity);
    pods.set(`${pod.namespace}/${pod.name}`, {
      id: pods.size + 1, identity: identity.id, namespace: pod.namespace, namedPorts: pod.namedPorts ?? [],
    });
  }
  const identities = [...reservedIdentities(), ...byLabels.values()];
  const endpoints = [...pods.values()];
  const groups = (input.cidrGroups ?? []).map(readCidrGroup);
  const rules = input.policies.flatMap((policy) => readRules(policy, groups, input.namespaces[policyRef(policy).namespace]?.mode, input.services));
  const image = compile({ rules, identities, endpoints, cidrIdentity: prefixNumbers(), ipv6: input.ipv6 });
  const prefixes = [...image.prefixes.keys()].map((text) => parsePrefix(text)!);
  return { ipv6: input.ipv6, rules, identities, endpoints, pods, image, prefixes, identityOfAddress: new Map() };
}

/** Numbers for prefixes in the order in which they are first asked for. */
export function prefixNumbers(): (prefix: string) => number {
  const numbers = new Map<string, number>();
  return (prefix) => {
    const number = numbers.get(prefix) ?? FIRST_LOCAL_IDENTITY + numbers.size;
    numbers.set(prefix, number);
    return number;
  };
}

/** The identity of a party: an address has that of the longest prefix that rules name, else it is just the world. */
export function identityOf(world: World, party: CaseParty): number {
  if (typeof party === 'string') return endpointOf(world, party)!.identity;
  if ('entity' in party) {
    if (!isReservedName(party.entity)) throw new Error(`unknown entity ${party.entity}`);
    return RESERVED[party.entity];
  }
  const known = world.identityOfAddress.get(party.ip);
  if (known !== undefined) return known;
  const id = identityOfAddress(world, party.ip);
  world.identityOfAddress.set(party.ip, id);
  return id;
}

function identityOfAddress(world: World, ip: string): number {
  const address = parsePrefix(ip);
  if (address === undefined) throw new Error(`not an address: ${ip}`);
  const prefix = longestMatch(world.prefixes, address);
  if (prefix !== undefined) return world.image.prefixes.get(prefix.text)!;
  if (!world.ipv6) return RESERVED.world;
  return address.family === 6 ? RESERVED['world-ipv6'] : RESERVED['world-ipv4'];
}

export function endpointOf(world: World, party: CaseParty): EndpointInput | undefined {
  if (typeof party !== 'string') return undefined;
  const endpoint = world.pods.get(party);
  if (endpoint === undefined) throw new Error(`no pod ${party}`);
  return endpoint;
}

/** A party with its labels, for explanations. */
export function partyOf(world: World, party: CaseParty): Party {
  const id = identityOf(world, party);
  const prefix = [...world.image.prefixes].find(([, number]) => number === id)?.[0];
  const labels = world.identities.find((identity) => identity.id === id)?.labels ?? cidrLabels(prefix!, world.ipv6);
  if (typeof party === 'string') return { name: party, labels };
  return 'ip' in party ? { name: party.ip, labels, address: party.ip } : { name: party.entity, labels };
}

/** One side's verdict. A party that is no endpoint has no policy. */
export function judge(world: World, flow: Omit<CaseFlow, 'direction'>, direction: Direction): Verdict {
  const [subject, peer] = direction === 'ingress' ? [flow.to, flow.from] : [flow.from, flow.to];
  const endpoint = endpointOf(world, subject);
  const protocol = protocolNumber(flow.protocol);
  if (protocol === undefined) throw new Error(`unknown protocol ${flow.protocol}`);
  return verdict(world.image, {
    policy: endpoint === undefined ? undefined : world.image.ofEndpoint.get(endpoint.id)?.[direction],
    class: world.image.classOfIdentity.get(identityOf(world, peer))!,
    protocol,
    port: flow.port ?? flow.icmpType ?? 0,
  });
}

export const sidesOf = (flow: CaseFlow): readonly Direction[] => (flow.direction === 'both' ? ['egress', 'ingress'] : [flow.direction]);

export const judgeFlow = (world: World, flow: CaseFlow): 'allowed' | 'denied' =>
  (sidesOf(flow).every((side) => passes(judge(world, flow, side), flow.request)) ? 'allowed' : 'denied');

/** Through Envoy too, where it is asked. */
export const passes = (one: Verdict, request: L7Request | undefined): boolean =>
  isAllowed(one) && (one.proxied === undefined || isConflict(one.proxied) || request === undefined || judgeRequest(one.proxied, request).allowed);
