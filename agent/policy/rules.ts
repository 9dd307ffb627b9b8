// From a validated policy object to rules in one form: who is selected, which peers, which ports.
// The compiler (compile.ts) and the explanations (explain.ts) read nothing else of a policy.
import { CLUSTER, DEFAULT_CLUSTER, NAMESPACE, NAMESPACE_LABELS } from '../identity/labels.ts';
import { groupsOf, type CidrGroup } from './cidr-group.ts';
import { entitySelectors } from './entities.ts';
import { fqdnSelector } from './fqdn.ts';
import type { Direction, PolicyRef, RuleRef } from './image.ts';
import { ICMP, ICMPV6, SCTP, TCP, UDP, icmpType } from './icmp.ts';
import { l7Of } from './l7.ts';
import { readNetworkPolicy } from './kubernetes-network-policy.ts';
import { modeOf, type Mode } from './mode.ts';
import { cidrPeer, labelPeer, portSpecs, type Peer, type PortSpec, type Rule, type RuleGroup } from './rule.ts';
import { servicePeers, type PolicyService } from './to-services.ts';
import {
  formatSelector, makeSelector, requirement, requirementsOf, type LabelSelector, type Requirement, type Selector,
} from './selector.ts';

type Json = Readonly<Record<string, unknown>>;

const DIRECTIONS = ['ingress', 'egress'] as const;
const ACTIONS = ['deny', 'allow'] as const;
const TRANSPORTS: Readonly<Record<string, readonly number[]>> = { TCP: [TCP], UDP: [UDP], SCTP: [SCTP], ANY: [TCP, UDP, SCTP] };

const listOf = (value: unknown): readonly Json[] => (Array.isArray(value) ? value as Json[] : []);

export function policyRef(object: Json): PolicyRef {
  const metadata = (object['metadata'] ?? {}) as Json;
  const kind = String(object['kind'] ?? '');
  const namespace = kind === 'CiliumClusterwideNetworkPolicy' ? '' : String(metadata['namespace'] ?? 'default');
  return { kind, namespace, name: String(metadata['name'] ?? '') };
}

/**
 * The rules of a policy object of any of the three kinds. A policy for nodes selects no endpoint and has none; one that is off has none either.
 * `byDefault`: the mode of its namespace.
 */
export function readRules(object: Json, groups: readonly CidrGroup[], byDefault: Mode = 'enforce', services: readonly PolicyService[] = []): RuleGroup[] {
  const policy = policyRef(object);
  const mode = modeOf(object) ?? byDefault;
  if (mode === 'off') return [];
  if (policy.kind === 'NetworkPolicy') return [{ ...readNetworkPolicy(object, policy), mode }];
  const specs: [string, Json][] = listOf(object['specs']).map((spec, index) => [`specs[${index}]`, spec]);
  if (object['spec'] !== undefined && object['spec'] !== null) specs.unshift(['spec', object['spec'] as Json]);
  return specs
    .filter(([, spec]) => spec['endpointSelector'] !== undefined && spec['endpointSelector'] !== null)
    .map(([path, spec]) => ({ ...readSpec(spec, path, policy, groups, services), mode }));
}

function readSpec(spec: Json, path: string, policy: PolicyRef, groups: readonly CidrGroup[], services: readonly PolicyService[]): Omit<RuleGroup, 'mode'> {
  const subject = subjectSelector(spec['endpointSelector'] as LabelSelector, policy.namespace);
  const selectsInit = subject.requirements.some((one) => one.source === 'reserved' && one.key === 'init');
  const scope = { namespace: policy.namespace, selectsInit, groups, services };
  const log = (spec['log'] as Json | undefined)?.['value'] as string | undefined;
  const rules: Rule[] = [];
  const defaultDeny = { ingress: false, egress: false };
  for (const direction of DIRECTIONS) {
    for (const action of ACTIONS) {
      const field = action === 'deny' ? `${direction}Deny` : direction;
      listOf(spec[field]).forEach((entry, index) => {
        const ref: RuleRef = { policy, path: `${path}.${field}[${index}]`, action, ...(log === undefined ? {} : { log }) };
        rules.push(...readEntry(entry, ref, direction, scope));
        defaultDeny[direction] = (spec['enableDefaultDeny'] as Json | undefined)?.[direction] !== false;
      });
    }
  }
  return { policy, path, subject, defaultDeny, rules };
}

/** A namespaced policy selects in its own namespace, whatever namespace it names. */
function subjectSelector(selector: LabelSelector, namespace: string): Selector {
  const requirements = requirementsOf(selector);
  if (namespace === '') return makeSelector(requirements);
  const others = requirements.filter((one) => !isKubernetesKey(one, NAMESPACE));
  return makeSelector([...others, requirement(`k8s:${NAMESPACE}`, 'In', [namespace])]);
}

const isKubernetesSource = (one: Requirement): boolean => one.source === 'any' || one.source === 'k8s';
const isKubernetesKey = (one: Requirement, key: string): boolean => isKubernetesSource(one) && one.key === key;
const namesNamespace = (one: Requirement): boolean =>
  isKubernetesSource(one) && (one.key === NAMESPACE || one.key.startsWith(NAMESPACE_LABELS));

interface Scope { readonly namespace: string; readonly selectsInit: boolean; readonly groups: readonly CidrGroup[]; readonly services: readonly PolicyService[] }

/** Peers are of the policy's own namespace and cluster unless the selector says otherwise. */
function peerSelector(selector: LabelSelector, scope: Scope): Selector {
  const requirements = requirementsOf(selector);
  if (requirements.some((one) => one.source === 'reserved')) return makeSelector(requirements);
  const added: Requirement[] = [];
  if (!requirements.some(namesNamespace)) {
    if (scope.namespace !== '') added.push(requirement(`k8s:${NAMESPACE}`, 'In', [scope.namespace]));
    else if (!scope.selectsInit) added.push(requirement(`k8s:${NAMESPACE}`, 'Exists'));
  }
  // Nodes and the outside have no cluster label: a selector of only negative expressions matches them too.
  if (!requirements.some((one) => isKubernetesKey(one, CLUSTER))) {
    added.push(requirement(`k8s:${CLUSTER}`, 'InOrAbsent', [DEFAULT_CLUSTER]));
  }
  return makeSelector([...requirements, ...added]);
}

/** One rule, and one more for each item of toPorts with DNS rules or L7 rules; that of an L7 item has the item's own path. */
function readEntry(entry: Json, ref: RuleRef, direction: Direction, scope: Scope): Rule[] {
  const peers = readPeers(entry, direction, scope);
  const plain: Json[] = [];
  const rules: Rule[] = [];
  listOf(entry['toPorts']).forEach((item, index) => {
    const l7 = ref.action === 'deny' ? undefined : l7Of(item, scope.namespace === '' ? 'default' : scope.namespace);
    const ports = listOf(item['ports']);
    if (dnsOf(item).length > 0) rules.push({ ref, direction, peers, ports: [UDP, TCP].flatMap((protocol) => ports.flatMap((port) => readPort(port, protocol))), dns: dnsOf(item).map(fqdnSelector) });
    else if (l7 !== undefined) rules.push({ ref: { ...ref, path: `${ref.path}.toPorts[${index}]` }, direction, peers, ports: ports.flatMap((port) => readPort(port, TCP)), l7 });
    else plain.push(item);
  });
  if (rules.length === 0 || plain.length > 0) rules.unshift({ ref, direction, peers, ports: readPorts({ ...entry, toPorts: plain }) });
  return rules;
}

const dnsOf = (item: Json): readonly Json[] => listOf((item['rules'] as Json | null | undefined)?.['dns']);

const PEER_MEMBERS = ['Endpoints', 'CIDR', 'CIDRSet', 'Entities', 'Groups', 'Nodes', 'Services', 'FQDNs'];

/** No member: any peer, if there are ports. A member that is there but empty selects nobody, whatever stands beside it. */
function readPeers(entry: Json, direction: Direction, scope: Scope): 'any' | Peer[] {
  const prefix = direction === 'ingress' ? 'from' : 'to';
  const lists = PEER_MEMBERS.map((member) => entry[prefix + member]).filter((list) => list !== undefined && list !== null);
  if (lists.length === 0) return listOf(entry['toPorts']).length + listOf(entry['icmps']).length > 0 ? 'any' : [];
  if (lists.some((list) => listOf(list).length === 0)) return [];
  const peers: Peer[] = [];
  for (const selector of listOf(entry[`${prefix}Endpoints`])) {
    peers.push(labelPeer(peerSelector(selector as LabelSelector, scope), `endpoints ${formatSelector(makeSelector(requirementsOf(selector)))}`));
  }
  for (const name of listOf(entry[`${prefix}Entities`])) {
    for (const selector of entitySelectors(String(name))) peers.push(labelPeer(selector, `entity ${String(name)}`));
  }
  for (const item of listOf(entry[`${prefix}FQDNs`])) {
    const selector = fqdnSelector(item);
    peers.push({ kind: 'fqdn', selector, text: selector.key });
  }
  for (const cidr of listOf(entry[`${prefix}CIDR`])) peers.push(...cidrPeer(String(cidr), []));
  for (const item of listOf(entry[`${prefix}Services`])) {
    peers.push(...servicePeers(item, { ...scope, podsOf: (selector, namespace) => peerSelector(selector, { ...scope, namespace }) }));
  }
  for (const set of listOf(entry[`${prefix}CIDRSet`])) peers.push(...readCidrSet(set, scope.groups));
  return peers.some((peer) => peer.kind === 'labels' && peer.selector.requirements.length === 0) ? 'any' : peers;
}

function readCidrSet(set: Json, groups: readonly CidrGroup[]): Peer[] {
  const except = (set['except'] ?? []) as string[];
  if (set['cidr'] !== undefined && set['cidr'] !== null) return cidrPeer(String(set['cidr']), except);
  return groupsOf(set, groups).flatMap((group) => group.cidrs.flatMap((cidr) => cidrPeer(cidr, except, `CIDR group ${group.name}`)));
}

function readPorts(entry: Json): 'all' | PortSpec[] {
  const toPorts = listOf(entry['toPorts']);
  const icmps = listOf(entry['icmps']);
  if (toPorts.length + icmps.length === 0) return 'all';
  return [
    ...toPorts.flatMap((item) => listOf(item['ports'])).flatMap((port) => readPort(port)),
    ...icmps.flatMap((item) => listOf(item['fields'])).flatMap(readIcmp),
  ];
}

/** `only`: that protocol alone; names are read from UDP and TCP, connections from TCP. What comes by another is allowed by no such rule. */
function readPort(port: Json, only?: number): PortSpec[] {
  const protocols = (TRANSPORTS[String(port['protocol'] ?? 'ANY')] ?? []).filter((protocol) => only === undefined || protocol === only);
  return protocols.length === 0 ? [] : portSpecs(String(port['port'] ?? ''), Number(port['endPort'] ?? 0), protocols);
}

function readIcmp(field: Json): PortSpec[] {
  const family = field['family'] === 'IPv6' ? 'IPv6' : 'IPv4';
  const type = icmpType(family, field['type'] as number | string);
  if (type === undefined) return [];
  return [{ kind: 'range', protocol: family === 'IPv6' ? ICMPV6 : ICMP, low: type, high: type }];
}
