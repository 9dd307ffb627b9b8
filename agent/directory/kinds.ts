// The kinds that the directory takes into the manifests table; any other kind is named as not handled yet.

export interface KnownKind {
  readonly apiVersion: string;
  /** Older ones with the same fields. */
  readonly also?: readonly string[];
  readonly namespaced: boolean;
}

export const knownKinds: Readonly<Record<string, KnownKind>> = {
  Namespace: { apiVersion: 'v1', namespaced: false },
  Pod: { apiVersion: 'v1', namespaced: true },
  Deployment: { apiVersion: 'apps/v1', namespaced: true },
  Service: { apiVersion: 'v1', namespaced: true },
  EndpointSlice: { apiVersion: 'discovery.k8s.io/v1', namespaced: true },
  Secret: { apiVersion: 'v1', namespaced: true },
  ServiceAccount: { apiVersion: 'v1', namespaced: true },
  CiliumNetworkPolicy: { apiVersion: 'cilium.io/v2', namespaced: true },
  CiliumClusterwideNetworkPolicy: { apiVersion: 'cilium.io/v2', namespaced: false },
  CiliumCIDRGroup: { apiVersion: 'cilium.io/v2', also: ['cilium.io/v2alpha1'], namespaced: false },
  NetworkPolicy: { apiVersion: 'networking.k8s.io/v1', namespaced: true },
};

const label = '[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?';
const labelPattern = new RegExp(`^${label}$`);
const subdomainPattern = new RegExp(`^${label}(\\.${label})*$`);

/** DNS-1123 label: what a namespace may be called. */
export const isDnsLabel = (text: string): boolean => labelPattern.test(text);
/** DNS-1123 subdomain: what any other object may be called. */
export const isDnsName = (text: string): boolean => text.length <= 253 && subdomainPattern.test(text);
