// The two ends of a flow as text: pod, service, DNS name or address, with port and identity.
import { reservedIdentityName } from '../identity.ts';
import type { Endpoint, Flow, Service } from '../types.ts';

export interface EndOptions {
  /** Names instead of addresses. */
  readonly translate: boolean;
  readonly numeric: boolean;
}

export interface End { readonly host: string; readonly port: string; readonly identity: string }

export function endsOf(flow: Flow, options: EndOptions): { readonly source: End; readonly destination: End } {
  const ports = flow.l4?.TCP ?? flow.l4?.UDP ?? flow.l4?.SCTP;
  return {
    source: end(flow.IP?.source ?? '', ports?.source_port, flow.source, flow.source_service, flow.source_names, options),
    destination: end(flow.IP?.destination ?? '', ports?.destination_port, flow.destination, flow.destination_service, flow.destination_names, options),
  };
}

function end(address: string, port: number | undefined, endpoint: Endpoint | undefined, service: Service | undefined, names: readonly string[] | undefined, options: EndOptions): End {
  const name = options.translate && !options.numeric ? nameOf(endpoint, service, names) : undefined;
  const host = name ?? address;
  return {
    host: port && name === undefined && host.includes(':') ? `[${host}]` : host,
    port: port ? String(port) : '',
    identity: endpoint == null ? '' : identityText(endpoint.identity ?? 0, options.numeric),
  };
}

function nameOf(endpoint: Endpoint | undefined, service: Service | undefined, names: readonly string[] | undefined): string | undefined {
  // Hubble prints the service's namespace with the pod's name; the two differ only in made-up flows.
  const namespace = service?.namespace || endpoint?.namespace;
  if (endpoint?.pod_name) return qualified(namespace, endpoint.pod_name);
  if (service?.name) return qualified(namespace, service.name);
  return names != null && names.length > 0 ? names.join(',') : undefined;
}

const qualified = (namespace: string | undefined, name: string): string => (namespace ? `${namespace}/${name}` : name);

function identityText(id: number, numeric: boolean): string {
  const name = numeric ? undefined : reservedIdentityName(id);
  return name === undefined ? `(ID:${id})` : `(${name})`;
}
