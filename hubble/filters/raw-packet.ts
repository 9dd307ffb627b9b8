// Fields of a filter that single bytes of a record answer: protocol, ports, flags, verdict, event, direction, identity, interface,
// number. What each means on a flow stands in packet.ts, endpoint.ts and names.ts; raw.test.ts holds the two together.
import { flow_event, observation_point } from '../../bpf/types.gen.ts';
import type { Entries } from '../entries.ts';
import { flagBits, protocolNumber, verdictOf } from '../flow.ts';
import { field } from '../record.ts';
import { eventType, type EventTypeFilter } from '../types.ts';
import { numberOfUuid } from '../uuid.ts';
import { isIpv4At } from './raw-address.ts';
import type { RawCompilers, RawPredicate } from './raw.ts';

const protocols: Readonly<Record<string, readonly number[]>> = {
  tcp: [protocolNumber.TCP], udp: [protocolNumber.UDP], sctp: [protocolNumber.SCTP], icmpv4: [protocolNumber.ICMPv4], icmpv6: [protocolNumber.ICMPv6],
  icmp: [protocolNumber.ICMPv4, protocolNumber.ICMPv6],
};

/** One byte of the record, by a table of all its values. */
const byByte = (offset: number, holds: (value: number) => boolean) => ({ ring: { bytes } }: Entries): RawPredicate => {
  const table = Uint8Array.from({ length: 256 }, (_, value) => (holds(value) ? 1 : 0));
  return (at) => table[bytes[at + offset]!] === 1;
};

/** A bit for each port. */
const port = (offset: number) => (values: readonly string[], { ring: { bytes } }: Entries): RawPredicate => {
  const wanted = new Uint8Array(65_536 / 8);
  for (const value of values) wanted[Number(value) >> 3]! |= 1 << (Number(value) & 7);
  const { TCP, UDP, SCTP } = protocolNumber;
  return (at) => {
    const number = (bytes[at + offset]! << 8) | bytes[at + offset + 1]!;
    if (!(wanted[number >> 3]! & (1 << (number & 7)))) return false;
    const protocol = bytes[at + field.protocol];
    return protocol === TCP || protocol === UDP || protocol === SCTP;
  };
};

const identity = (offset: number) => (values: readonly number[], { ring: { words } }: Entries): RawPredicate => {
  const wanted = new Set(values);
  const [only] = wanted;
  if (wanted.size === 1) return (at) => words[(at + offset) >>> 2] === only;
  return (at) => wanted.has(words[(at + offset) >>> 2]!);
};

function events(values: readonly EventTypeFilter[], { ring: { bytes } }: Entries): RawPredicate {
  const holds = (type: number, subType: number): boolean => values.some((want) =>
    (!want.type || want.type === type) && (!want.match_sub_type || (want.sub_type ?? 0) === subType));
  const drops = Uint8Array.from({ length: 256 }, (_, reason) => (holds(eventType.drop, reason) ? 1 : 0));
  const traces = Uint8Array.from({ length: 256 }, (_, point) => (holds(eventType.trace, point === observation_point.TO_ENDPOINT ? 0 : point) ? 1 : 0));
  const audits = Uint8Array.from({ length: 256 }, (_, reason) => (holds(eventType.policyVerdict, reason) ? 1 : 0));
  return (at) => {
    const event = bytes[at + field.event];
    if (event === flow_event.FLOW_DROP) return drops[bytes[at + field.reason]!] === 1;
    if (event === flow_event.FLOW_AUDIT) return audits[bytes[at + field.reason]!] === 1;
    return traces[bytes[at + field.observationPoint]!] === 1;
  };
}

/** A sum of `1 << bit`; undefined when it names a flag that records do not have. */
const maskOf = (flags: Readonly<Record<string, boolean | undefined>>): number | undefined => {
  const names = Object.keys(flags).filter((name) => flags[name]);
  const bits = names.map((name) => (flagBits as readonly string[]).indexOf(name));
  return bits.includes(-1) ? undefined : bits.reduce((mask, bit) => mask | (1 << bit), 0);
};

export const packetRaw: RawCompilers = {
  protocol: (values, entries) => {
    const wanted = new Set(values.flatMap((value) => protocols[value.toLowerCase()] ?? []));
    return byByte(field.protocol, (value) => wanted.has(value))(entries);
  },
  source_port: port(field.sport),
  destination_port: port(field.dport),
  ip_version: (values, { ring: { words } }) => {
    const [four, six] = [values.includes(1), values.includes(2)];
    return (at) => (isIpv4At(words, at + field.saddr) ? four : six);
  },
  tcp_flags: (values, { ring: { bytes } }) => {
    const masks = values.map((value) => maskOf(value as Readonly<Record<string, boolean | undefined>>)).filter((mask) => mask !== undefined);
    return (at) => bytes[at + field.protocol] === protocolNumber.TCP && masks.some((mask) => (bytes[at + field.tcpFlags]! & mask) === mask);
  },
  verdict: (values, { ring: { bytes } }) => (at) =>
    values.includes(verdictOf({ event: bytes[at + field.event]!, observation_point: bytes[at + field.observationPoint]!, is_reply: bytes[at + field.isReply]! })),
  drop_reason_desc: (values, { ring: { bytes } }) => {
    const wanted = new Set(values);
    return (at) => bytes[at + field.event] === flow_event.FLOW_DROP && wanted.has(bytes[at + field.reason]!);
  },
  event_type: events,
  traffic_direction: (values, entries) => byByte(field.direction, (value) => values.includes(value))(entries),
  reply: (values, entries) => byByte(field.isReply, (value) => values.includes(value !== 0))(entries),
  source_identity: identity(field.sourceIdentity),
  destination_identity: identity(field.destinationIdentity),
  interface: (values, { ring: { words } }) => {
    // Records know the index only.
    const wanted = values.filter(({ name }) => !name).map(({ index }) => index ?? 0);
    return (at) => wanted.some((index) => index === 0 || index === words[(at + field.ifindex) >>> 2]);
  },
  uuid: (values) => {
    const wanted = new Set(values.map(numberOfUuid));
    return (_, number) => wanted.has(number);
  },
};
