// toServices of egress rules: the backends of the Services that are meant. Those with a selector are its pods, whoever they are; those without one
// the addresses of their EndpointSlices. What is meant but not there is nobody.
import { cidrPeer, labelPeer, type Peer } from './rule.ts';
import { labelSet, matches, readSelector, type LabelSelector, type Selector } from './selector.ts';

type Json = Readonly<Record<string, unknown>>;

/** What rules ask about a Service. */
export interface PolicyService {
  readonly namespace: string;
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly selector?: Readonly<Record<string, string>>;
  /** Of its backends, where it has no selector. */
  readonly addresses: readonly string[];
}

export interface ServiceScope {
  readonly services: readonly PolicyService[];
  /** Of the policy; empty: of none. */
  readonly namespace: string;
  /** Pods of a namespace. */
  readonly podsOf: (selector: LabelSelector, namespace: string) => Selector;
}

const listOf = (value: unknown): readonly Json[] => (Array.isArray(value) ? value as Json[] : []);

/** One item of toServices. A name without a namespace is of the policy's own, a selector without one of any. */
export function servicePeers(item: Json, { services, namespace, podsOf }: ServiceScope): Peer[] {
  return services.filter((one) => isMeant(item, one, namespace)).flatMap((one) => {
    const text = `service ${one.namespace}/${one.name}`;
    if (one.selector === undefined) return one.addresses.flatMap((address) => cidrPeer(`${address}/${address.includes(':') ? 128 : 32}`, [], text));
    const matchLabels = Object.fromEntries(Object.entries(one.selector).map(([key, value]) => [`k8s:${key}`, value]));
    return [labelPeer(podsOf({ matchLabels }, one.namespace), text)];
  });
}

function isMeant(item: Json, service: PolicyService, own: string): boolean {
  const named = item['k8sService'] as { serviceName?: string | null; namespace?: string | null } | null | undefined;
  if (named !== undefined && named !== null) {
    const namespace = named.namespace || own;
    return service.name === named.serviceName && (namespace === '' || service.namespace === namespace);
  }
  const chosen = item['k8sServiceSelector'] as { selector: LabelSelector; namespace?: string | null } | null | undefined;
  if (chosen === undefined || chosen === null) return false;
  if (chosen.namespace && chosen.namespace !== service.namespace) return false;
  return matches(readSelector(chosen.selector), labelSet(Object.entries(service.labels).map(([key, value]) => `k8s:${key}=${value}`)));
}

export function namesServices(object: Json): boolean {
  const specs = [...listOf(object['specs']), ...(object['spec'] === undefined || object['spec'] === null ? [] : [object['spec'] as Json])];
  return specs.some((spec) => ['egress', 'egressDeny'].some((section) => listOf(spec[section]).some((entry) => listOf(entry['toServices']).length > 0)));
}
