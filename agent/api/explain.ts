// `weir explain`: a flow that was seen, or one that is asked for, judged in words at both of its ends by the rules in force now.
import type { Agent } from '../agent.ts';
import { dropText } from '../../hubble/print/words.ts';
import { verdict } from '../../hubble/types.ts';
import { ConfigError } from '../errors.ts';
import { identityLabels } from '../flow/names.ts';
import { reservedIdentities } from '../identity/reserved.ts';
import type { EndpointRow } from '../endpoint/tables.ts';
import { answerOf, type Answer } from '../policy/answer.ts';
import { parsePath } from '../policy/check.ts';
import { explain, type Explanation } from '../policy/explain.ts';
import type { Direction } from '../policy/image.ts';
import type { L7Request } from '../policy/request.ts';
import type { Party } from '../policy/suggest.ts';
import { readQuestion } from './explain-pair.ts';

/** What of a Flow (proto/flow.proto) is needed. */
interface FlowEnd { readonly identity?: number; readonly namespace?: string; readonly pod_name?: string }
interface PolicyName { readonly namespace?: string; readonly name?: string }
interface SeenFlow {
  readonly uuid?: string;
  readonly IP?: { readonly source?: string; readonly destination?: string };
  readonly source?: FlowEnd;
  readonly destination?: FlowEnd;
  readonly is_reply?: { readonly value?: boolean };
  readonly drop_reason_desc?: number;
  readonly verdict?: number;
  readonly l7?: object;
  readonly egress_denied_by?: readonly PolicyName[];
  readonly ingress_denied_by?: readonly PolicyName[];
  readonly Summary?: string;
  readonly l4?: Readonly<Record<string, { readonly source_port?: number; readonly destination_port?: number; readonly type?: number } | undefined>>;
}

const protocols: Readonly<Record<string, number>> = { TCP: 6, UDP: 17, SCTP: 132, ICMPv4: 1, ICMPv6: 58 };

export interface End { readonly party: Party; readonly endpoint: EndpointRow | undefined }
export interface ExplainedFlow { readonly from: End; readonly to: End; readonly protocol: number; readonly port: number; readonly request?: L7Request }

export interface FlowExplanation extends Answer { readonly uuid?: string }

export function explainFlow(agent: Agent, parameters: Readonly<Record<string, unknown>>): FlowExplanation {
  if (parameters['from'] !== undefined) return explainSides(agent, readQuestion(agent, parameters));
  const uuid = parameters['uuid'];
  const flow = (typeof uuid === 'string' ? agent.observer.find(uuid) : agent.observer.lastDrop()) as SeenFlow | undefined;
  if (flow === undefined) {
    throw typeof uuid === 'string'
      ? new ConfigError(`no flow ${uuid} among the last ones`, 'see ./weir observe -o json for the uuid of each')
      : new ConfigError('nothing was dropped yet', 'watch with ./weir observe --verdict DROPPED --follow');
  }
  if (flow.l7 != null && flow.verdict === verdict.dropped) return { ...(flow.uuid === undefined ? {} : { uuid: flow.uuid }), verdict: 'denied', sides: [], yaml: '', text: refusedText(flow) };
  const answer = explainSides(agent, ends(agent, flow));
  const text = answer.sides.length === 0 ? `No policy was asked: ${dropText(flow.drop_reason_desc ?? 0)}.` : answer.text;
  return { ...(flow.uuid === undefined ? {} : { uuid: flow.uuid }), ...answer, text };
}

/** The connection was let through; what was asked in it was not. */
function refusedText({ egress_denied_by: egress = [], ingress_denied_by: ingress = [], Summary: summary = '' }: SeenFlow): string {
  const policies = [...egress, ...ingress].map(({ namespace, name = '' }) => (namespace ? `${namespace}/${name}` : name));
  return `Refused at layer 7: ${summary}\n${policies.length === 0 ? 'No rule allows it.' : `No rule of ${policies.join(', ')} allows it.`}\nSee what they ask for: ./weir policy get NAME`;
}

function explainSides(agent: Agent, flow: ExplainedFlow): Answer {
  return answerOf((['egress', 'ingress'] as const).flatMap((direction) => explainSide(agent, direction, flow)));
}

function ends(agent: Agent, flow: SeenFlow): ExplainedFlow {
  const reply = flow.is_reply?.value === true;
  const source = endOf(agent, flow.IP?.source ?? '', flow.source);
  const destination = endOf(agent, flow.IP?.destination ?? '', flow.destination);
  const [name, l4] = Object.entries(flow.l4 ?? {}).find(([key, value]) => key in protocols && value != null) ?? [];
  if (name === undefined || l4 === undefined) throw new ConfigError('this flow has no protocol that policies speak of', 'choose another with --uuid');
  const port = l4.type ?? (reply ? l4.source_port : l4.destination_port) ?? 0;
  return { from: reply ? destination : source, to: reply ? source : destination, protocol: protocols[name]!, port };
}

function endOf(agent: Agent, address: string, end: FlowEnd | undefined): End {
  const { tables } = agent;
  const endpoint = tables.endpoints.by('address', address)[0];
  if (endpoint !== undefined) return { endpoint, party: { name: endpoint.key, labels: endpoint.labels } };
  const identity = end?.identity ?? 0;
  const name = end?.pod_name ? `${end.namespace ?? ''}/${end.pod_name}` : address;
  return { endpoint: undefined, party: { name, labels: identityLabels(tables.identities, identity), ...(identity === 1 ? {} : { address }) } };
}

function explainSide(agent: Agent, direction: Direction, { from, to, protocol, port, request }: ExplainedFlow): Explanation[] {
  const { endpoint } = direction === 'egress' ? from : to;
  if (endpoint === undefined) return [];
  return [explain({
    direction, from: from.party, to: to.party, protocol, port, rules: agent.policies.groups(),
    identities: [...reservedIdentities(), ...agent.tables.identities.rows()], endpoint, endpoints: agent.tables.endpoints.rows(), ipv6: true,
    locate: ({ policy, path }) => agent.tables.manifests.get(`${policy.kind}/${policy.namespace}/${policy.name}`)?.locate(parsePath(path)),
    ...(request === undefined ? {} : { request }),
  })];
}
