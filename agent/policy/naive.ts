// Test only: the meaning of policies, written straight from their description, one flow at a time and without any of the
// compiler's code (no identities, no classes, no intervals). The property test holds the compiler against it.
import { naiveItemKind, naiveItemPasses } from './naive-l7.ts';
import type { CaseFlow, CaseParty, CasePod, PolicyCase } from './offline.ts';

type Json = Record<string, any>;
type World = Omit<PolicyCase, 'id' | 'flows'>;
type Labels = { source: string; key: string; value: string }[];

const NAMESPACE = 'io.kubernetes.pod.namespace';

export function naiveVerdict(world: World, flow: CaseFlow): 'allowed' | 'denied' {
  const sides = flow.direction === 'both' ? ['egress', 'ingress'] as const : [flow.direction];
  return sides.every((side) => sideAllows(world, flow, side)) ? 'allowed' : 'denied';
}

function sideAllows(world: World, flow: CaseFlow, side: 'ingress' | 'egress'): boolean {
  const [subject, peer] = side === 'ingress' ? [flow.to, flow.from] : [flow.from, flow.to];
  if (typeof subject !== 'string') return true;
  const pod = podNamed(world, subject);
  let enforced = false;
  let allowed = false;
  const read: Json[] = [];
  for (const policy of world.policies as Json[]) {
    for (const spec of [...(policy.spec ? [policy.spec] : []), ...(policy.specs ?? [])]) {
      if (!spec.endpointSelector || !subjectSelected(world, policy, spec, pod)) continue;
      const [allows, denies]: Json[][] = [spec[side] ?? [], spec[`${side}Deny`] ?? []];
      if (allows.length + denies.length > 0 && spec.enableDefaultDeny?.[side] !== false) enforced = true;
      const hits = (entry: Json): boolean => peerSelected(world, policy, spec, entry, side, peer) && portSelected(world, entry, side, pod, flow);
      if (denies.some(hits)) return false;
      for (const entry of allows.filter(hits)) {
        const items = (entry.toPorts ?? []).filter((item: Json) => portSelected(world, { toPorts: [item] }, side, pod, flow));
        read.push(...items.filter((item: Json) => naiveItemKind(item) !== undefined));
        if (items.length === 0 || items.some((item: Json) => naiveItemKind(item) === undefined)) allowed = true;
      }
    }
  }
  const localHost = side === 'ingress' && typeof peer !== 'string' && 'entity' in peer && peer.entity === 'host';
  if (localHost || read.length === 0) return allowed || localHost || !enforced;
  if (new Set(read.map(naiveItemKind)).size > 1) return false;
  return allowed || !enforced || flow.request === undefined || read.some((item) => naiveItemPasses(item, flow.request!));
}

function podNamed(world: World, name: string): CasePod {
  return world.endpoints.find((pod) => `${pod.namespace}/${pod.name}` === name)!;
}

function labelsOf(world: World, party: CaseParty): Labels {
  const reserved = (...names: string[]): Labels => names.map((key) => ({ source: 'reserved', key, value: '' }));
  if (typeof party !== 'string') {
    if ('ip' in party) return reserved(!world.ipv6 ? 'world' : party.ip.includes(':') ? 'world-ipv6' : 'world-ipv4');
    return party.entity === 'kube-apiserver' ? reserved('kube-apiserver', 'remote-node') : reserved(party.entity);
  }
  const pod = podNamed(world, party);
  const of = (entries: Record<string, string>, prefix = ''): Labels =>
    Object.entries(entries).map(([key, value]) => ({ source: 'k8s', key: prefix + key, value }));
  const { 'pod-template-hash': _, ...labels } = pod.labels;
  return [
    ...of(labels), ...of(world.namespaces[pod.namespace]?.labels ?? {}, 'io.cilium.k8s.namespace.labels.'),
    ...of({ [NAMESPACE]: pod.namespace, 'io.cilium.k8s.policy.serviceaccount': pod.serviceAccount ?? 'default', 'io.cilium.k8s.policy.cluster': 'default' }),
  ];
}

function split(name: string): [string, string] {
  const colon = name.indexOf(':');
  return colon < 0 ? ['any', name] : [name.slice(0, colon), name.slice(colon + 1)];
}

function selected(selector: Json, labels: Labels): boolean {
  const values = (name: string): string[] => {
    const [source, key] = split(name);
    return labels.filter((label) => label.key === key && (source === 'any' || source === label.source)).map((label) => label.value);
  };
  return Object.entries(selector.matchLabels ?? {}).every(([key, value]) => values(key).includes(String(value)))
    && (selector.matchExpressions ?? []).every((one: Json) => {
      const there = values(one.key);
      if (one.operator === 'Exists') return there.length > 0;
      if (one.operator === 'DoesNotExist') return there.length === 0;
      const hit = there.some((value) => one.values.includes(value));
      return one.operator === 'In' ? hit : !hit;
    });
}

const keysOf = (selector: Json): [string, string][] =>
  [...Object.keys(selector.matchLabels ?? {}), ...(selector.matchExpressions ?? []).map((one: Json) => one.key)].map(split);
const kubernetes = (source: string): boolean => source === 'any' || source === 'k8s';

function subjectSelected(world: World, policy: Json, spec: Json, pod: CasePod): boolean {
  const labels = labelsOf(world, `${pod.namespace}/${pod.name}`);
  if (policy.kind === 'CiliumClusterwideNetworkPolicy') return selected(spec.endpointSelector, labels);
  const isNamespace = (name: string): boolean => kubernetes(split(name)[0]) && split(name)[1] === NAMESPACE;
  const matchLabels = Object.fromEntries(Object.entries(spec.endpointSelector.matchLabels ?? {}).filter(([name]) => !isNamespace(name)));
  const matchExpressions = (spec.endpointSelector.matchExpressions ?? []).filter((one: Json) => !isNamespace(one.key));
  return pod.namespace === policy.metadata.namespace && selected({ matchLabels, matchExpressions }, labels);
}

function peerSelected(world: World, policy: Json, spec: Json, entry: Json, side: string, peer: CaseParty): boolean {
  const prefix = side === 'ingress' ? 'from' : 'to';
  const members = ['Endpoints', 'CIDR', 'CIDRSet', 'Entities'].map((name) => entry[prefix + name]).filter((one) => one !== undefined);
  if (members.length === 0) return (entry.toPorts ?? []).length + (entry.icmps ?? []).length > 0;
  if (members.some((one) => one.length === 0)) return false;
  const labels = labelsOf(world, peer);
  const init = keysOf(spec.endpointSelector).some(([source, key]) => source === 'reserved' && key === 'init');
  return (entry[`${prefix}Endpoints`] ?? []).some((one: Json) => selected(one, labels) && scoped(policy, init, one, labels))
    || (entry[`${prefix}Entities`] ?? []).some((name: string) => isEntity(name, labels))
    || (entry[`${prefix}CIDR`] ?? []).some((cidr: string) => inCidr(world, cidr, peer))
    || (entry[`${prefix}CIDRSet`] ?? []).some((set: Json) =>
      cidrsOf(world, set).some((cidr) => inCidr(world, cidr, peer)) && !(set.except ?? []).some((except: string) => inCidr(world, except, peer)));
}

function cidrsOf(world: World, set: Json): string[] {
  if (set.cidr) return [set.cidr];
  const labels = (group: Json): Labels => Object.entries<string>(group.metadata.labels ?? {}).map(([key, value]) => ({ source: 'cidrgroup', key, value }));
  return (world.cidrGroups ?? []).filter((group: Json) => (set.cidrGroupRef ? set.cidrGroupRef === group.metadata.name : selected(set.cidrGroupSelector, labels(group))))
    .flatMap((group: Json) => group.spec.externalCIDRs);
}

function scoped(policy: Json, init: boolean, selector: Json, labels: Labels): boolean {
  const keys = keysOf(selector);
  if (keys.some(([source]) => source === 'reserved')) return true;
  if (keys.some(([source, key]) => kubernetes(source) && (key === NAMESPACE || key.startsWith('io.cilium.k8s.namespace.labels.')))) return true;
  const namespace = labels.find((label) => label.source === 'k8s' && label.key === NAMESPACE);
  if (policy.kind === 'CiliumNetworkPolicy') return namespace?.value === policy.metadata.namespace;
  return init || namespace !== undefined;
}

function isEntity(name: string, labels: Labels): boolean {
  const has = (...keys: string[]): boolean => labels.some((label) => label.source === 'reserved' && keys.includes(label.key));
  if (name === 'all') return true;
  if (name === 'none') return false;
  if (name === 'world') return has('world', 'world-ipv4', 'world-ipv6');
  if (name !== 'cluster') return has(name);
  return has('host', 'remote-node', 'init', 'ingress', 'health', 'unmanaged', 'kube-apiserver')
    || labels.some((label) => label.key === 'io.cilium.k8s.policy.cluster' && label.value === 'default');
}

function inCidr(world: World, cidr: string, peer: CaseParty): boolean {
  if (typeof peer === 'string') return false;
  const [text, length] = cidr.split('/') as [string, string];
  const ipv6 = text.includes(':');
  if ('entity' in peer) return length === '0' && peer.entity === (!world.ipv6 ? (ipv6 ? '' : 'world') : ipv6 ? 'world-ipv6' : 'world-ipv4');
  if (peer.ip.includes(':') !== ipv6) return false;
  return bits(peer.ip).slice(0, Number(length)) === bits(text).slice(0, Number(length));
}

/** An address as a string of zeros and ones. */
function bits(address: string): string {
  const binary = (number: number, size: number): string => number.toString(2).padStart(size, '0');
  if (!address.includes(':')) return address.split('.').map((part) => binary(Number(part), 8)).join('');
  const [head, tail] = address.split('::').map((half) => (half === '' ? [] : half.split(':')));
  const zeros = tail === undefined ? 0 : 8 - head!.length - tail.length;
  return [...head!, ...new Array<string>(zeros).fill('0'), ...(tail ?? [])].map((part) => binary(Number.parseInt(part, 16), 16)).join('');
}

function portSelected(world: World, entry: Json, side: string, pod: CasePod, flow: CaseFlow): boolean {
  const toPorts: Json[] = entry.toPorts ?? [];
  const icmps: Json[] = entry.icmps ?? [];
  if (toPorts.length + icmps.length === 0) return true;
  const family = flow.protocol === 'ICMP' ? 'IPv4' : flow.protocol === 'ICMPv6' ? 'IPv6' : undefined;
  if (family !== undefined) {
    return icmps.some((item) => (item.fields ?? []).some((field: Json) => (field.family ?? 'IPv4') === family && field.type === flow.icmpType));
  }
  return toPorts.some((item) => (item.ports ?? []).some((port: Json) => {
    const protocol = naiveItemKind(item) === undefined ? port.protocol ?? 'ANY' : 'TCP';
    if (protocol !== 'ANY' && protocol !== flow.protocol) return false;
    if (/[A-Za-z]/.test(port.port)) return flow.port === namedPort(side === 'ingress' ? [pod] : world.endpoints, port.port, flow.protocol);
    const low = Number(port.port);
    const high = (port.endPort ?? 0) > low ? port.endPort : low === 0 ? 65535 : low;
    return low <= flow.port! && flow.port! <= high;
  }));
}

function namedPort(pods: readonly CasePod[], name: string, protocol: string): number | undefined {
  const numbers = new Set(pods.flatMap((pod) => pod.namedPorts ?? [])
    .filter((port) => port.name.toLowerCase() === name.toLowerCase() && port.protocol === protocol).map((port) => port.port));
  return numbers.size === 1 ? [...numbers][0] : undefined;
}
