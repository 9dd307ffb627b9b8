// Why a flow got its verdict: the policies that select the endpoint, each rule in order with what it missed, and for a
// default deny the nearest rule and a policy that would allow the flow. Reads the same rules as the compiler.
import { rangesOf } from './bits.ts';
import type { Place } from './check.ts';
import { explainText } from './explain-text.ts';
import { protocolName } from './icmp.ts';
import type { Direction, EndpointInput, IdentityInput, L7Rules, PolicyRef, RuleRef } from './image.ts';
import { keyOf } from './intervals.ts';
import type { Redirect } from './l7-text.ts';
import { Membership } from './membership.ts';
import { ALLOW_LOCALHOST } from './merge.ts';
import { commonNamedPorts, namedPortsOf, type NamedPortTable } from './named-ports.ts';
import { judgeRequest, type L7Request } from './request.ts';
import { isConflict, together } from './rule-set.ts';
import type { Peer, PortSpec, Rule, RuleGroup } from './rule.ts';
import { formatRequirement, formatSelector, labelSet, matches, missing, type LabelSet } from './selector.ts';
import { suggest, type Party, type Suggestion } from './suggest.ts';

export interface ExplainInput {
  readonly direction: Direction;
  readonly from: Party;
  readonly to: Party;
  readonly protocol: number;
  /** Destination port; for ICMP and ICMPv6 the type. */
  readonly port: number;
  readonly rules: readonly RuleGroup[];
  readonly identities: readonly IdentityInput[];
  /** For named ports: the endpoint judged (absent: it has none) and all of them. */
  readonly endpoint?: EndpointInput;
  readonly endpoints: readonly EndpointInput[];
  readonly ipv6: boolean;
  /** Asked where L7 rules judge the connection. */
  readonly request?: L7Request;
  /** Where a rule or a spec is written. */
  readonly locate?: (rule: Pick<RuleRef, 'policy' | 'path'>) => Place | undefined;
}

/** One rule of a policy that selects the endpoint, against this flow. */
export interface RuleReason {
  readonly rule: RuleRef;
  readonly source?: Place;
  readonly peerMatched: boolean;
  readonly portMatched: boolean;
  /** What was wanted and what was there, in words. */
  readonly peer: string;
  readonly port: string;
  /** What it asks of requests. */
  readonly l7?: L7Rules;
  /** 2: both matched; below: how near it came. */
  readonly score: number;
}

export interface Explanation {
  readonly direction: Direction;
  readonly subject: Party;
  readonly peer: Party;
  readonly protocol: number;
  readonly port: number;
  readonly verdict: 'none' | 'allow' | 'deny' | 'default-deny';
  /** What no rule allows is denied. */
  readonly enforced: boolean;
  /** The specs that select the endpoint and speak of this direction. */
  readonly policies: readonly { readonly policy: PolicyRef; readonly path: string; readonly selector: string; readonly defaultDeny: boolean; readonly source?: Place }[];
  /** In the order in which they are tried: deny, then allow. */
  readonly rules: readonly RuleReason[];
  /** Deny rules that matched; without any, allow rules that did. To turn the verdict each of them has to go. */
  readonly decidedBy: readonly RuleRef[];
  /** Allowed to go to Envoy, which judges on. */
  readonly redirect?: Redirect;
  readonly nearest?: RuleReason;
  /** Only for a default deny: a deny rule cannot be opened by allowing more. */
  readonly suggestion?: Suggestion;
  readonly text: string;
}

/** One side of a flow. */
export function explain(input: ExplainInput): Explanation {
  const { direction, protocol, port } = input;
  const [subject, peer] = direction === 'ingress' ? [input.to, input.from] : [input.from, input.to];
  const groups = selectingGroups(input, labelSet(subject.labels));
  const rules = groups.flatMap((group) => group.rules.filter((rule) => rule.direction === direction));
  if (direction === 'ingress' && groups.length > 0) rules.push(ALLOW_LOCALHOST);
  const judge = makeJudge(input, peer);
  const reasons = (['deny', 'allow'] as const).flatMap((action) => rules.filter((rule) => rule.ref.action === action)).map(judge);
  const took = reasons.filter((reason) => reason.peerMatched && reason.portMatched);
  const denied = took.filter((reason) => reason.rule.action === 'deny');
  const enforced = groups.some((group) => group.defaultDeny[direction]);
  const verdict = groups.length === 0 ? 'none' as const : denied.length > 0 ? 'deny' as const
    : took.length > 0 || !enforced ? 'allow' as const : 'default-deny' as const;
  const redirect = verdict === 'allow' ? redirectOf(took, direction, enforced, input.request) : undefined;
  const nearest = verdict === 'default-deny' ? nearestOf(reasons) : undefined;
  const suggestion = verdict === 'default-deny'
    ? suggest({ direction, subject, peer, protocol, port, identities: input.identities }) : undefined;
  const explanation = {
    direction, subject, peer, protocol, port, verdict, nearest, suggestion, enforced, rules: reasons,
    policies: groups.map((group) => {
      const source = input.locate?.({ policy: group.policy, path: group.path });
      return { policy: group.policy, path: group.path, selector: formatSelector(group.subject), defaultDeny: group.defaultDeny[direction], ...(source === undefined ? {} : { source }) };
    }),
    decidedBy: (denied.length > 0 ? denied : took).map((reason) => reason.rule), ...(redirect === undefined ? {} : { redirect }),
  };
  return { ...explanation, text: explainText(explanation) };
}

const selectingGroups = ({ rules, direction }: ExplainInput, labels: LabelSet): RuleGroup[] => rules.filter((group) =>
  group.mode === 'enforce' && matches(group.subject, labels) && (group.defaultDeny[direction] || group.rules.some((rule) => rule.direction === direction)));

function redirectOf(took: readonly RuleReason[], direction: Direction, enforced: boolean, request: L7Request | undefined): Redirect | undefined {
  if (took.every(({ l7 }) => l7 === undefined) || took.some(({ rule }) => rule === ALLOW_LOCALHOST.ref)) return undefined;
  const all = took.map(({ rule, l7 }) => ({ ref: rule, l7: l7 ?? 'any' as const }));
  const set = together(all, direction, enforced);
  if (isConflict(set)) return { rules: all, conflict: set };
  return { rules: set.rules, ...(request === undefined ? {} : { request, answer: judgeRequest(set, request) }) };
}

function nearestOf(reasons: readonly RuleReason[]): RuleReason | undefined {
  const allows = reasons.filter((reason) => reason.rule.action === 'allow' && reason.rule.path !== ALLOW_LOCALHOST.ref.path);
  return allows.reduce<RuleReason | undefined>((best, one) => (best === undefined || one.score > best.score ? one : best), undefined);
}

function makeJudge(input: ExplainInput, peer: Party): (rule: Rule) => RuleReason {
  const labels = labelSet(peer.labels);
  const membership = new Membership([labels], input.ipv6);
  const receiver = receiverPorts(input, peer);
  const named = input.direction === 'ingress' ? receiver : commonNamedPorts(input.endpoints);
  const key = keyOf(input.protocol, input.port);
  return (rule) => {
    const peerMatched = rule.peers === 'any' || rule.peers.some((one) => membership.selectPeer(one).length > 0);
    const portMatched = rangesOf(rule, named, receiver).some((range) => range.low <= key && key <= range.high);
    const closest = rule.peers === 'any' ? 1 : Math.max(0, ...rule.peers.map((one) => closeness(one, labels)));
    const sameProtocol = rule.ports !== 'all' && rule.ports.some((one) => protocolsOf(one).includes(input.protocol));
    const source = input.locate?.(rule.ref);
    return {
      rule: rule.ref, ...(source === undefined ? {} : { source }), ...(rule.l7 === undefined ? {} : { l7: rule.l7 }), peerMatched, portMatched,
      peer: peerText(rule, peerMatched, labels), port: portText(rule, portMatched, input, { named, receiver }),
      score: (peerMatched ? 1 : closest * 0.9) + (portMatched ? 1 : sameProtocol ? 0.5 : 0),
    };
  };
}

/** Of the destination: on egress it is known by its identity, as in the compiled policy. */
function receiverPorts({ direction, endpoint, endpoints, identities }: ExplainInput, peer: Party): NamedPortTable | undefined {
  if (direction === 'ingress') return endpoint === undefined ? undefined : namedPortsOf(endpoint);
  const text = peer.labels.join();
  const ids = new Set(identities.filter((identity) => identity.labels.join() === text).map((identity) => identity.id));
  return commonNamedPorts(endpoints.filter((one) => ids.has(one.identity)));
}

const protocolsOf = (port: PortSpec): readonly number[] => (port.kind === 'range' ? [port.protocol] : port.protocols);

function closeness(peer: Peer, labels: LabelSet): number {
  if (peer.kind !== 'labels') return labels.labels.some((label) => label.key.startsWith('world')) ? 0.3 : 0;
  const { requirements } = peer.selector;
  return requirements.length === 0 ? 1 : 1 - missing(peer.selector, labels).length / requirements.length;
}

function peerText(rule: Rule, matched: boolean, labels: LabelSet): string {
  if (rule.peers === 'any') return 'any peer';
  const texts = [...new Set(rule.peers.map((one) => one.text))];
  if (matched) return `the peer is one of: ${texts.join(' | ')}`;
  if (rule.peers.length === 0) return 'it selects no peer at all';
  const best = rule.peers.reduce((a, b) => (closeness(b, labels) > closeness(a, labels) ? b : a));
  return `the peer is none of: ${texts.join(' | ')} (${whyNot(best, labels)})`;
}

function whyNot(peer: Peer, labels: LabelSet): string {
  if (peer.kind === 'fqdn') return 'its address is known for a name only after an answer gave it';
  if (peer.kind === 'cidr') {
    return labels.labels.some((label) => label.key.startsWith('world')) ? 'its address is outside' : 'a CIDR selects no workload and no node';
  }
  return missing(peer.selector, labels).map((one) => {
    const has = (labels.byKey.get(one.key) ?? []).map((label) => `${one.key}=${label.value}`);
    return `wants ${formatRequirement(one)}, it has ${has.length === 0 ? `no ${one.key}` : has.join(', ')}`;
  }).join('; ');
}

interface Named { readonly named: NamedPortTable | undefined; readonly receiver: NamedPortTable | undefined }

function portText(rule: Rule, matched: boolean, input: ExplainInput, named: Named): string {
  const flow = `${input.port}/${protocolName(input.protocol)}`;
  if (rule.ports === 'all') return `every port, so ${flow} too`;
  if (rule.ports.length === 0) return 'it names no port at all';
  const texts = [...new Set(rule.ports.map((one) => formatPort(one, named)))];
  return `${flow} is ${matched ? 'in' : 'not in'} ${texts.join(', ')}`;
}

function formatPort(port: PortSpec, { named, receiver }: Named): string {
  if (port.kind === 'named') {
    const table = port.ofPeer ? receiver : named;
    const numbers = port.protocols.map((protocol) => [table?.get(port.name, protocol), protocolName(protocol)] as const)
      .filter(([number]) => number !== undefined).map(([number, protocol]) => `${number}/${protocol}`);
    return `${port.name} (${numbers.length === 0 ? 'a name that means no port here' : numbers.join(', ')})`;
  }
  const range = port.low === 0 && port.high === 0xffff ? 'every port' : port.low === port.high ? `${port.low}` : `${port.low}-${port.high}`;
  return `${range}/${protocolName(port.protocol)}`;
}
