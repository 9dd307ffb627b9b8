// Record -> Flow: numbers become names, when somebody asks for the flow. The look-ups are asked for the time of the record, so
// that a flow shows the names it had when it happened.
import { ipText, macText } from './address.ts';
import { action, flow_event, observation_point, type FlowRecord, type Judgement } from '../bpf/types.gen.ts';
import { summarize } from './summary.ts';
import { hasPort, type ServiceLookup } from './services.ts';
import { timestampOfNs } from './time.ts';
import { uuidOf } from './uuid.ts';
import { eventType, flowType, verdict, type Endpoint, type Flow, type Layer4, type Policy, type Service, type TcpFlags, type Workload } from './types.ts';

export interface EndpointNames {
  readonly id: number;
  readonly identity: number;
  readonly namespace: string;
  readonly podName: string;
  /** `source:key=value`. */
  readonly labels: readonly string[];
  readonly workloads: readonly { readonly name: string; readonly kind: string }[];
  readonly clusterName: string;
}

export interface PolicyName {
  readonly kind: string;
  readonly namespace: string;
  readonly name: string;
  readonly labels?: readonly string[];
  readonly revision?: number;
}

/** What the agent knows and this folder does not. `timeNs`: of the record (CLOCK_MONOTONIC); names are those of that moment. */
export interface Lookups {
  /** The local endpoint that had this address. */
  readonly endpoint: (address: string, timeNs: number) => EndpointNames | undefined;
  readonly identityLabels: (identity: number, timeNs: number) => readonly string[];
  /** Who allowed or denied; for a default deny, the policies that select the endpoint. */
  readonly policies: (judgement: Judgement, direction: 'ingress' | 'egress', timeNs: number) => readonly PolicyName[];
  readonly policyLog?: (judgement: Judgement, timeNs: number) => readonly string[];
  /** When a name changed last: what was asked for a later moment may be remembered until this moves. */
  readonly changedNs: () => number;
  /** Names that went for want of room while a kept record could ask for them: such a record shows a later one. */
  readonly forgotten: () => number;
  /** From CLOCK_MONOTONIC to nanoseconds since 1970. */
  readonly toUnixNs: (monotonicNs: bigint) => bigint;
  readonly nodeName: string;
  /** Absent: nothing is known of services. They are those of now. */
  readonly services?: ServiceLookup;
}

/** `number`: of its entry in the ring. */
export function toFlow(record: FlowRecord, lookups: Lookups, number: number): Flow {
  const timeNs = Number(record.time_ns);
  const source = ipText(record.saddr.word);
  const destination = ipText(record.daddr.word);
  const l4 = layer4(record);
  const isReply = record.is_reply !== 0;
  return {
    time: timestampOfNs(lookups.toUnixNs(record.time_ns)),
    verdict: verdictOf(record.event),
    ethernet: { source: macText(record.smac), destination: macText(record.dmac) },
    IP: { source: source.text, destination: destination.text, ipVersion: source.version === 4 ? 1 : 2 },
    ...(l4 && { l4 }),
    source: endpointOf(source.text, record.source_identity, timeNs, lookups),
    destination: endpointOf(destination.text, record.destination_identity, timeNs, lookups),
    Type: flowType.l3l4,
    node_name: lookups.nodeName,
    reply: isReply,
    is_reply: { value: isReply },
    traffic_direction: record.direction,
    interface: { index: record.ifindex },
    uuid: uuidOf(number),
    ...eventFields(record),
    ...policyFields(record, timeNs, lookups),
    ...serviceFields(record, source.text, destination.text, lookups),
    Summary: summaryOf(record),
  };
}

export function summaryOf(record: FlowRecord): string {
  const l4 = layer4(record);
  return [l4 ? summarize(l4) : '', auditText(record)].filter((part) => part !== '').join('; ');
}

/** By the record's event. */
export const verdictOf = (event: number): number =>
  (event === flow_event.FLOW_DROP ? verdict.dropped : event === flow_event.FLOW_AUDIT ? verdict.audit : verdict.forwarded);

/** Of an audit: what was done, and what would have been. */
function auditText({ event, reason, live }: FlowRecord): string {
  if (event !== flow_event.FLOW_AUDIT) return '';
  return `${live === flow_event.FLOW_DROP ? 'dropped' : 'forwarded'}, would be ${reason === 0 ? 'allowed' : 'denied'}`;
}

export function eventFields(record: FlowRecord): Partial<Flow> {
  if (record.event === flow_event.FLOW_AUDIT) return { event_type: { type: eventType.policyVerdict, sub_type: record.reason } };
  return record.event === flow_event.FLOW_DROP ? dropFields(record) : traceFields(record);
}

const dropFields = ({ reason }: FlowRecord): Partial<Flow> => ({
  drop_reason: reason, drop_reason_desc: reason, event_type: { type: eventType.drop, sub_type: reason },
});

/** `enum TraceReason`. */
const traceReason = { new: 1, established: 2, reply: 3 } as const;

function traceFields(record: FlowRecord): Partial<Flow> {
  // Hubble's enum has 101 where the event's sub type is 0 (to-endpoint), so that 0 can mean unknown.
  const point = record.observation_point;
  return {
    event_type: { type: eventType.trace, sub_type: point === observation_point.TO_ENDPOINT ? 0 : point },
    trace_observation_point: point,
    trace_reason: record.is_reply ? traceReason.reply : record.event === flow_event.FLOW_NEW ? traceReason.new : traceReason.established,
  };
}

export function policyFields(record: FlowRecord, timeNs: number, lookups: Lookups): Partial<Flow> {
  const fields: Partial<Flow> = {};
  const log: string[] = [];
  const add = (judgement: Judgement, side: 'ingress' | 'egress'): void => {
    if (judgement.policy === 0) return;
    const denied = judgement.action === action.ACTION_DENY || judgement.action === action.ACTION_DEFAULT_DENY;
    if (!denied && judgement.action !== action.ACTION_ALLOW && judgement.action !== action.ACTION_DNS && judgement.action !== action.ACTION_PROXY) return;
    const policies = lookups.policies(judgement, side, timeNs).map(policyOf);
    if (policies.length > 0) fields[`${side}_${denied ? 'denied' : 'allowed'}_by`] = policies;
    log.push(...lookups.policyLog?.(judgement, timeNs) ?? []);
  };
  add(record.egress, 'egress');
  add(record.ingress, 'ingress');
  if (log.length > 0) fields.policy_log = [...new Set(log)];
  return fields;
}

export function serviceFields({ protocol, sport, dport }: Pick<FlowRecord, 'protocol' | 'sport' | 'dport'>, source: string, destination: string, { services }: Lookups): Partial<Flow> {
  const at = (address: string, port: number): Service | undefined => (services !== undefined && hasPort(services, port) ? services.at(address, port, protocol) : undefined);
  const [from, to] = [at(source, sport), at(destination, dport)];
  return { ...(from && { source_service: from }), ...(to && { destination_service: to }) };
}

const policyOf = ({ name, namespace, kind, labels, revision }: PolicyName): Policy => ({
  name, namespace, kind, ...(labels && { labels: [...labels] }), ...(revision !== undefined && { revision }),
});

/** The identity is the one that was judged; the names are those of the endpoint that has the address. */
export function endpointOf(address: string, identity: number, timeNs: number, lookups: Lookups): Endpoint {
  return namedEndpoint(lookups.endpoint(address, timeNs), identity, timeNs, lookups);
}

/** Without names it says its identity only. */
export function namedEndpoint(names: EndpointNames | undefined, identity: number, timeNs: number, lookups: Lookups): Endpoint {
  const labels = names?.identity === identity ? names.labels : lookups.identityLabels(identity, timeNs);
  return {
    ...(names && {
      ID: names.id, namespace: names.namespace, pod_name: names.podName, cluster_name: names.clusterName,
      workloads: names.workloads.map(({ name, kind }): Workload => ({ name, kind })),
    }),
    identity,
    labels: labels.map(withoutEmptyValue),
  };
}

/** Hubble prints "reserved:host", not "reserved:host=". */
const withoutEmptyValue = (label: string): string => (label.endsWith('=') ? label.slice(0, -1) : label);

/** IANA. */
export const protocolNumber = { ICMPv4: 1, TCP: 6, UDP: 17, ICMPv6: 58, SCTP: 132 } as const;

function layer4({ protocol, sport, dport, tcp_flags: flags }: FlowRecord): Layer4 | undefined {
  const ports = { source_port: sport, destination_port: dport };
  switch (protocol) {
    case protocolNumber.TCP: return { TCP: { ...ports, flags: tcpFlags(flags) } };
    case protocolNumber.UDP: return { UDP: ports };
    case protocolNumber.SCTP: return { SCTP: ports };
    case protocolNumber.ICMPv4: return { ICMPv4: { type: dport, code: sport } };
    case protocolNumber.ICMPv6: return { ICMPv6: { type: dport, code: sport } };
    default: return undefined;
  }
}

/** In the order of the header's bits, the lowest first (RFC 9293, 3.1). */
export const flagBits = ['FIN', 'SYN', 'RST', 'PSH', 'ACK', 'URG', 'ECE', 'CWR'] as const;

function tcpFlags(bits: number): TcpFlags {
  const flags: TcpFlags = {};
  flagBits.forEach((name, index) => { if (bits & (1 << index)) flags[name] = true; });
  return flags;
}
