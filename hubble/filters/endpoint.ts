// Filters by what an end of the flow is: pod, service, workload, identity, cluster.
import { RequestError } from '../errors.ts';
import type { Endpoint, Flow, Workload } from '../types.ts';
import type { FieldCompilers } from './compile.ts';

type End = (flow: Flow) => Endpoint | null | undefined;

const source: End = (flow) => flow.source;
const destination: End = (flow) => flow.destination;

/** "ns/prefix"; without a slash the namespace is "default", an empty part is any. */
function parseNamePrefix(field: string, value: string): { namespace: string; prefix: string } {
  if (value === '') throw new RequestError(`invalid ${field} filter: an empty name; expected [namespace/]prefix`);
  const slash = value.indexOf('/');
  return slash < 0 ? { namespace: 'default', prefix: value } : { namespace: value.slice(0, slash), prefix: value.slice(slash + 1) };
}

const named = (field: string, nameOf: (flow: Flow) => { namespace?: string; name?: string } | null | undefined) => (values: readonly string[]) => {
  const wanted = values.map((value) => parseNamePrefix(field, value));
  return (flow: Flow): boolean => {
    const { namespace = '', name = '' } = nameOf(flow) ?? {};
    if (namespace === '' && name === '') return false;
    return wanted.some((want) => (want.namespace === '' || want.namespace === namespace) && name.startsWith(want.prefix));
  };
};

const pod = (field: string, end: End) => named(field, (flow) => {
  const endpoint = end(flow);
  return endpoint && { namespace: endpoint.namespace, name: endpoint.pod_name };
});

const workload = (end: End) => (values: readonly Workload[]) => (flow: Flow): boolean =>
  (end(flow)?.workloads ?? []).some((one) => values.some((want) =>
    (!want.name || want.name === one.name) && (!want.kind || want.kind === one.kind)));

const oneOf = <Value>(end: End, valueOf: (endpoint: Endpoint) => Value) => (values: readonly Value[]) => {
  const wanted = new Set(values);
  return (flow: Flow): boolean => {
    const endpoint = end(flow);
    return endpoint != null && wanted.has(valueOf(endpoint));
  };
};

export const endpointFields: FieldCompilers = {
  source_pod: pod('source_pod', source),
  destination_pod: pod('destination_pod', destination),
  source_service: named('source_service', (flow) => flow.source_service),
  destination_service: named('destination_service', (flow) => flow.destination_service),
  source_workload: workload(source),
  destination_workload: workload(destination),
  source_identity: oneOf(source, (endpoint) => endpoint.identity ?? 0),
  destination_identity: oneOf(destination, (endpoint) => endpoint.identity ?? 0),
  source_cluster_name: oneOf(source, (endpoint) => endpoint.cluster_name ?? ''),
  destination_cluster_name: oneOf(destination, (endpoint) => endpoint.cluster_name ?? ''),
};
