// Context options of Hubble's metrics: which names of a flow's ends become labels, as in `drop:sourceContext=pod|ip;labelsContext=source_namespace`.
import { RequestError } from '../errors.ts';
import { reservedIdentityName } from '../identity.ts';
import type { Endpoint, Flow } from '../types.ts';

type Side = 'source' | 'destination';
type Name = (flow: Flow, side: Side) => string;

const endOf = (flow: Flow, side: Side): Endpoint => flow[side] ?? {};
const pod: Name = (flow, side) => { const { namespace, pod_name: name = '' } = endOf(flow, side); return name === '' ? '' : namespace ? `${namespace}/${name}` : name; };
const workload: Name = (flow, side) => endOf(flow, side).workloads?.[0]?.name ?? '';
const labelValue = (end: Endpoint, keys: readonly string[]): string => {
  for (const key of keys) {
    const label = end.labels?.find((one) => one.startsWith(`${key}=`));
    if (label !== undefined) return label.slice(key.length + 1);
  }
  return '';
};
const app: Name = (flow, side) => labelValue(endOf(flow, side), ['k8s:app.kubernetes.io/name', 'k8s:k8s-app', 'k8s:app']);
const ip: Name = (flow, side) => flow.IP?.[side] ?? '';

/** For sourceContext and destinationContext; several with `|` between: the first that says something. */
const contexts: Readonly<Record<string, Name>> = {
  identity: (flow, side) => (endOf(flow, side).labels ?? []).join(','),
  namespace: (flow, side) => endOf(flow, side).namespace ?? '',
  pod,
  'pod-name': (flow, side) => endOf(flow, side).pod_name ?? '',
  dns: (flow, side) => (side === 'source' ? flow.source_names : flow.destination_names)?.join(',') ?? '',
  ip,
  'reserved-identity': (flow, side) => { const name = reservedIdentityName(endOf(flow, side).identity ?? 0); return name === undefined ? '' : `reserved:${name}`; },
  workload: (flow, side) => { const { namespace } = endOf(flow, side); const name = workload(flow, side); return name === '' || !namespace ? name : `${namespace}/${name}`; },
  'workload-name': workload,
  app,
};

const perEnd: Readonly<Record<string, Name>> = {
  ip, pod: contexts['pod-name']!, namespace: contexts['namespace']!, workload, workload_kind: (flow, side) => endOf(flow, side).workloads?.[0]?.kind ?? '', app,
};
const labelContexts: Readonly<Record<string, (flow: Flow) => string>> = {
  ...Object.fromEntries((['source', 'destination'] as const).flatMap((side) => Object.entries(perEnd).map(([name, of]) => [`${side}_${name}`, (flow: Flow) => of(flow, side)]))),
  traffic_direction: (flow) => ['unknown', 'ingress', 'egress'][flow.traffic_direction ?? 0] ?? 'unknown',
};

export interface Context { readonly names: readonly string[]; readonly values: (flow: Flow) => readonly string[] }
/** `options`: those of the metric itself, with their values. */
export interface MetricWanted { readonly metric: string; readonly context: Context; readonly options: ReadonlyMap<string, string> }

/** `flow`, `drop:sourceContext=pod|ip;destinationContext=workload`, ... `optionsOf`: those of a metric, beside the contexts. Throws RequestError. */
export function parseMetric(text: string, optionsOf: (metric: string) => readonly string[]): MetricWanted {
  const [metric = '', options = ''] = text.split(/:(.*)/s, 2);
  const names: string[] = [];
  const parts: ((flow: Flow) => string)[] = [];
  const known = optionsOf(metric);
  const chosen = new Map<string, string>();
  for (const option of options.split(';').filter((one) => one !== '')) {
    const [key = '', value = ''] = option.split('=', 2);
    if (key === 'sourceContext' || key === 'destinationContext') {
      const side = key === 'sourceContext' ? 'source' : 'destination';
      const wanted = value.split('|').map((name) => contexts[name] ?? fail(text, `${name} is no context; known are ${Object.keys(contexts).join(', ')}`));
      names.push(side);
      parts.push((flow) => wanted.reduce((found, of) => (found === '' ? of(flow, side) : found), ''));
    } else if (key === 'labelsContext') {
      for (const name of value.split(',')) {
        names.push(name);
        parts.push(labelContexts[name] ?? fail(text, `${name} is no label; known are ${Object.keys(labelContexts).join(', ')}`));
      }
    } else if (known.includes(key)) chosen.set(key, value);
    else fail(text, `${key} is no option; known are ${['sourceContext', 'destinationContext', 'labelsContext', ...known].join(', ')}`);
  }
  return { metric, context: { names, values: (flow) => parts.map((of) => of(flow)) }, options: chosen };
}

function fail(text: string, why: string): never { throw new RequestError(`metric ${text}: ${why}`); }
