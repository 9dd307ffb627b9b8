// Filters by DNS name, node name, uuid, trace and interface.
import { RequestError } from '../errors.ts';
import type { Flow } from '../types.ts';
import type { FieldCompilers } from './compile.ts';
import { compileNamePattern } from './patterns.ts';

const withoutDot = (name: string): string => name.replace(/\.$/, '');

const fqdn = (field: string, namesOf: (flow: Flow) => string[] | undefined) => (values: readonly string[]) => {
  const patterns = values.map((value) => compileNamePattern(field, withoutDot(value)));
  return (flow: Flow): boolean => (namesOf(flow) ?? []).some((name) => {
    const lower = withoutDot(name.toLowerCase());
    return patterns.some((matches) => matches(lower));
  });
};

/** "[cluster/]node"; an empty part is any, no slash means the cluster "default". */
function nodeName(values: readonly string[]): (flow: Flow) => boolean {
  const patterns = values.map((value) => {
    if (value === '') throw new RequestError('invalid node_name filter: an empty name');
    const slash = value.indexOf('/');
    const cluster = slash < 0 ? 'default' : value.slice(0, slash) || '*';
    return compileNamePattern('node_name', `${cluster}/${value.slice(slash + 1) || '*'}`);
  });
  return (flow) => {
    const name = (flow.node_name ?? '').toLowerCase();
    if (name === '') return false;
    const full = name.includes('/') ? name : `default/${name}`;
    return patterns.some((matches) => matches(full));
  };
}

export const nameFields: FieldCompilers = {
  source_fqdn: fqdn('source_fqdn', (flow) => flow.source_names),
  destination_fqdn: fqdn('destination_fqdn', (flow) => flow.destination_names),
  node_name: nodeName,
  uuid: (values) => {
    const wanted = new Set(values);
    return (flow) => wanted.has(flow.uuid ?? '');
  },
  trace_id: (values) => {
    const wanted = new Set(values);
    return (flow) => wanted.has(flow.trace_context?.parent?.trace_id ?? '');
  },
  ip_trace_id: (values) => {
    const wanted = new Set(values.map(String));
    return (flow) => flow.ip_trace_id != null && wanted.has(String(flow.ip_trace_id.trace_id ?? 0));
  },
  interface: (values) => (flow) => {
    const have = flow.interface;
    return have != null && values.some((want) => (!want.index || want.index === have.index) && (!want.name || want.name === have.name));
  },
};
