// Hubble's metrics of HTTP and DNS, with its names, labels and options.
import { rcodeText } from '../dns.ts';
import { verdict, type Flow } from '../types.ts';
import type { MetricWanted } from './context.ts';
import type { Registry } from './registry.ts';

export type Count = (flow: Flow) => void;

/** `options`: those that it knows beside the contexts. */
export interface L7Metric { readonly options: readonly string[]; readonly count: (wanted: MetricWanted, registry: Registry) => Count }

/** `enum L7FlowType`. */
const [request, response] = [1, 2];
const nsPerSecond = 1e9;
/** As Prometheus' client for Go has them, in seconds. */
const defaultBuckets = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];

/** At whose side it was seen. */
const reporterOf = ({ traffic_direction: direction }: Flow): string => (direction === 1 ? 'server' : direction === 2 ? 'client' : 'unknown');
const secondsOf = ({ l7 }: Flow): number => Number(l7?.latency_ns ?? 0) / nsPerSecond;

const http: L7Metric = {
  options: [],
  count: ({ context: { names, values } }, registry) => {
    const requests = registry.counter('hubble_http_requests_total', 'Count of HTTP requests by methods', ['method', 'protocol', 'reporter', ...names]);
    const responses = registry.counter('hubble_http_responses_total', 'Count of HTTP responses by methods and status codes', ['method', 'status', 'reporter', ...names]);
    const durations = registry.histogram('hubble_http_request_duration_seconds', 'Quantiles of HTTP request duration in seconds', ['method', 'reporter', ...names], defaultBuckets);
    return (flow) => {
      const { http: record, type } = flow.l7 ?? {};
      if (record == null) return;
      const [method, reporter, context] = [record.method ?? '', reporterOf(flow), values(flow)];
      if (type === request) requests.add([method, record.protocol ?? '', reporter, ...context]);
      else if (type === response) {
        responses.add([method, String(record.code ?? 0), reporter, ...context]);
        durations.observe([method, reporter, ...context], secondsOf(flow));
      }
    };
  },
};

/** Of responses only; its contexts are from the client's side, as if the request were asked. */
const httpV2: L7Metric = {
  options: ['exemplars'],
  count: ({ context: { names, values }, options }, registry) => {
    const exemplars = options.get('exemplars') === 'true';
    const requests = registry.counter('hubble_http_requests_total', 'Count of HTTP requests by methods', ['method', 'protocol', 'status', 'reporter', ...names]);
    const durations = registry.histogram('hubble_http_request_duration_seconds', 'Quantiles of HTTP request duration in seconds', ['method', 'reporter', ...names], defaultBuckets);
    return (flow) => {
      const { http: record, type } = flow.l7 ?? {};
      if (record == null || type !== response) return;
      const [method, reporter, context] = [record.method ?? '', reporterOf(flow), values(turned(flow))];
      const traceId = exemplars ? flow.trace_context?.parent?.trace_id : undefined;
      requests.add([method, record.protocol ?? '', String(record.code ?? 0), reporter, ...context], 1, traceId);
      durations.observe([method, reporter, ...context], secondsOf(flow), traceId);
    };
  },
};

function turned(flow: Flow): Flow {
  const { source, destination, source_names: sourceNames, destination_names: destinationNames, source_service: sourceService, destination_service: destinationService, IP: ip } = flow;
  return {
    ...flow, ...(destination && { source: destination }), ...(source && { destination: source }), source_names: destinationNames ?? [], destination_names: sourceNames ?? [],
    ...(sourceService && { destination_service: sourceService }), ...(destinationService && { source_service: destinationService }),
    ...(ip && { IP: { ...ip, source: ip.destination ?? '', destination: ip.source ?? '' } }),
  };
}

/** A query that passed makes no flow of its own: its answer counts it. */
const dns: L7Metric = {
  options: ['query', 'ignoreAAAA'],
  count: ({ context: { names, values }, options }, registry) => {
    const withQuery = options.has('query');
    const ignoreAaaa = options.has('ignoreAAAA');
    const labels = ['rcode', 'qtypes', 'ips_returned', ...(withQuery ? ['query'] : []), ...names];
    const queries = registry.counter('hubble_dns_queries_total', 'Number of DNS queries observed', labels);
    const responses = registry.counter('hubble_dns_responses_total', 'Number of DNS responses observed', labels);
    const types = registry.counter('hubble_dns_response_types_total', 'Number of DNS responses observed by type', ['type', 'qtypes', ...(withQuery ? ['query'] : []), ...names]);
    return (flow) => {
      const { dns: record, type } = flow.l7 ?? {};
      if (record == null) return;
      const qtypes = (record.qtypes ?? []).join(',');
      if (ignoreAaaa && qtypes === 'AAAA') return;
      const tail = [...(withQuery ? [record.query ?? ''] : []), ...values(flow)];
      if (flow.verdict === verdict.dropped) { queries.add(['Policy denied', qtypes, '0', ...tail]); return; }
      queries.add(['', qtypes, '0', ...tail]);
      if (type !== response) return;
      responses.add([rcodeText(record.rcode ?? 0), qtypes, String((record.ips ?? []).length), ...tail]);
      for (const one of new Set(record.rrtypes)) types.add([one, qtypes, ...tail]);
    };
  },
};

export const l7Metrics: Readonly<Record<string, L7Metric>> = { http, httpV2, dns };
