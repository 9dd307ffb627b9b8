// Fields of a filter on the rows of what a proxy did: what bytes of the row answer first, what its texts answer last. Fields whose
// bytes mean the same as in a record are those of raw.ts.
import { accessParts } from '../access-flow.ts';
import { accessField, accessKind } from '../access-row.ts';
import type { Entries } from '../entries.ts';
import { eventType, verdict, type Flow, type FlowFilter } from '../types.ts';
import { compileField, type Field } from './compile.ts';
import type { RawPredicate } from './raw.ts';

/** These have to read the texts. */
const textFields = new Set<Field>(['http_method', 'http_path', 'http_url', 'http_header']);
export const isTextField = (field: Field): boolean => textFields.has(field);

const same = new Set<Field>([
  'source_ip', 'destination_ip', 'source_port', 'destination_port', 'ip_version', 'traffic_direction', 'reply', 'source_identity', 'destination_identity', 'uuid',
  'source_pod', 'source_label', 'source_workload', 'source_cluster_name', 'source_service', 'source_fqdn',
  'destination_pod', 'destination_label', 'destination_workload', 'destination_cluster_name', 'destination_service', 'destination_fqdn',
]);

/** By each value of the byte at `offset`. */
function byByte(offset: number, { ring: { bytes } }: Entries, matches: (flow: Flow) => boolean, flowOf: (value: number) => Flow): RawPredicate {
  const table = Array.from({ length: 256 }, (_, value) => matches(flowOf(value)));
  return (at) => table[bytes[at + offset]!] === true;
}

/** Undefined: as of a record. */
export function compileAccessField(field: Field, filter: FlowFilter, entries: Entries): RawPredicate | undefined {
  if (same.has(field)) return undefined;
  const matches = compileField(field, filter);
  const { ring, lookups } = entries;
  switch (field) {
    case 'verdict': return byByte(accessField.verdict, entries, matches, (value) => ({ verdict: value }));
    case 'protocol': return byByte(accessField.kind, entries, matches, (kind) => ({ l4: { TCP: {} }, l7: kind === accessKind.tls ? {} : { http: {} } }));
    case 'drop_reason_desc': return byByte(accessField.reason, entries, matches, (reason) => ({ verdict: reason === 0 ? verdict.forwarded : verdict.dropped, drop_reason_desc: reason }));
    case 'http_status_code': return (at) => ring.bytes[at + accessField.kind] !== accessKind.tls && matches({ l7: { http: { code: ring.words[(at + accessField.code) >>> 2]! } } });
    case 'trace_id': return (_, number) => matches({ trace_context: { parent: { trace_id: ring.detailOf(number).traceId } } });
    default: {
      if (textFields.has(field)) return (at, number) => ring.bytes[at + accessField.kind] !== accessKind.tls && matches(accessParts(ring, at, ring.detailOf(number)));
      const always = matches({ node_name: lookups.nodeName, IP: {}, l4: { TCP: {} }, event_type: { type: eventType.l7 } });
      return () => always;
    }
  }
}
