// Flows counted by who talks to whom, by workload, identity, service, port or verdict: connections that were opened, packets that were dropped.
import { reservedIdentityName } from '../hubble/identity.ts';
import { flowType, verdict, type Endpoint, type Flow, type Service } from '../hubble/types.ts';

export const groupings = ['edge', 'workload', 'identity', 'service', 'port', 'verdict'] as const;
export type Grouping = typeof groupings[number];

export interface TallyRow {
  /** As the columns of the grouping. */
  readonly names: readonly string[];
  readonly opened: number;
  readonly dropped: number;
}

export const columnsOf: Readonly<Record<Grouping, readonly string[]>> = {
  edge: ['SOURCE', 'DESTINATION', 'PORT'], workload: ['WORKLOAD'], identity: ['IDENTITY', 'LABELS'], service: ['SERVICE'], port: ['PORT'], verdict: ['VERDICT'],
};

/** What of a flow is needed here. */
export const talliedFields = [
  'verdict', 'Type', 'l4', 'is_reply', 'trace_reason', 'IP', 'source_names', 'destination_names', 'source_service', 'destination_service',
  ...['source', 'destination'].flatMap((side) => ['identity', 'namespace', 'pod_name', 'workloads', 'labels'].map((field) => `${side}.${field}`)),
];

const maxRows = 5_000;
const traceReasonNew = 1;

interface Side { readonly end: Endpoint; readonly ip: string; readonly service: Service | undefined }

const qualified = (namespace: string | undefined, name: string): string => (namespace ? `${namespace}/${name}` : name);

export function nameOf({ end, ip }: Side): string {
  const workload = end.workloads?.[0]?.name ?? end.pod_name;
  if (workload) return qualified(end.namespace, workload);
  return reservedIdentityName(end.identity ?? 0) ?? ip;
}

function namesOf(by: Grouping, from: Side, to: Side, flow: Flow): readonly string[] {
  const [protocol, l4] = Object.entries(flow.l4 ?? {}).find(([, value]) => value != null) ?? ['', undefined];
  const { source_port: source, destination_port: destination } = (l4 ?? {}) as { source_port?: number; destination_port?: number };
  const port = flow.is_reply?.value === true ? source : destination;
  const portText = port ? `${port}/${protocol}` : protocol;
  switch (by) {
    case 'edge': return [nameOf(from), nameOf(to), portText];
    case 'workload': return [nameOf(to)];
    case 'identity': return [String(to.end.identity ?? 0), (to.end.labels ?? []).join(',')];
    case 'service': return [to.service?.name ? qualified(to.service.namespace, to.service.name) : nameOf(to)];
    case 'port': return [portText];
    default: return [flow.verdict === verdict.dropped ? 'DROPPED' : 'FORWARDED'];
  }
}

export class Tally {
  readonly #by: Grouping;
  readonly #rows = new Map<string, { names: readonly string[]; opened: number; dropped: number }>();
  /** Flows of groups that found no place. */
  others = 0;
  lost = 0;

  constructor(by: Grouping) { this.#by = by; }

  count(flow: Flow): void {
    const dropped = flow.verdict === verdict.dropped;
    const reply = flow.is_reply?.value === true;
    // Of a connection that was let through only its beginning counts; servers that do not tell it have no reason.
    // What passed at layer 7 went in a connection that was told of.
    if (!dropped && (flow.Type === flowType.l7 || reply || (flow.trace_reason ?? 0) > traceReasonNew)) return;
    const source: Side = { end: flow.source ?? {}, ip: flow.IP?.source ?? '', service: flow.source_service };
    const destination: Side = { end: flow.destination ?? {}, ip: flow.IP?.destination ?? '', service: flow.destination_service };
    const names = namesOf(this.#by, reply ? destination : source, reply ? source : destination, flow);
    const key = names.join('\u0000');
    let row = this.#rows.get(key);
    if (row === undefined) {
      if (this.#rows.size >= maxRows) { this.others += 1; return; }
      row = { names, opened: 0, dropped: 0 };
      this.#rows.set(key, row);
    }
    if (dropped) row.dropped += 1;
    else row.opened += 1;
  }

  /** The busiest first. */
  rows(): TallyRow[] { return [...this.#rows.values()].sort((a, b) => b.opened + b.dropped - a.opened - a.dropped || (a.names.join() < b.names.join() ? -1 : 1)); }
}

export const successOf = ({ opened, dropped }: TallyRow): string => `${((opened / Math.max(1, opened + dropped)) * 100).toFixed(1)}%`;
