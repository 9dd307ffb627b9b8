// Services, slices and endpoints -> what each name of a namespace stands for. Pure, one name at a time: a change is derived again
// for the names it touches only. A Service wins over a pod or Deployment of its name.
import type { ServiceRow, SliceRow } from '../service/tables.ts';
import type { NameEndpoint, NameRow, NameService } from './server/rows.ts';

/** What a name needs to know of an endpoint, of this node or another. */
export interface Named {
  readonly namespace: string;
  readonly name: string;
  readonly ipv4: string;
  readonly ipv6: string;
  readonly owner?: { readonly name: string };
}

/** The names that an endpoint gives: its own, and its Deployment's. */
export const keysOf = ({ namespace, name, owner }: Named): string[] =>
  [...new Set([name, ...(owner === undefined ? [] : [owner.name])])].map((one) => `${namespace}/${one}`);

const endpointsOf = (slices: readonly SliceRow[], publishNotReady: boolean): NameEndpoint[] => slices.flatMap(({ endpoints, ports }) =>
  endpoints.filter(({ ready }) => ready || publishNotReady).map(({ addresses, hostname }) => ({ addresses, ports, ...(hostname === undefined ? {} : { hostname }) })));

function serviceOf({ clusterIps, externalName, ports, headless, publishNotReady }: ServiceRow, slices: readonly SliceRow[]): NameService {
  return {
    clusterIps, ports: ports.map(({ name, protocol, port }) => ({ name, protocol, port })), endpoints: headless ? endpointsOf(slices, publishNotReady) : [],
    ...(externalName === undefined ? {} : { externalName }),
  };
}

/** `endpoints`: those that have this name; undefined: nothing has. */
export function nameOf(key: string, service: ServiceRow | undefined, slices: readonly SliceRow[], endpoints: readonly Named[]): NameRow | undefined {
  if (service === undefined && endpoints.length === 0) return undefined;
  const addresses = (list: readonly Named[]): string[] => list.flatMap(({ ipv4, ipv6 }) => [ipv4, ipv6]).sort();
  const own = endpoints.filter(({ namespace, name }) => `${namespace}/${name}` === key);
  return {
    key, ...(service === undefined ? {} : { service: serviceOf(service, slices) }),
    ...(service !== undefined || endpoints.length === 0 ? {} : { workloads: addresses(endpoints) }), ...(own.length === 0 ? {} : { pod: addresses(own) }),
  };
}
