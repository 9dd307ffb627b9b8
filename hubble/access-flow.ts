// A row of what a proxy did (access-row.ts) -> Flow: a request, its response, or a connection by its TLS name. Names as everywhere, of the row's time.
import { ipText } from './address.ts';
import { accessField, accessKind, deniedReason } from './access-row.ts';
import { endpointOf, namesFields, policyOf, serviceFields, protocolNumber, type Lookups } from './flow.ts';
import { field, timeAt } from './record.ts';
import type { AccessDetail, Ring } from './ring.ts';
import { textsOf } from './texts.ts';
import { timestampOfNs } from './time.ts';
import { eventType, flowType, verdict, type Flow, type HttpHeader, type Layer7 } from './types.ts';
import { uuidOf } from './uuid.ts';

/** `enum L7FlowType`. */
const l7Type = { request: 1, response: 2 } as const;
const nsPerMs = 1_000_000n;

/** What filters need of a row beside its bytes. */
export interface AccessParts extends Pick<Flow, 'verdict' | 'drop_reason_desc' | 'l7' | 'trace_context' | 'event_type' | 'l4' | 'Summary'> {}

/** `at`: where the row begins in the ring's bytes. */
export function accessParts({ bytes, view }: Ring, at: number, detail: AccessDetail): AccessParts {
  const kind = bytes[at + accessField.kind]!;
  const dropped = bytes[at + accessField.verdict] === verdict.dropped;
  const durationNs = view.getBigUint64(at + accessField.durationNs, true);
  const texts = textsOf(detail.texts);
  return {
    verdict: bytes[at + accessField.verdict]!,
    ...(dropped && { drop_reason_desc: deniedReason }),
    event_type: { type: eventType.l7 },
    l4: { TCP: { source_port: view.getUint16(at + field.sport, false), destination_port: view.getUint16(at + field.dport, false) } },
    ...(detail.traceId !== '' && { trace_context: { parent: { trace_id: detail.traceId } } }),
    ...(kind === accessKind.tls ? tlsOf(texts, durationNs, dropped) : httpOf(texts, view.getUint32(at + accessField.code, true), durationNs, kind === accessKind.response)),
  };
}

function httpOf([flags = '', method = '', url = '', protocol = '', mismatched = '', ...rest]: readonly string[], code: number, durationNs: bigint, isResponse: boolean): { l7: Layer7; Summary: string } {
  const headers: HttpHeader[] = [];
  for (let index = 0; index < rest.length; index += 2) headers.push({ key: rest[index]!, value: rest[index + 1]! });
  const asked = { method, url, protocol, headers };
  const notes = [...(mismatched === '' ? [] : [`headers that did not match: ${mismatched}`]), ...(isResponse && flags !== '' ? [flags] : [])];
  const line = isResponse ? `${protocol} ${code} ${durationNs / nsPerMs}ms (${method} ${url})` : `${protocol} ${method} ${url}`;
  return {
    l7: isResponse ? { type: l7Type.response, latency_ns: Number(durationNs), http: { code, ...asked } } : { type: l7Type.request, http: asked },
    Summary: [line, ...notes].join('; '),
  };
}

/** Hubble's messages have no place for the name itself. */
function tlsOf([flags = '', sni = '']: readonly string[], durationNs: bigint, dropped: boolean): { l7: Layer7; Summary: string } {
  const line = `TLS ${sni === '' ? 'without a server name' : sni}${dropped ? ', refused: no rule allows the name' : ` ${durationNs / nsPerMs}ms`}`;
  return { l7: { type: l7Type.request, latency_ns: Number(durationNs) }, Summary: [line, ...(flags === '' || dropped ? [] : [flags])].join('; ') };
}

/** `number`: of its entry in the ring. */
export function toAccessFlow(ring: Ring, at: number, detail: AccessDetail, lookups: Lookups, number: number): Flow {
  const { bytes, words, view } = ring;
  const timeNs = timeAt(words, at);
  const source = ipText(bytes.subarray(at + field.saddr, at + field.saddr + 16));
  const destination = ipText(bytes.subarray(at + field.daddr, at + field.daddr + 16));
  const isReply = bytes[at + field.isReply] !== 0;
  const parts = accessParts(ring, at, detail);
  const { source_port: sport = 0, destination_port: dport = 0 } = parts.l4!.TCP!;
  const proxyPort = words[(at + accessField.proxyPort) >>> 2]!;
  const startNs = view.getBigUint64(at + accessField.startUnixNs, true);
  const { Summary: summary = '', ...fields } = parts;
  return {
    time: timestampOfNs(isReply ? startNs + view.getBigUint64(at + accessField.durationNs, true) : startNs),
    IP: { source: source.text, destination: destination.text, ipVersion: source.version === 4 ? 1 : 2 },
    source: endpointOf(source.text, words[(at + field.sourceIdentity) >>> 2]!, timeNs, lookups),
    destination: endpointOf(destination.text, words[(at + field.destinationIdentity) >>> 2]!, timeNs, lookups),
    ...serviceFields({ protocol: protocolNumber.TCP, sport, dport }, source.text, destination.text, lookups),
    ...namesFields(source.text, destination.text, timeNs, lookups),
    Type: flowType.l7,
    node_name: lookups.nodeName,
    ...fields,
    ...(fields.drop_reason_desc !== undefined && { drop_reason: fields.drop_reason_desc }),
    reply: isReply, is_reply: { value: isReply },
    traffic_direction: bytes[at + field.direction]!,
    ...(proxyPort !== 0 && { proxy_port: proxyPort }),
    ...judgedBy(bytes[at + field.direction] === 1 ? 'ingress' : 'egress', detail),
    uuid: uuidOf(number),
    Summary: summary,
  };
}

/** Who allowed it; refused by none of them: all whose rules were tried. */
function judgedBy(side: 'ingress' | 'egress', { rules: { rules }, rule, denied }: AccessDetail): Partial<Flow> {
  const took = denied ? rules : rules.slice(rule, rule + 1).filter(() => rule >= 0);
  if (took.length === 0) return {};
  const policies = new Map(took.map(({ ref: { policy } }) => [`${policy.kind}/${policy.namespace}/${policy.name}`, policyOf(policy)]));
  const logs = [...new Set(took.flatMap(({ ref: { log } }) => log ?? []))];
  return { [`${side}_${denied ? 'denied' : 'allowed'}_by`]: [...policies.values()], ...(logs.length > 0 && { policy_log: logs }) };
}
