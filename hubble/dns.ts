// DNS record of the kernel -> Flow: what was asked, what was answered, what was refused. Names as everywhere, of the record's time.
import { dns_event, type DnsRecord } from '../bpf/types.gen.ts';
import { ipText } from './address.ts';
import { endpointOf, serviceFields, type Lookups } from './flow.ts';
import { timestampOfNs } from './time.ts';
import { eventType, flowType, verdict, type Flow } from './types.ts';
import { uuidOf } from './uuid.ts';

/** IANA, DNS parameters: those that people meet. */
const types: Readonly<Record<number, string>> = {
  1: 'A', 2: 'NS', 5: 'CNAME', 6: 'SOA', 12: 'PTR', 15: 'MX', 16: 'TXT', 28: 'AAAA', 33: 'SRV', 35: 'NAPTR', 43: 'DS', 48: 'DNSKEY', 64: 'SVCB', 65: 'HTTPS', 255: 'ANY',
};
const rcodes: readonly string[] = ['No Error', 'Format Error', 'Server Failure', 'Non-Existent Domain', 'Not Implemented', 'Query Refused'];
export const rcodeText = (code: number): string => rcodes[code] ?? String(code);
/** `enum L7FlowType`. */
const l7Type = { request: 1, response: 2 } as const;
const directions = { egress: 2 } as const;
/** IPPROTO_TCP. */
const tcp = 6;

export const dnsTypeText = (type: number): string => types[type] ?? `TYPE${type}`;

/** A name from the wire, with its final dot; other characters than those of host names as RFC 1035, 5.1 writes them. */
export function nameText(wire: Uint8Array, length: number): string {
  const text: string[] = [];
  for (let at = 0; at < length; at += 1 + wire[at]!) {
    const label = [...wire.subarray(at + 1, at + 1 + wire[at]!)];
    text.push(`${label.map((byte) => (/[-a-zA-Z0-9_]/.test(String.fromCharCode(byte)) ? String.fromCharCode(byte) : `\\${String(byte).padStart(3, '0')}`)).join('')}.`);
  }
  return text.length === 0 ? '.' : text.join('');
}

/** `addresses`: of the answer, 16 bytes each. */
export function toDnsFlow(record: DnsRecord, addresses: readonly Uint8Array[], lookups: Lookups, number: number): Flow {
  const timeNs = Number(record.time_ns);
  const refused = record.event === dns_event.DNS_REFUSED;
  const source = ipText(record.saddr.word);
  const destination = ipText(record.daddr.word);
  const query = nameText(record.name.wire, record.length);
  const type = dnsTypeText(record.type);
  const ips = addresses.map((word) => ipText(word).text);
  const answered = record.rcode === 0 ? `"${ips.join(',')}"${ips.length === 0 ? '' : ` TTL: ${record.ttl}`}` : `RCode: ${rcodeText(record.rcode)}`;
  return {
    time: timestampOfNs(lookups.toUnixNs(record.time_ns)),
    verdict: refused ? verdict.dropped : verdict.forwarded,
    IP: { source: source.text, destination: destination.text, ipVersion: source.version === 4 ? 1 : 2 },
    l4: { [record.protocol === tcp ? 'TCP' : 'UDP']: { source_port: record.sport, destination_port: record.dport } },
    source: endpointOf(source.text, record.source_identity, timeNs, lookups),
    destination: endpointOf(destination.text, record.destination_identity, timeNs, lookups),
    ...serviceFields({ protocol: record.protocol, sport: record.sport, dport: record.dport }, source.text, destination.text, lookups),
    Type: flowType.l7,
    node_name: lookups.nodeName,
    l7: {
      type: refused ? l7Type.request : l7Type.response, latency_ns: Number(record.latency_ns),
      dns: { query, ips, ...(ips.length === 0 ? {} : { ttl: record.ttl }), observation_source: record.protocol === tcp ? 'proxy' : 'kernel', rcode: record.rcode, qtypes: [type],
        // The kernel tells of addresses only.
        ...(ips.length === 0 ? {} : { rrtypes: [...new Set(ips.map((ip) => (ip.includes(':') ? 'AAAA' : 'A')))] }),
      },
    },
    reply: !refused, is_reply: { value: !refused },
    event_type: { type: eventType.l7 },
    traffic_direction: directions.egress,
    interface: { index: record.ifindex },
    uuid: uuidOf(number),
    Summary: refused ? `DNS Query ${query} ${type}, refused: no rule allows the name` : `DNS Answer ${answered} (${query} ${type})`,
  };
}
