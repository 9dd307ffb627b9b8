// Rules that reach nobody (`selects-nothing`) or more than is mostly meant (`allows-world`, `unprotected`), and workloads that
// resolve no name any more (`no-dns`).
import { CLUSTER, NAMESPACE, worldName } from '../identity/labels.ts';
import { parsePath, type Path } from './check.ts';
import { UDP } from './icmp.ts';
import { keyOf } from './intervals.ts';
import { concerns, type LintWorld } from './lint-world.ts';
import type { LintWarning } from './lint.ts';
import { covers } from './prefix.ts';
import { entryPath, type Peer, type Rule, type RuleGroup } from './rule.ts';
import { formatSelector, labelSet, makeSelector, matches, type Selector } from './selector.ts';

const DNS = keyOf(UDP, 53);

type Object = Readonly<Record<string, unknown>>;

export function selectsNothing(world: LintWorld, objectOf: (group: RuleGroup) => Object): LintWarning[] {
  return world.groups.flatMap((group) => [
    ...(world.hasWorkloads && world.workloads(group.subject).length === 0 ? [warn(group, [...parsePath(group.path), subjectField(group)],
      nobodyText(group.subject), 'compare the labels and the namespace with those of the pods')] : []),
    ...group.rules.flatMap((rule) => emptyPeers(world, group, rule, objectOf(group))),
  ]);
}

/** Without what scoping adds to every selector. */
const nobodyText = ({ requirements }: Selector): string =>
  `no workload in these manifests matches ${formatSelector(makeSelector(requirements.filter(({ key }) => key !== CLUSTER)))}`;

const subjectField = ({ policy }: RuleGroup): string => (policy.kind === 'NetworkPolicy' ? 'podSelector' : 'endpointSelector');

const warn = ({ policy }: RuleGroup, path: Path, message: string, mend: string): LintWarning => ({ name: 'selects-nothing', policy, path, message, mend });

function emptyPeers(world: LintWorld, group: RuleGroup, rule: Rule, object: Object): LintWarning[] {
  const entry = parsePath(entryPath(rule.ref.path));
  const named = rule.ports === 'all' ? [] : rule.ports.filter((port) => port.kind === 'named' && world.hasWorkloads && world.ranges({ ...rule, ports: [port] }).length === 0);
  const peers = rule.peers === 'any' ? [] : rule.peers;
  return [
    ...peers.flatMap((peer, index) => {
      const why = whyNobody(world, peer);
      return why === undefined ? [] : [warn(group, peerPath(object, entry, rule, index), why.message, why.mend)];
    }),
    ...[...new Set(named.map((port) => (port.kind === 'named' ? port.name : '')))].map((name) =>
      warn(group, entry, `no workload in these manifests has a port named ${name}, or they do not agree on its number`, 'write the number, or name the port in the pods')),
  ];
}

/** The item of the list that the peer was read from, where each item is one peer. */
function peerPath(object: Object, entry: Path, rule: Rule, index: number): Path {
  const value = entry.reduce<unknown>((one, step) => (one as Record<string, unknown> | undefined)?.[step as string], object) as Object | undefined;
  const lists = Object.entries(value ?? {}).filter(([field, list]) => /^(from|to)/.test(field) && field !== 'toPorts' && Array.isArray(list));
  const [field, list] = lists[0] ?? [];
  return field !== undefined && (list as unknown[]).length === rule.peers.length ? [...entry, field, index] : entry;
}

function whyNobody(world: LintWorld, peer: Peer): { message: string; mend: string } | undefined {
  if (peer.kind === 'fqdn') return undefined;
  if (peer.kind === 'cidr') {
    return peer.except.some((except) => covers(except, peer.prefix)) ? { message: `except leaves nothing of ${peer.prefix.text}`, mend: 'narrow except' } : undefined;
  }
  const ofPods = peer.selector.requirements.some((one) => one.key === NAMESPACE && one.source !== 'reserved') || peer.text.startsWith('pods ');
  if (!ofPods || !world.hasWorkloads || !world.knowsNamespace(peer.selector) || world.workloads(peer.selector).length > 0) return undefined;
  return { message: nobodyText(peer.selector), mend: 'compare the labels and the namespace with those of the pods' };
}

/** Both families: who names but one of them means an address range. */
export function allowsWorld(world: LintWorld): LintWarning[] {
  return world.groups.flatMap((group) => group.rules.filter((rule) => rule.ref.action === 'allow' && world.ranges(rule).length > 0 && takesWorld(rule)).map((rule) => ({
    name: 'allows-world' as const, policy: group.policy, path: parsePath(rule.ref.path),
    message: rule.direction === 'ingress' ? `every address of the world may connect${portText(rule)}` : `every address of the world may be reached${portText(rule)}`,
    mend: rule.direction === 'ingress' ? 'name who is meant: fromEndpoints, fromEntities: [cluster], or fromCIDR' : 'name what is meant: toEndpoints, toEntities: [cluster], or toCIDR',
  })));
}

const portText = (rule: Rule): string => (rule.ports === 'all' ? ', on every port' : '');

const worlds = [true, false].map((ipv6) => labelSet([`reserved:${worldName(ipv6, true)}=`]));

const takesWorld = (rule: Rule): boolean => rule.peers === 'any' || rule.peers.some((peer) => (peer.kind === 'cidr'
  ? peer.prefix.length === 0 && peer.except.length === 0 : peer.kind === 'labels' && worlds.some((labels) => matches(peer.selector, labels))));

/** An empty selector in ingress: everybody of the namespace, or of the cluster. */
export function unprotected(world: LintWorld): LintWarning[] {
  return world.groups.flatMap((group) => group.rules
    .filter((rule) => rule.ref.action === 'allow' && rule.direction === 'ingress' && rule.peers !== 'any' && rule.peers.some(isEmptySelector))
    .map((rule) => ({
      name: 'unprotected' as const, policy: group.policy, path: parsePath(rule.ref.path),
      message: `an empty selector lets every workload ${group.policy.namespace === '' ? 'of the cluster' : 'that it is scoped to'} in${portText(rule)}`,
      mend: 'name the peers by their labels: {matchLabels: {app: NAME}}',
    })));
}

const isEmptySelector = (peer: Peer): boolean => peer.kind === 'labels' && (peer.text === `endpoints ${formatSelector(makeSelector([]))}`
  || (peer.text.startsWith('pods ') && peer.selector.requirements.every(({ key, operator }) => key === NAMESPACE && (operator === 'Exists' || operator === 'In'))));

/** Once for each policy that enforces egress: the first workload of it that has no way to a name server. */
export function noDns(world: LintWorld): LintWarning[] {
  const warnings: LintWarning[] = [];
  for (const group of world.groups) {
    if (!group.defaultDeny.egress) continue;
    const without = world.subjects(group).filter((subject) => !resolves(world, subject));
    if (without.length === 0) continue;
    const path = parsePath(entryPath(group.rules.find((rule) => rule.direction === 'egress')?.ref.path ?? group.path));
    warnings.push({
      name: 'no-dns', policy: group.policy, path: path.slice(0, -1),
      message: `egress of ${[...new Set(without.map((subject) => world.nameOf(subject)))].slice(0, 3).join(', ')} is enforced and no rule leads to port 53/UDP: names are not resolved`,
      mend: 'add egress: [{toEndpoints: [{matchLabels: {"k8s:io.kubernetes.pod.namespace": kube-system, k8s-app: kube-dns}}], toPorts: [{ports: [{port: "53", protocol: UDP}]}]}]',
    });
  }
  return warnings;
}

const resolves = (world: LintWorld, subject: number): boolean => world.groupsAt(subject).filter((group) => concerns(group, 'egress'))
  .flatMap((group) => group.rules)
  .some((rule) => rule.direction === 'egress' && rule.ref.action === 'allow' && rule.peers.length > 0
    && world.ranges(rule).some(({ low, high }) => low <= DNS && DNS <= high));
