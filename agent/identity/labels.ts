// Labels, written `source:key=value`: the labels that make a pod's identity, and those of an address prefix.
// Every identity is one such set; selectors (agent/policy/selector.ts) match them.

export interface Label { readonly source: string; readonly key: string; readonly value: string }

export const NAMESPACE = 'io.kubernetes.pod.namespace';
export const NAMESPACE_LABELS = 'io.cilium.k8s.namespace.labels.';
export const SERVICE_ACCOUNT = 'io.cilium.k8s.policy.serviceaccount';
export const CLUSTER = 'io.cilium.k8s.policy.cluster';
export const DEFAULT_CLUSTER = 'default';

/** `k8s:app=web`; a label without a source is `unspec`. The value is empty when there is no `=`. */
export function parseLabel(text: string): Label {
  const equals = text.indexOf('=');
  const name = equals < 0 ? text : text.slice(0, equals);
  const value = equals < 0 ? '' : text.slice(equals + 1);
  const colon = name.indexOf(':');
  return colon < 0
    ? { source: 'unspec', key: name, value }
    : { source: name.slice(0, colon), key: name.slice(colon + 1), value };
}

export const formatLabel = (label: Label): string => `${label.source}:${label.key}=${label.value}`;

/** Pod labels that change with every rollout would give each pod its own identity; those of the policy engine must not be forged. */
const IGNORED = new Set(['pod-template-generation', 'pod-template-hash', 'controller-revision-hash', 'controller-uid', 'etcd_node']);
const IGNORED_PREFIX = /^(io\.kubernetes|io\.cilium\.k8s\.|annotation|[^/]*\bkubernetes\.io(\/|$)|[^/]*\bk8s\.io(\/|$))/;
const KEPT_PREFIX = /^app\.kubernetes\.io/;

/** True for the pod labels that are part of the identity. */
export const isIdentityLabel = (key: string): boolean =>
  KEPT_PREFIX.test(key) || !(IGNORED.has(key) || IGNORED_PREFIX.test(key));

export interface PodLabels {
  readonly labels: Readonly<Record<string, string>>;
  readonly namespace: string;
  readonly namespaceLabels: Readonly<Record<string, string>>;
  readonly serviceAccount: string;
  readonly cluster?: string;
}

/** The identity labels of a pod, sorted. */
export function podIdentityLabels(pod: PodLabels): string[] {
  const labels: string[] = [];
  for (const [key, value] of Object.entries(pod.labels)) {
    if (isIdentityLabel(key)) labels.push(`k8s:${key}=${value}`);
  }
  for (const [key, value] of Object.entries(pod.namespaceLabels)) labels.push(`k8s:${NAMESPACE_LABELS}${key}=${value}`);
  labels.push(
    `k8s:${NAMESPACE}=${pod.namespace}`,
    `k8s:${SERVICE_ACCOUNT}=${pod.serviceAccount}`,
    `k8s:${CLUSTER}=${pod.cluster ?? DEFAULT_CLUSTER}`,
  );
  return labels.sort();
}

/** A prefix in a label key: `-` for `:`, and a zero where that would begin or end the name. */
export function cidrLabelKey(prefix: string): string {
  const [address = '', length = ''] = prefix.split('/');
  const text = address.replaceAll(':', '-');
  return `${text.startsWith('-') ? '0' : ''}${text}${text.endsWith('-') ? '0' : ''}/${length}`;
}

/** The way back: `2001-db8--0/32` is `2001:db8::0/32`. */
export const prefixOfCidrLabelKey = (key: string): string => key.replaceAll('-', ':');

/** The labels of an address prefix; a /0 is the world itself. */
export function cidrLabels(prefix: string, ipv6Cluster: boolean): string[] {
  const world = `reserved:${worldName(prefix.includes(':'), ipv6Cluster)}=`;
  return prefix.endsWith('/0') ? [world] : [`cidr:${cidrLabelKey(prefix)}=`, world];
}

/** A cluster with IPv6 tells its two outsides apart; one with IPv4 only has just `world`. */
export const worldName = (ipv6: boolean, ipv6Cluster: boolean): string =>
  !ipv6Cluster ? 'world' : ipv6 ? 'world-ipv6' : 'world-ipv4';
