// Record -> Flow: numbers become names, once, when the record is read, so that a flow shows the names it had when it happened.
import { randomBytes } from 'node:crypto';
import { ipText, macText } from './address.ts';
import { action, flow_event, observation_point, type FlowRecord, type Judgement } from '../bpf/types.gen.ts';
import { summarize } from './summary.ts';
import { timestampOfNs } from './time.ts';
import { eventType, flowType, verdict, type Endpoint, type Flow, type Layer4, type Policy, type TcpFlags, type Workload } from './types.ts';

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

/** What the agent knows and this folder does not. Asked once per record. */
export interface Lookups {
  /** The local endpoint that has this address now. */
  readonly endpoint: (address: string) => EndpointNames | undefined;
  readonly identityLabels: (identity: number) => readonly string[];
  /** Who allowed or denied; for a default deny, the policies that select the endpoint. */
  readonly policies: (judgement: Judgement, direction: 'ingress' | 'egress') => readonly PolicyName[];
  readonly policyLog?: (judgement: Judgement) => readonly string[];
  /** From CLOCK_MONOTONIC to nanoseconds since 1970. */
  readonly toUnixNs: (monotonicNs: bigint) => bigint;
  readonly nodeName: string;
}

export function toFlow(record: FlowRecord, lookups: Lookups): Flow {
  const source = ipText(record.saddr.word);
  const destination = ipText(record.daddr.word);
  const l4 = layer4(record);
  const dropped = record.event === flow_event.FLOW_DROP;
  const isReply = record.is_reply !== 0;
  return {
    time: timestampOfNs(lookups.toUnixNs(record.time_ns)),
    verdict: dropped ? verdict.dropped : verdict.forwarded,
    ethernet: { source: macText(record.smac), destination: macText(record.dmac) },
    IP: { source: source.text, destination: destination.text, ipVersion: source.version === 4 ? 1 : 2 },
    ...(l4 && { l4 }),
    source: endpointOf(source.text, record.source_identity, lookups),
    destination: endpointOf(destination.text, record.destination_identity, lookups),
    Type: flowType.l3l4,
    node_name: lookups.nodeName,
    reply: isReply,
    is_reply: { value: isReply },
    traffic_direction: record.direction,
    interface: { index: record.ifindex },
    uuid: nextUuid(),
    ...(dropped ? dropFields(record) : traceFields(record)),
    ...policyFields(record, lookups),
    Summary: l4 ? summarize(l4) : '',
  };
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

function policyFields(record: FlowRecord, lookups: Lookups): Partial<Flow> {
  const fields: Partial<Flow> = {};
  const log: string[] = [];
  const add = (judgement: Judgement, side: 'ingress' | 'egress'): void => {
    if (judgement.policy === 0) return;
    const denied = judgement.action === action.ACTION_DENY || judgement.action === action.ACTION_DEFAULT_DENY;
    if (!denied && judgement.action !== action.ACTION_ALLOW) return;
    const policies = lookups.policies(judgement, side).map(policyOf);
    if (policies.length > 0) fields[`${side}_${denied ? 'denied' : 'allowed'}_by`] = policies;
    log.push(...lookups.policyLog?.(judgement) ?? []);
  };
  add(record.egress, 'egress');
  add(record.ingress, 'ingress');
  if (log.length > 0) fields.policy_log = [...new Set(log)];
  return fields;
}

const policyOf = ({ name, namespace, kind, labels, revision }: PolicyName): Policy => ({
  name, namespace, kind, ...(labels && { labels: [...labels] }), ...(revision !== undefined && { revision }),
});

/** The identity is the one that was judged; the names are those of the endpoint that has the address. */
function endpointOf(address: string, identity: number, lookups: Lookups): Endpoint {
  const names = lookups.endpoint(address);
  const labels = names?.identity === identity ? names.labels : lookups.identityLabels(identity);
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

/** IANA protocol numbers. */
function layer4({ protocol, sport, dport, tcp_flags: flags }: FlowRecord): Layer4 | undefined {
  const ports = { source_port: sport, destination_port: dport };
  switch (protocol) {
    case 6: return { TCP: { ...ports, flags: tcpFlags(flags) } };
    case 17: return { UDP: ports };
    case 132: return { SCTP: ports };
    case 1: return { ICMPv4: { type: dport, code: sport } };
    case 58: return { ICMPv6: { type: dport, code: sport } };
    default: return undefined;
  }
}

/** In the order of the header's bits, the lowest first (RFC 9293, 3.1). */
const flagBits = ['FIN', 'SYN', 'RST', 'PSH', 'ACK', 'URG', 'ECE', 'CWR'] as const;

function tcpFlags(bits: number): TcpFlags {
  const flags: TcpFlags = {};
  flagBits.forEach((name, index) => { if (bits & (1 << index)) flags[name] = true; });
  return flags;
}

// One random part for the process and a counter: unique, in the form of a version 4 UUID, without a call for each flow.
const uuidStart = randomBytes(10);
uuidStart[6] = (uuidStart[6]! & 0x0f) | 0x40;
uuidStart[8] = (uuidStart[8]! & 0x3f) | 0x80;
const uuidPrefix = uuidStart.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})$/, '$1-$2-$3-$4-');
let uuidCounter = randomBytes(4).readUInt32BE();

function nextUuid(): string {
  uuidCounter += 1;
  return uuidPrefix + uuidCounter.toString(16).padStart(12, '0');
}
