// A Service with a selector and its pods -> its EndpointSlices. Pure.
import { createHash } from 'node:crypto';
import type { ServicePod } from './pods.ts';
import type { ServicePort, ServiceRow, SliceEndpoint, SliceRow } from './tables.ts';

/** Undefined: this pod has no port of that name. */
function targetOf({ targetPort, protocol }: ServicePort, { namedPorts }: ServicePod): number | undefined {
  return typeof targetPort === 'number' ? targetPort : namedPorts.find((port) => port.name === targetPort && port.protocol === protocol)?.port;
}

function endpointOf(service: ServiceRow, { key, namespace, node, addresses, serving, terminating, hostname, subdomain, weight }: ServicePod, family: 4 | 6): SliceEndpoint {
  // Kubernetes gives a name to those with both fields alone; here a pod has its own, as of a StatefulSet.
  const name = hostname !== undefined && subdomain === service.name ? hostname : key.slice(namespace.length + 1);
  return {
    addresses: [addresses[family === 4 ? 0 : 1]], ready: service.publishNotReady || (serving && !terminating), serving: service.publishNotReady || serving, terminating, node, pod: key,
    ...(service.headless ? { hostname: name } : {}), ...(weight === undefined ? {} : { weight }),
  };
}

/** Families that its endpoints have: of its ClusterIPs; a headless one has both. */
function familiesOf({ headless, clusterIps }: ServiceRow): (4 | 6)[] {
  return headless ? [4, 6] : clusterIps.map((address) => (address.includes(':') ? 6 : 4));
}

/** Pods with the same numbers for the named ports share a slice; a name that a pod lacks leaves that port out for it. */
export function slicesOf(service: ServiceRow, pods: readonly ServicePod[]): SliceRow[] {
  if (service.selector === undefined || service.type === 'ExternalName') return [];
  const groups = new Map<string, { readonly ports: SliceRow['ports']; readonly pods: ServicePod[] }>();
  for (const pod of pods) {
    const ports = service.ports.flatMap((port) => {
      const number = targetOf(port, pod);
      return number === undefined ? [] : [{ name: port.name, protocol: port.protocol, port: number }];
    });
    const text = JSON.stringify(ports);
    const group = groups.get(text);
    if (group === undefined) groups.set(text, { ports, pods: [pod] });
    else group.pods.push(pod);
  }
  return familiesOf(service).flatMap((family) => [...groups].map(([text, { ports, pods: members }]): SliceRow => ({
    key: `${service.key}-${suffixOf(`${family} ${text}`)}`, namespace: service.namespace, service: service.name, family, ports,
    endpoints: members.map((pod) => endpointOf(service, pod, family)),
  })));
}

/** As of slices that a controller made; the same for the same ports. */
const suffixOf = (text: string): string => createHash('sha256').update(text).digest('hex').slice(0, 5);
