// Requests by who asked whom: how many, how many failed, how long they took. Of a live agent (ring.ts) or of flows from anywhere.
import { reservedIdentityName } from '../identity.ts';
import type { Endpoint, Flow } from '../types.ts';
import { bucketOf, buckets, percentileMs } from './latency.ts';
import { routeOfUrl } from './route.ts';

export const requestGroupings = ['workload', 'pod', 'method', 'route'] as const;
export type RequestGrouping = typeof requestGroupings[number];

export interface EndName { readonly workload: string; readonly pod: string }
export interface RequestKind { readonly source: EndName; readonly destination: EndName; readonly method: string; readonly route: string }

export interface RequestCounts { total: number; errors: number; forbidden: number; unanswered: number; readonly latencies: Uint32Array }

export interface RequestRow {
  readonly source: string;
  readonly destination: string;
  readonly method?: string;
  readonly route?: string;
  readonly requests: number;
  readonly perSecond: number;
  /** Share of those that were answered, with neither 5xx nor 403. */
  readonly success: number;
  /** 5xx. */
  readonly errors: number;
  /** 403. */
  readonly forbidden: number;
  /** The connection broke before a response began. */
  readonly unanswered: number;
  readonly p50Ms?: number;
  readonly p95Ms?: number;
  readonly p99Ms?: number;
}

export interface RequestReport {
  /** That the rates are of. */
  readonly seconds: number;
  /** Requests of more groups than are kept. */
  readonly others: number;
  readonly rows: readonly RequestRow[];
}

export const noCounts = (): RequestCounts => ({ total: 0, errors: 0, forbidden: 0, unanswered: 0, latencies: new Uint32Array(buckets) });

export function countRequest(counts: RequestCounts, code: number, latencyNs: number): void {
  counts.total += 1;
  if (code === 0) counts.unanswered += 1;
  else if (code === 403) counts.forbidden += 1;
  else if (code >= 500) counts.errors += 1;
  counts.latencies[bucketOf(latencyNs)]! += 1;
}

const qualified = (namespace: string | undefined, name: string): string => (namespace ? `${namespace}/${name}` : name);

export function endNameOf(end: Endpoint, address: string): EndName {
  const other = reservedIdentityName(end.identity ?? 0) ?? address;
  const pod = end.pod_name ? qualified(end.namespace, end.pod_name) : undefined;
  const workload = end.workloads?.[0]?.name;
  return { workload: workload ? qualified(end.namespace, workload) : pod ?? other, pod: pod ?? other };
}

function columnsOf(by: RequestGrouping, { source, destination, method, route }: RequestKind): Pick<RequestRow, 'source' | 'destination' | 'method' | 'route'> {
  const end = by === 'pod' ? 'pod' : 'workload';
  return { source: source[end], destination: destination[end], ...((by === 'method' || by === 'route') && { method }), ...(by === 'route' && { route }) };
}

const mostRows = 5_000;

export class RequestTable {
  readonly #by: RequestGrouping;
  readonly #rows = new Map<string, { readonly columns: ReturnType<typeof columnsOf>; readonly counts: RequestCounts }>();
  #others = 0;

  constructor(by: RequestGrouping) { this.#by = by; }

  /** Responses of HTTP count; a request that is told apart from its response says nothing more. */
  addFlow({ l7, source = {}, destination = {}, IP: ip = {} }: Flow): void {
    const http = l7?.http;
    if (http == null || l7?.type !== 2) return;
    const kind = { source: endNameOf(destination, ip.destination ?? ''), destination: endNameOf(source, ip.source ?? ''), method: http.method ?? '', route: routeOfUrl(http.url ?? '') };
    const counts = this.#countsOf(kind, 1);
    if (counts !== undefined) countRequest(counts, http.code ?? 0, Number(l7.latency_ns ?? 0));
  }

  add(kind: RequestKind, more: RequestCounts): void {
    const counts = this.#countsOf(kind, more.total);
    if (counts === undefined) return;
    for (const key of ['total', 'errors', 'forbidden', 'unanswered'] as const) counts[key] += more[key];
    more.latencies.forEach((count, bucket) => { counts.latencies[bucket]! += count; });
  }

  #countsOf(kind: RequestKind, total: number): RequestCounts | undefined {
    const columns = columnsOf(this.#by, kind);
    const key = Object.values(columns).join('\u0000');
    const known = this.#rows.get(key);
    if (known !== undefined) return known.counts;
    if (this.#rows.size >= mostRows) {
      this.#others += total;
      return undefined;
    }
    const counts = noCounts();
    this.#rows.set(key, { columns, counts });
    return counts;
  }

  /** The busiest first. */
  report(seconds: number): RequestReport {
    const rows = [...this.#rows.values()].map(({ columns, counts: { total, errors, forbidden, unanswered, latencies } }): RequestRow => {
      const [p50Ms, p95Ms, p99Ms] = [0.5, 0.95, 0.99].map((quantile) => percentileMs(latencies, quantile));
      return {
        ...columns, requests: total, perSecond: total / seconds, success: (total - errors - forbidden - unanswered) / total, errors, forbidden, unanswered,
        ...(p50Ms !== undefined && { p50Ms }), ...(p95Ms !== undefined && { p95Ms }), ...(p99Ms !== undefined && { p99Ms }),
      };
    });
    return { seconds, others: this.#others, rows: rows.sort((a, b) => b.requests - a.requests || (`${a.source} ${a.destination}` < `${b.source} ${b.destination}` ? -1 : 1)) };
  }
}
