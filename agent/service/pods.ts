// Which pods there are to stand behind Services, here and on other nodes, in one form; and which of them each selector means.
import { isDeepStrictEqual } from 'node:util';
import type { EndpointRow } from '../endpoint/tables.ts';
import type { RemoteEndpointRow } from '../node/tables.ts';
import type { WorkloadRow } from '../workload/tables.ts';
import type { ServiceRow } from './tables.ts';

/** A pod with its addresses. */
export interface ServicePod {
  readonly key: string;
  readonly namespace: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly node: string;
  readonly addresses: readonly [ipv4: string, ipv6: string];
  readonly namedPorts: EndpointRow['namedPorts'];
  /** Answers, as far as its probes say. */
  readonly serving: boolean;
  readonly terminating: boolean;
  /** Where both are given: a name of its own below that headless Service. */
  readonly hostname?: string;
  readonly subdomain?: string;
  readonly weight?: number;
}

/** What a pod's manifest says to its Services, on whatever node. */
export const sharedOf = ({ hostname, subdomain, weight }: Pick<ServicePod, 'hostname' | 'subdomain' | 'weight'>): Pick<ServicePod, 'hostname' | 'subdomain' | 'weight'> =>
  ({ ...(hostname === undefined ? {} : { hostname }), ...(subdomain === undefined ? {} : { subdomain }), ...(weight === undefined ? {} : { weight }) });

/** Of this node. Undefined: it has no endpoint yet, or none any more. */
export function localPod(endpoint: EndpointRow | undefined, workload: WorkloadRow | undefined, node: string): ServicePod | undefined {
  if (endpoint === undefined || workload === undefined || workload.uid !== endpoint.uid) return undefined;
  const terminating = workload.phase === 'Terminating';
  return {
    key: endpoint.key, namespace: endpoint.namespace, labels: workload.pod.labels, node, addresses: [endpoint.ipv4, endpoint.ipv6], namedPorts: endpoint.namedPorts,
    // Its probes have ended with it; it answers as long as it runs.
    serving: endpoint.state === 'ready' && (terminating ? workload.containers.every(({ state }) => state === 'running') : workload.ready), terminating,
    ...sharedOf(workload.pod),
  };
}

export const remotePod = ({ key, namespace, node, ipv4, ipv6, pod }: RemoteEndpointRow): ServicePod | undefined =>
  (pod === undefined ? undefined : { key, namespace, labels: pod.labels, node, addresses: [ipv4, ipv6], namedPorts: pod.namedPorts, serving: pod.serving, terminating: pod.terminating, ...sharedOf(pod) });

const fits = (selector: Readonly<Record<string, string>>, labels: Readonly<Record<string, string>>): boolean => Object.entries(selector).every(([key, value]) => labels[key] === value);
const labelKey = (namespace: string, key: string, value: string): string => `${namespace}\n${key}\n${value}`;

function add(map: Map<string, Set<string>>, key: string, value: string): void {
  const set = map.get(key);
  if (set === undefined) map.set(key, new Set([value]));
  else set.add(value);
}

function remove(map: Map<string, Set<string>>, key: string, value: string): void {
  const set = map.get(key);
  set?.delete(value);
  if (set?.size === 0) map.delete(key);
}

/** Selectors and pods, found by a label that they have in common: the cost of one change does not grow with the number of services. */
export class Selection {
  readonly #selectors = new Map<string, { readonly namespace: string; readonly selector: Readonly<Record<string, string>> }>();
  readonly #servicesBy = new Map<string, Set<string>>();
  readonly #pods = new Map<string, ServicePod>();
  readonly #podsBy = new Map<string, Set<string>>();

  /** `id` stands for the pod on its node: a pod that moves is on two for a moment. Returns the services that this concerns. */
  setPod(id: string, pod: ServicePod | undefined): Set<string> {
    const old = this.#pods.get(id);
    const touched = new Set<string>();
    if (isDeepStrictEqual(old, pod)) return touched;
    for (const one of [old, pod]) {
      for (const [key, value] of Object.entries(one?.labels ?? {})) {
        for (const service of this.#servicesBy.get(labelKey(one!.namespace, key, value)) ?? []) if (fits(this.#selectors.get(service)!.selector, one!.labels)) touched.add(service);
      }
    }
    for (const [key, value] of Object.entries(old?.labels ?? {})) remove(this.#podsBy, labelKey(old!.namespace, key, value), id);
    for (const [key, value] of Object.entries(pod?.labels ?? {})) add(this.#podsBy, labelKey(pod!.namespace, key, value), id);
    if (pod === undefined) this.#pods.delete(id);
    else this.#pods.set(id, pod);
    return touched;
  }

  isSelected(id: string): boolean {
    const pod = this.#pods.get(id);
    return pod !== undefined && Object.entries(pod.labels).some(([key, value]) =>
      [...this.#servicesBy.get(labelKey(pod.namespace, key, value)) ?? []].some((service) => fits(this.#selectors.get(service)!.selector, pod.labels)));
  }

  setService(key: string, service: ServiceRow | undefined): void {
    const old = this.#selectors.get(key);
    if (old !== undefined) remove(this.#servicesBy, this.#lead(old), key);
    this.#selectors.delete(key);
    if (service?.selector === undefined) return;
    const { namespace, selector } = service;
    this.#selectors.set(key, { namespace, selector });
    add(this.#servicesBy, this.#lead({ namespace, selector }), key);
  }

  /** By their keys, sorted. */
  podsOf(key: string): ServicePod[] {
    const one = this.#selectors.get(key);
    if (one === undefined) return [];
    return [...this.#podsBy.get(this.#lead(one)) ?? []].sort().map((id) => this.#pods.get(id)!).filter(({ labels }) => fits(one.selector, labels));
  }

  /** The label that a service is found by. */
  #lead({ namespace, selector }: { readonly namespace: string; readonly selector: Readonly<Record<string, string>> }): string {
    const [key, value] = Object.entries(selector)[0]!;
    return labelKey(namespace, key, value);
  }
}
