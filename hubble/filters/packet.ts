// Filters by the packet and its verdict: protocol, ports, TCP flags, verdict, event type, direction, reply.
import { RequestError } from '../errors.ts';
import { verdict, type EventTypeFilter, type Flow, type Layer4, type TcpFlags } from '../types.ts';
import type { FieldCompilers } from './compile.ts';

const l4 = (name: keyof Layer4) => (flow: Flow): boolean => flow.l4?.[name] != null;
const l7 = (name: 'dns' | 'http' | 'kafka') => (flow: Flow): boolean => flow.l7?.[name] != null;

const protocols: ReadonlyMap<string, (flow: Flow) => boolean> = new Map([
  ['icmp', (flow) => l4('ICMPv4')(flow) || l4('ICMPv6')(flow)],
  ['icmpv4', l4('ICMPv4')], ['icmpv6', l4('ICMPv6')], ['tcp', l4('TCP')], ['udp', l4('UDP')], ['sctp', l4('SCTP')],
  ['vrrp', l4('VRRP')], ['igmp', l4('IGMP')], ['dns', l7('dns')], ['http', l7('http')], ['kafka', l7('kafka')],
]);

function protocol(values: readonly string[]): (flow: Flow) => boolean {
  const wanted = values.map((value) => {
    const matches = protocols.get(value.toLowerCase());
    if (matches === undefined) throw new RequestError(`invalid protocol filter: ${JSON.stringify(value)}; known are ${[...protocols.keys()].join(', ')}`);
    return matches;
  });
  return (flow) => wanted.some((matches) => matches(flow));
}

const port = (field: 'source_port' | 'destination_port') => (values: readonly string[]) => {
  const wanted = new Set(values.map((value) => {
    if (!/^[0-9]{1,5}$/.test(value) || Number(value) > 65535) throw new RequestError(`invalid ${field} filter: ${JSON.stringify(value)} is no port; expected 0 to 65535`);
    return Number(value);
  }));
  return (flow: Flow): boolean => {
    const ports = flow.l4?.TCP ?? flow.l4?.UDP ?? flow.l4?.SCTP;
    return ports != null && wanted.has(ports[field] ?? 0);
  };
};

const oneOf = (valueOf: (flow: Flow) => number | undefined) => (values: readonly number[]) => {
  const wanted = new Set(values);
  return (flow: Flow): boolean => wanted.has(valueOf(flow) ?? 0);
};

const flagNames = ['FIN', 'SYN', 'RST', 'PSH', 'ACK', 'URG', 'ECE', 'CWR', 'NS'] as const;

/** Every flag that the filter sets must be set; the others may be. */
const tcpFlags = (values: readonly TcpFlags[]) => {
  const wanted = values.map((value) => flagNames.filter((name) => value[name]));
  return (flow: Flow): boolean => {
    const flags = flow.l4?.TCP?.flags;
    return flags != null && wanted.some((names) => names.every((name) => flags[name]));
  };
};

const eventTypes = (values: readonly EventTypeFilter[]) => (flow: Flow): boolean => {
  const { type = 0, sub_type: subType = 0 } = flow.event_type ?? {};
  return flow.event_type != null && values.some((want) =>
    (!want.type || want.type === type) && (!want.match_sub_type || (want.sub_type ?? 0) === subType));
};

/** Drops that do not know count as no replies; other flows that do not know match neither. */
const reply = (values: readonly boolean[]) => (flow: Flow): boolean => {
  const known = flow.is_reply == null ? (flow.verdict === verdict.dropped ? false : undefined) : flow.is_reply.value ?? false;
  return known !== undefined && values.includes(known);
};

export const packetFields: FieldCompilers = {
  protocol,
  source_port: port('source_port'),
  destination_port: port('destination_port'),
  ip_version: oneOf((flow) => flow.IP?.ipVersion),
  encrypted: (values) => (flow) => flow.IP != null && values.includes(flow.IP.encrypted ?? false),
  tcp_flags: tcpFlags,
  verdict: oneOf((flow) => flow.verdict),
  drop_reason_desc: (values) => {
    const wanted = new Set(values);
    return (flow) => flow.verdict === verdict.dropped && wanted.has(flow.drop_reason_desc ?? 0);
  },
  event_type: eventTypes,
  traffic_direction: oneOf((flow) => flow.traffic_direction),
  reply,
};
