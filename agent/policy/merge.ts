// Merged policies: all rules that select an endpoint in one direction, as bits, intervals and a default.
// Endpoints with the same rules (and, where rules name ports, the same named ports) share one.
import { createHash } from 'node:crypto';
import { reservedLabels } from '../identity/reserved.ts';
import { bitsOf, peersWithPort, type PortNumbers } from './bits.ts';
import type { CompileInput } from './compile.ts';
import type { Direction, EndpointInput, IdentityInput, MergedPolicy, PolicyImage, RuleRef } from './image.ts';
import { makeIntervals } from './intervals.ts';
import type { Membership } from './membership.ts';
import { commonNamedPorts, namedPortsOf } from './named-ports.ts';
import type { PeerSets } from './peer-sets.ts';
import { labelPeer, type Rule, type RuleGroup } from './rule.ts';
import { makeSelector, requirement } from './selector.ts';

export interface Merged {
  readonly policies: PolicyImage['policies'];
  readonly ofEndpoint: PolicyImage['ofEndpoint'];
}

/** The node reaches its own workloads (probes, the user's shell) unless a deny rule names it. */
export const ALLOW_LOCALHOST: Rule = {
  ref: { policy: { kind: '', namespace: '', name: '' }, path: 'allow-localhost', action: 'allow' },
  direction: 'ingress',
  peers: [labelPeer(makeSelector(reservedLabels('host').map((label) => requirement(label.slice(0, -1), 'In', ['']))), 'entity host')],
  ports: 'all',
};

export function mergePolicies(
  input: CompileInput, identities: readonly IdentityInput[], membership: Membership, peerSets: PeerSets,
): Merged {
  const groupsOf = groupsByIdentity(input, identities, membership);
  const policies = new Map<string, MergedPolicy>();
  const ofEndpoint = new Map<number, { ingress?: string; egress?: string }>();
  const keyByContent = new Map<string, string>();
  const common = commonNamedPorts(input.endpoints);
  const withPort = peersWithPort(input.endpoints, identities);

  const keyFor = (endpoint: EndpointInput, groups: readonly number[], direction: Direction): string | undefined => {
    const taking = groups.filter((index) => concerns(input.rules[index]!, direction));
    if (taking.length === 0) return undefined;
    const own = direction === 'ingress' && taking.some((index) => namesPorts(input.rules[index]!)) ? namedPortsOf(endpoint) : undefined;
    const content = `${direction} ${taking.join()} ${own?.key ?? ''}`;
    let key = keyByContent.get(content);
    if (key === undefined) {
      const ports: PortNumbers = direction === 'egress' ? { named: common, withPort } : { named: own, withPort };
      const built = build(taking.map((index) => input.rules[index]!), direction, ports, peerSets);
      key = built.key;
      keyByContent.set(content, key);
      if (!policies.has(key)) policies.set(key, built);
    }
    return key;
  };

  for (const endpoint of input.endpoints) {
    const groups = groupsOf.get(endpoint.identity) ?? [];
    ofEndpoint.set(endpoint.id, { ingress: keyFor(endpoint, groups, 'ingress'), egress: keyFor(endpoint, groups, 'egress') });
  }
  return { policies, ofEndpoint };
}

/** Identity -> positions of the groups whose subject selects it, ascending; for identities of endpoints only. */
function groupsByIdentity(input: CompileInput, identities: readonly IdentityInput[], membership: Membership): Map<number, number[]> {
  const groups = new Map<number, number[]>(input.endpoints.map((endpoint) => [endpoint.identity, []]));
  input.rules.forEach((group, index) => {
    for (const position of membership.select(group.subject)) groups.get(identities[position]!.id)?.push(index);
  });
  return groups;
}

const concerns = (group: RuleGroup, direction: Direction): boolean =>
  group.defaultDeny[direction] || group.rules.some((rule) => rule.direction === direction);

const namesPorts = (group: RuleGroup): boolean =>
  group.rules.some((rule) => rule.ports !== 'all' && rule.ports.some((port) => port.kind === 'named'));

function build(groups: readonly RuleGroup[], direction: Direction, ports: PortNumbers, peerSets: PeerSets): MergedPolicy {
  const rules = groups.flatMap((group) => group.rules.filter((rule) => rule.direction === direction));
  if (direction === 'ingress') rules.push(ALLOW_LOCALHOST);
  const bits = (['deny', 'allow'] as const)
    .flatMap((action) => rules.filter((rule) => rule.ref.action === action))
    .flatMap((rule) => bitsOf(rule, ports, peerSets));
  const enforcedBy = [...new Map(groups.filter((group) => group.defaultDeny[direction])
    .map(({ policy }) => [`${policy.kind}/${policy.namespace}/${policy.name}`, policy])).values()];
  const defaultAction = enforcedBy.length > 0 ? 'default-deny' as const : 'allow' as const;
  const content = [direction, defaultAction, enforcedBy.map((ref) => [ref.kind, ref.namespace, ref.name]), bits.map((bit) =>
    [refKey(bit.ref), bit.set === 'any' ? 'any' : peerSets.digest(bit.set), bit.ranges.map(({ low, high }) => [low, high])])];
  return {
    key: createHash('sha256').update(JSON.stringify(content)).digest('hex').slice(0, 32),
    direction,
    words: Math.ceil(bits.length / 64),
    defaultAction,
    intervals: makeIntervals(bits),
    rules: bits.map((bit) => bit.ref),
    peerSets: bits.map((bit) => bit.set),
    enforcedBy,
  };
}

const refKey = ({ policy, path, action, log }: RuleRef): readonly unknown[] =>
  [policy.kind, policy.namespace, policy.name, path, action, log ?? null];
