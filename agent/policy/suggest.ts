// The smallest CiliumNetworkPolicy that allows one denied flow and no other pair of the workloads that are known.
import { stringify } from 'yaml';
import { CLUSTER, NAMESPACE, NAMESPACE_LABELS, SERVICE_ACCOUNT, parseLabel, prefixOfCidrLabelKey } from '../identity/labels.ts';
import { ICMP, ICMPV6, SCTP, TCP, UDP, icmpTypeName, protocolName, REFUSED_TYPE_NAME } from './icmp.ts';
import type { Direction, IdentityInput } from './image.ts';
import { parsePrefix } from './prefix.ts';
import type { LabelSelector } from './selector.ts';

/** One end of a flow. */
export interface Party {
  /** `namespace/name`, an address or an entity: how texts call it. */
  readonly name: string;
  /** Of its identity. */
  readonly labels: readonly string[];
  /** For what is outside the cluster. */
  readonly address?: string;
}

export interface SuggestInput {
  readonly direction: Direction;
  /** The endpoint whose policy denied the flow. */
  readonly subject: Party;
  readonly peer: Party;
  readonly protocol: number;
  /** Destination port; for ICMP and ICMPv6 the type. */
  readonly port: number;
  /** The suggestion selects no other of these. */
  readonly identities: readonly IdentityInput[];
}

export interface Suggestion {
  readonly object: Readonly<Record<string, unknown>>;
  readonly yaml: string;
  /** What it allows beside the flow, where no policy can be narrower. */
  readonly widens?: string;
}

export function suggest(input: SuggestInput): Suggestion | undefined {
  const namespace = podLabel(input.subject.labels, NAMESPACE);
  if (namespace === undefined) return undefined;
  const object = {
    apiVersion: 'cilium.io/v2',
    kind: 'CiliumNetworkPolicy',
    metadata: { name: policyName(input), namespace },
    spec: {
      endpointSelector: distinguish(input.subject.labels, input.identities),
      [input.direction]: [{ ...peerMember(input, namespace), ...portMember(input.protocol, input.port) }],
    },
  };
  const widens = widening(input);
  return { object, yaml: stringify(object), ...(widens === '' ? {} : { widens }) };
}

/** Entities and protocols without ports cannot be told apart any further. */
function widening({ peer, protocol, port }: SuggestInput): string {
  const entity = peer.labels.map(parseLabel).some((label) => label.source === 'reserved' && label.key === 'remote-node');
  const noAddress = peer.address === undefined && peer.labels.map(parseLabel).some((label) => label.key.startsWith('world'));
  return [
    ...(entity ? ['every node of this kind'] : []),
    ...(noAddress ? ['every address of this kind'] : []),
    ...(port === 0 && (protocol === TCP || protocol === UDP || protocol === SCTP) ? [`every port of ${protocolName(protocol)}, as port 0 means all of them`] : []),
    ...(Object.keys(portMember(protocol, port)).length === 0 ? [`every protocol, as ${protocolName(protocol)} has no ports`] : []),
  ].join(' and ');
}

const podLabel = (labels: readonly string[], key: string): string | undefined =>
  labels.map(parseLabel).find((label) => label.source === 'k8s' && label.key === key)?.value;

function policyName({ direction, subject, peer, protocol, port }: SuggestInput): string {
  const [from, to] = direction === 'ingress' ? [peer, subject] : [subject, peer];
  const short = (party: Party): string => party.name.split('/').at(-1)!;
  const text = `allow-${direction}-${short(from)}-to-${short(to)}-${protocolName(protocol)}-${port}`;
  return text.toLowerCase().replace(/[^a-z0-9]+/g, '-').slice(0, 63).replace(/-+$/, '');
}

/** The entity of that name takes the API server's node too. */
const REMOTE_NODE: LabelSelector = { matchLabels: { 'reserved:remote-node': '' }, matchExpressions: [{ key: 'reserved:kube-apiserver', operator: 'DoesNotExist' }] };

function peerMember({ direction, peer, identities }: SuggestInput, namespace: string): Record<string, unknown> {
  const prefix = direction === 'ingress' ? 'from' : 'to';
  const peerNamespace = podLabel(peer.labels, NAMESPACE);
  if (peerNamespace !== undefined) {
    const selector = distinguish(peer.labels, identities);
    const scoped = peerNamespace === namespace ? selector
      : { ...selector, matchLabels: { ...selector.matchLabels, [`k8s:${NAMESPACE}`]: peerNamespace } };
    return { [`${prefix}Endpoints`]: [scoped] };
  }
  const entity = peer.labels.map(parseLabel).find((label) => label.source === 'reserved' && !label.key.startsWith('world'))?.key;
  if (entity === 'remote-node') return { [`${prefix}Endpoints`]: [REMOTE_NODE] };
  if (entity !== undefined) return { [`${prefix}Entities`]: [entity] };
  const cidr = peer.labels.map(parseLabel).find((label) => label.source === 'cidr');
  const own = peer.address ?? (cidr === undefined ? undefined : prefixOfCidrLabelKey(cidr.key));
  const address = own === undefined ? undefined : parsePrefix(own);
  return address === undefined ? { [`${prefix}Entities`]: ['world'] } : { [`${prefix}CIDR`]: [address.text] };
}

/** A protocol without ports can only be allowed with all others. */
function portMember(protocol: number, port: number): Record<string, unknown> {
  if (protocol === ICMP || protocol === ICMPV6) {
    const family = protocol === ICMP ? 'IPv4' : 'IPv6';
    const name = icmpTypeName(family, port);
    return { icmps: [{ fields: [{ family, type: name === undefined || name === REFUSED_TYPE_NAME ? port : name }] }] };
  }
  if (protocol !== TCP && protocol !== UDP && protocol !== SCTP) return {};
  return { toPorts: [{ ports: [{ port: String(port), protocol: protocolName(protocol) }] }] };
}

/** Keys by which people name their workloads. */
const NAMING_KEYS = ['app', 'app.kubernetes.io/name', 'k8s-app', 'name'];

/** Few labels that no other identity of the same namespace has together; absent keys where labels alone do not tell. */
function distinguish(labels: readonly string[], identities: readonly IdentityInput[]): LabelSelector {
  const own = ownLabels(labels);
  const namespace = podLabel(labels, NAMESPACE);
  let others = identities
    .filter((identity) => podLabel(identity.labels, NAMESPACE) === namespace && identity.labels.join() !== labels.join())
    .map((identity) => ownLabels(identity.labels));
  const rank = (key: string): number => (key === SERVICE_ACCOUNT ? 99 : (NAMING_KEYS.indexOf(key) + NAMING_KEYS.length + 1) % (NAMING_KEYS.length + 1));
  const keys = [...own.keys()].sort((a, b) => rank(a) - rank(b) || (a < b ? -1 : 1));
  const matchLabels: Record<string, string> = {};
  const take = (key: string): void => {
    matchLabels[key] = own.get(key)!;
    others = others.filter((other) => other.get(key) === own.get(key));
  };
  if (keys[0] !== undefined) take(keys[0]);
  for (;;) {
    const tells = (key: string): number => others.filter((other) => other.get(key) !== own.get(key)).length;
    const best = keys.filter((key) => tells(key) > 0).sort((a, b) => tells(b) - tells(a))[0];
    if (best === undefined) break;
    take(best);
  }
  const absent = new Set<string>();
  for (const other of others) {
    const extra = [...other.keys()].filter((key) => !own.has(key));
    if (extra.length > 0 && !extra.some((key) => absent.has(key))) absent.add(extra.sort()[0]!);
  }
  return absent.size === 0 ? { matchLabels }
    : { matchLabels, matchExpressions: [...absent].sort().map((key) => ({ key, operator: 'DoesNotExist' })) };
}

/** Those of the pod itself, not of its namespace or cluster. */
function ownLabels(texts: readonly string[]): Map<string, string> {
  return new Map(texts.map(parseLabel)
    .filter(({ source, key }) => source === 'k8s' && key !== NAMESPACE && key !== CLUSTER && !key.startsWith(NAMESPACE_LABELS))
    .map(({ key, value }) => [key, value]));
}

