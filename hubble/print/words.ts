// Numbers of a flow as the words that Hubble prints for them.
import { enumNames } from '../proto.ts';
import { eventType, verdict, type Flow } from '../types.ts';

const verdicts = enumNames('flow.Verdict');
const directions = enumNames('flow.TrafficDirection');
const dropReasons = enumNames('flow.DropReason');
const l7Types = enumNames('flow.L7FlowType');
const authTypes = enumNames('flow.AuthType');
const lostSources = enumNames('flow.LostEventSource');
const socketPoints = enumNames('flow.SocketTranslationPoint');

export const lostSourceText = (source: number): string => lostSources.get(source) ?? String(source);

/** By `CiliumEventType.sub_type` of a trace event. */
export const tracePoints = [
  'to-endpoint', 'to-proxy', 'to-host', 'to-stack', 'to-overlay', 'from-endpoint', 'from-proxy', 'from-host', 'from-stack',
  'from-overlay', 'from-network', 'to-network', 'from-crypto', 'to-crypto',
] as const;

/** By `Flow.policy_match_type`. */
const matchTypes = ['none', 'L3-Only', 'L3-L4', 'L4-Only', 'all', 'L3-Proto', 'Proto-Only'] as const;

/** By `SocketTranslationPoint`. */
const socketTexts: Readonly<Record<number, string>> = { 1: 'pre-xlate-fwd', 2: 'post-xlate-fwd', 3: 'pre-xlate-rev', 4: 'post-xlate-rev' };

/** Where the text is not just the enum's name in small letters. */
const dropTexts: Readonly<Record<number, string>> = {
  134: 'Invalid packet', 135: 'CT: Truncated or invalid header', 136: 'CT: Missing TCP ACK flag', 137: 'CT: Unknown L4 protocol',
  138: 'CT: Can\'t create entry from packet', 139: 'Unsupported L3 protocol', 142: 'Unknown L4 protocol',
  143: 'Unknown ICMPv4 code', 144: 'Unknown ICMPv4 type', 145: 'Unknown ICMPv6 code', 146: 'Unknown ICMPv6 type', 149: 'Invalid Geneve option',
  150: 'Unknown L3 target address', 151: 'Stale or unroutable IP', 153: 'Error while correcting L3 checksum', 154: 'Error while correcting L4 checksum',
  155: 'CT: Map insertion failed', 156: 'Invalid IPv6 extension header', 157: 'IP fragmentation not supported', 158: 'Service backend not found',
  160: 'No tunnel/encapsulation endpoint (datapath BUG!)', 162: 'Reached EDT rate-limiting drop horizon', 166: 'Unsupported L2 protocol',
  167: 'No mapping for NAT masquerade', 168: 'Unsupported protocol for NAT masquerade', 169: 'FIB lookup failed', 173: 'NAT not needed', 174: 'Is a ClusterIP',
  176: 'Forbidden ICMPv6 message', 177: 'Denied by LB src range check', 181: 'Policy denied by denylist', 182: 'VLAN traffic disallowed by VLAN filter',
  183: 'Incorrect VNI from VTEP', 184: 'Failed to update or lookup TC buffer', 185: 'No SID was found for the IP address', 187: 'L3 translation from IPv4 to IPv6 failed (NAT46)',
  188: 'L3 translation from IPv6 to IPv4 failed (NAT64)', 189: 'Authentication required', 190: 'No conntrack map found', 191: 'No nat map found', 192: 'Invalid ClusterID',
  193: 'Unsupported packet protocol for DSR encapsulation', 194: 'No egress gateway found', 195: 'Traffic is unencrypted', 196: 'TTL exceeded', 197: 'No node ID found',
  198: 'Rate limited', 199: 'IGMP handled', 200: 'IGMP subscribed', 202: 'Host datapath not ready', 203: 'Endpoint policy program not available',
  204: 'No Egress IP configured', 205: 'Punt to proxy',
};

export function dropText(reason: number): string {
  const name = dropReasons.get(reason);
  if (dropTexts[reason] !== undefined) return dropTexts[reason];
  if (name === undefined || reason === 0) return String(reason);
  return name[0] + name.slice(1).toLowerCase().replaceAll('_', ' ');
}

export function typeText(flow: Flow): string {
  if (flow.l7 != null) return l7Text(flow.l7);
  const { type, sub_type: subType = 0 } = flow.event_type ?? {};
  switch (type) {
    case eventType.trace: return tracePoints[subType] ?? String(subType);
    case eventType.drop: return dropText(subType);
    case eventType.policyVerdict: return `policy-verdict:${matchTypes[flow.policy_match_type ?? 0] ?? String(flow.policy_match_type)} ${directions.get(flow.traffic_direction ?? 0) ?? ''}`;
    case eventType.traceSock: return socketTexts[flow.sock_xlate_point ?? 0] ?? socketPoints.get(flow.sock_xlate_point ?? 0) ?? 'UNKNOWN';
    default: return 'UNKNOWN';
  }
}

function l7Text(l7: NonNullable<Flow['l7']>): string {
  const type = (l7Types.get(l7.type ?? 0) ?? 'unknown').toLowerCase();
  if (l7.http != null) return `http-${type}`;
  if (l7.dns != null) return `dns-${type} ${l7.dns.observation_source ?? ''}`.trimEnd();
  return `${l7.kafka != null ? 'kafka' : 'l7'}-${type}`;
}

export function verdictText(flow: Flow): string {
  if (flow.event_type?.type === eventType.policyVerdict) {
    switch (flow.verdict) {
      case verdict.forwarded: case verdict.redirected: return 'ALLOWED';
      case verdict.dropped: case verdict.error: return 'DENIED';
      case verdict.audit: return 'AUDITED';
      default: break;
    }
  }
  return verdicts.get(flow.verdict ?? 0) ?? String(flow.verdict);
}

/** What stands in parentheses at the end. */
export function summaryText(flow: Flow): string {
  const trace = flow.ip_trace_id != null && String(flow.ip_trace_id.trace_id ?? 0) !== '0' ? `IP Trace ID: ${String(flow.ip_trace_id.trace_id)}` : '';
  const auth = flow.auth_type ? `Auth: ${authTypes.get(flow.auth_type) ?? flow.auth_type}` : '';
  return [trace, flow.Summary ?? '', auth].filter((part) => part !== '').join('; ');
}

/** "EGRESS DENIED BY shop/web": who decided, in each direction. */
export function policyText(flow: Flow): string {
  const parts: string[] = [];
  for (const [words, policies] of [
    ['EGRESS ALLOWED', flow.egress_allowed_by], ['EGRESS DENIED', flow.egress_denied_by],
    ['INGRESS ALLOWED', flow.ingress_allowed_by], ['INGRESS DENIED', flow.ingress_denied_by],
  ] as const) {
    if (policies != null && policies.length > 0) {
      parts.push(`${words} BY ${policies.map(({ namespace, name = '' }) => (namespace ? `${namespace}/${name}` : name)).join(',')}`);
    }
  }
  return parts.join(' ');
}
