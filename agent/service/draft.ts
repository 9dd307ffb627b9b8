// A checked Service object -> what it asks for, before anything is allocated; an EndpointSlice object -> its row.
import type { ManifestRow } from '../directory/tables.ts';
import { textOf, bytesOf } from '../ipcache/address.ts';
import { isAbsent } from '../policy/check.ts';
import { isHeadless } from './semantics.ts';
import type { ServicePort, ServiceProtocol, ServiceRow, ServiceType, SliceEndpoint, SliceRow } from './tables.ts';
import { forwardingOf, serviceLabel, weightOf } from './words.ts';

type Json = Readonly<Record<string, unknown>>;
export type Family = 'ipv4' | 'ipv6';

/** A service with the addresses and ports that its author chose; the others are still to be allocated. */
export interface ServiceDraft {
  readonly row: Omit<ServiceRow, 'clusterIps' | 'loadBalancerIps' | 'healthCheckNodePort'>;
  /** Of its ClusterIPs and of its addresses from the pool; the first is that of `clusterIP`. Empty: it has none. */
  readonly families: readonly Family[];
  readonly fixedIps: readonly string[];
  readonly wantsPool: boolean;
  readonly fixedPoolIp?: string;
  readonly wantsNodePorts: boolean;
  readonly wantsHealthPort: boolean;
  readonly fixedHealthPort?: number;
}

/** Kubernetes' own default of sessionAffinityConfig. */
const defaultAffinitySeconds = 10_800;

const listOf = (value: unknown): readonly Json[] => (Array.isArray(value) ? value as Json[] : []);
const textsOf = (value: unknown): readonly string[] => (Array.isArray(value) ? value as string[] : []);
const canonical = (address: string): string => textOf(bytesOf(address));

export function draftOf({ key, namespace, name, object, source }: ManifestRow): ServiceDraft {
  const spec = object['spec'] as Json;
  const metadata = object['metadata'] as Json;
  const type = String(spec['type'] ?? 'ClusterIP') as ServiceType;
  const annotations = (metadata['annotations'] ?? {}) as Record<string, string>;
  const headless = isHeadless(spec);
  const outside = type === 'NodePort' || type === 'LoadBalancer';
  const { problem: _, ...forwarding } = forwardingOf(annotations);
  const seconds = ((spec['sessionAffinityConfig'] as Json | undefined)?.['clientIP'] as Json | undefined)?.['timeoutSeconds'] as number | undefined;
  const externalLocal = spec['externalTrafficPolicy'] === 'Local';
  const fixedHealth = spec['healthCheckNodePort'] as number | undefined;
  return {
    row: {
      key: key.slice(key.indexOf('/') + 1), namespace, name, type, labels: { ...metadata['labels'] as Record<string, string> }, annotations,
      ...(isAbsent(spec['selector']) || Object.keys(spec['selector'] as object).length === 0 ? {} : { selector: { ...spec['selector'] as Record<string, string> } }),
      headless, externalIps: textsOf(spec['externalIPs']).map(canonical),
      ...(type === 'ExternalName' ? { externalName: String(spec['externalName']).replace(/\.$/, '') } : {}),
      ports: type === 'ExternalName' ? [] : listOf(spec['ports']).map(portOf),
      ...(spec['sessionAffinity'] === 'ClientIP' ? { affinitySeconds: seconds ?? defaultAffinitySeconds } : {}),
      internalLocal: spec['internalTrafficPolicy'] === 'Local', externalLocal,
      sourceRanges: textsOf(spec['loadBalancerSourceRanges']), publishNotReady: spec['publishNotReadyAddresses'] === true, forwarding, source,
    },
    families: type === 'ExternalName' || headless ? [] : familiesOf(spec),
    fixedIps: fixedIps(spec).map(canonical),
    wantsPool: type === 'LoadBalancer',
    ...(isAbsent(spec['loadBalancerIP']) ? {} : { fixedPoolIp: canonical(String(spec['loadBalancerIP'])) }),
    wantsNodePorts: outside && spec['allocateLoadBalancerNodePorts'] !== false,
    wantsHealthPort: type === 'LoadBalancer' && externalLocal,
    ...(isAbsent(fixedHealth) ? {} : { fixedHealthPort: fixedHealth }),
  };
}

const fixedIps = (spec: Json): readonly string[] => {
  const several = textsOf(spec['clusterIPs']);
  const single = spec['clusterIP'];
  return (several.length > 0 ? several : typeof single === 'string' ? [single] : []).filter((one) => one !== 'None' && one !== '');
};

/** IPv4 alone unless it says otherwise, as Kubernetes takes it. */
function familiesOf(spec: Json): Family[] {
  const named = textsOf(spec['ipFamilies']).map((one): Family => (one === 'IPv6' ? 'ipv6' : 'ipv4'));
  const given = named.length > 0 ? named : fixedIps(spec).map((one): Family => (one.includes(':') ? 'ipv6' : 'ipv4'));
  const first = given[0] ?? 'ipv4';
  const dual = given.length === 2 || (spec['ipFamilyPolicy'] !== undefined && spec['ipFamilyPolicy'] !== null && spec['ipFamilyPolicy'] !== 'SingleStack');
  return dual ? [first, first === 'ipv4' ? 'ipv6' : 'ipv4'] : [first];
}

function portOf(port: Json): ServicePort {
  const number = Number(port['port']);
  return {
    name: String(port['name'] ?? ''), protocol: String(port['protocol'] ?? 'TCP') as ServiceProtocol, port: number,
    targetPort: isAbsent(port['targetPort']) ? number : port['targetPort'] as number | string,
    ...(isAbsent(port['nodePort']) ? {} : { nodePort: Number(port['nodePort']) }),
  };
}

/** Undefined where a condition is absent: the API's defaults. */
const condition = (value: unknown, otherwise: boolean): boolean => (typeof value === 'boolean' ? value : otherwise);

export function sliceOf({ key, namespace, object, source }: ManifestRow): SliceRow {
  const metadata = object['metadata'] as Json;
  const labels = (metadata['labels'] ?? {}) as Record<string, string>;
  const { weight } = weightOf((metadata['annotations'] ?? {}) as Record<string, string>);
  return {
    key: key.slice(key.indexOf('/') + 1), namespace, service: labels[serviceLabel]!, family: object['addressType'] === 'IPv6' ? 6 : 4,
    ports: listOf(object['ports']).map((port) => ({ name: String(port['name'] ?? ''), protocol: String(port['protocol'] ?? 'TCP') as ServiceProtocol, port: Number(port['port']) })),
    endpoints: listOf(object['endpoints']).map((endpoint): SliceEndpoint => {
      const conditions = (endpoint['conditions'] ?? {}) as Json;
      const ready = condition(conditions['ready'], true);
      const target = (endpoint['targetRef'] ?? {}) as Json;
      return {
        addresses: textsOf(endpoint['addresses']).map(canonical), ready, serving: condition(conditions['serving'], ready), terminating: condition(conditions['terminating'], false),
        ...(typeof endpoint['nodeName'] === 'string' ? { node: endpoint['nodeName'] } : {}), ...(typeof endpoint['hostname'] === 'string' ? { hostname: endpoint['hostname'] } : {}),
        ...(target['kind'] === 'Pod' && typeof target['name'] === 'string' ? { pod: `${namespace}/${target['name']}` } : {}), ...(weight === undefined ? {} : { weight }),
      };
    }),
    source,
  };
}
