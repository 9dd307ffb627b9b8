// networking.k8s.io/v1 NetworkPolicy to the same rules, by the text of the Kubernetes API: a direction that policyTypes
// omits is not enforced, NotIn and DoesNotExist match an absent key, a namespaceSelector selects pods only.
import { NAMESPACE, NAMESPACE_LABELS } from '../identity/labels.ts';
import type { Direction, PolicyRef } from './image.ts';
import { SCTP, TCP, UDP } from './icmp.ts';
import { cidrPeer, labelPeer, portSpecs, type Peer, type PortSpec, type Rule, type RuleGroup } from './rule.ts';
import { formatSelector, makeSelector, requirement, type LabelSelector, type Operator, type Requirement } from './selector.ts';

type Json = Readonly<Record<string, unknown>>;

const PROTOCOLS: Readonly<Record<string, number>> = { TCP, UDP, SCTP };

export function readNetworkPolicy(object: Json, policy: PolicyRef): Omit<RuleGroup, 'mode'> {
  const spec = (object['spec'] ?? {}) as Json;
  const subject = makeSelector([
    ...kubernetesRequirements((spec['podSelector'] ?? {}) as LabelSelector, ''),
    requirement(`k8s:${NAMESPACE}`, 'In', [policy.namespace]),
  ]);
  const enforced = enforcedDirections(spec);
  const rules: Rule[] = [];
  for (const direction of ['ingress', 'egress'] as const) {
    if (!enforced[direction]) continue;
    listOf(spec[direction]).forEach((entry, index) => {
      const ref = { policy, path: `spec.${direction}[${index}]`, action: 'allow' as const };
      rules.push({ ref, direction, peers: readPeers(entry, direction, policy.namespace), ports: readPorts(entry, direction) });
    });
  }
  return { policy, path: 'spec', subject, defaultDeny: enforced, rules };
}

const listOf = (value: unknown): readonly Json[] => (Array.isArray(value) ? value as Json[] : []);

/** Without policyTypes every policy is about ingress, and about egress when it has egress rules. */
function enforcedDirections(spec: Json): Record<Direction, boolean> {
  const types = listOf(spec['policyTypes']).map(String);
  if (types.length === 0) return { ingress: true, egress: listOf(spec['egress']).length > 0 };
  return { ingress: types.includes('Ingress'), egress: types.includes('Egress') };
}

function readPeers(entry: Json, direction: Direction, namespace: string): 'any' | Peer[] {
  const items = listOf(entry[direction === 'ingress' ? 'from' : 'to']);
  return items.length === 0 ? 'any' : items.flatMap((item) => readPeer(item, namespace));
}

function readPeer(item: Json, namespace: string): Peer[] {
  const block = item['ipBlock'] as Json | undefined;
  if (block !== undefined && block !== null) return cidrPeer(String(block['cidr']), (block['except'] ?? []) as string[]);
  const pods = kubernetesRequirements((item['podSelector'] ?? {}) as LabelSelector, '');
  const namespaceSelector = item['namespaceSelector'] as LabelSelector | undefined;
  const scope = namespaceSelector === undefined || namespaceSelector === null
    ? [requirement(`k8s:${NAMESPACE}`, 'In', [namespace])]
    : [...kubernetesRequirements(namespaceSelector, NAMESPACE_LABELS), requirement(`k8s:${NAMESPACE}`, 'Exists')];
  const selector = makeSelector([...pods, ...scope]);
  return [labelPeer(selector, `pods ${formatSelector(selector)}`)];
}

function kubernetesRequirements(selector: LabelSelector, prefix: string): Requirement[] {
  const make = (key: string, operator: string, values: readonly string[]): Requirement =>
    ({ source: 'k8s', key: prefix + key, operator: operator as Operator, values });
  return [
    ...Object.entries(selector.matchLabels ?? {}).map(([key, value]) => make(key, 'In', [value])),
    ...(selector.matchExpressions ?? []).map((one) => make(one.key, one.operator, one.values ?? [])),
  ];
}

/** A named port is one of the pod that receives the connection. */
function readPorts(entry: Json, direction: Direction): 'all' | PortSpec[] {
  const ports = listOf(entry['ports']);
  return ports.length === 0 ? 'all' : ports.flatMap((port) => {
    const protocol = PROTOCOLS[String(port['protocol'] ?? 'TCP')];
    const specs = portSpecs(String(port['port'] ?? '0'), Number(port['endPort'] ?? 0), protocol === undefined ? [] : [protocol]);
    return specs.map((spec) => (spec.kind === 'named' && direction === 'egress' ? { ...spec, ofPeer: true as const } : spec));
  });
}
