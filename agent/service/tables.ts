// Services as written, where their backends are (slices), and what the kernel shall have: frontends and backends.
import { Table } from '../store/table.ts';
import type { Source } from '../directory/tables.ts';
import type { Forwarding } from './words.ts';

export type ServiceProtocol = 'TCP' | 'UDP' | 'SCTP';
export type ServiceType = 'ClusterIP' | 'NodePort' | 'LoadBalancer' | 'ExternalName';

export interface ServicePort {
  /** Empty where the service has one port and gave it no name. */
  readonly name: string;
  readonly protocol: ServiceProtocol;
  readonly port: number;
  /** Of the pods; a name stands for the container port of that name, in each pod its own. */
  readonly targetPort: number | string;
  /** NodePort and LoadBalancer. */
  readonly nodePort?: number;
}

/** A Service (core/v1) with what was allocated for it. */
export interface ServiceRow {
  /** `namespace/name` */
  readonly key: string;
  readonly namespace: string;
  readonly name: string;
  readonly type: ServiceType;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  /** Absent: its EndpointSlices come from elsewhere. */
  readonly selector?: Readonly<Record<string, string>>;
  /** `clusterIP: None`: names only. */
  readonly headless: boolean;
  /** One of each family it has; empty for headless ones and ExternalName. */
  readonly clusterIps: readonly string[];
  readonly externalIps: readonly string[];
  /** type LoadBalancer: from the pool. */
  readonly loadBalancerIps: readonly string[];
  readonly externalName?: string;
  readonly ports: readonly ServicePort[];
  /** sessionAffinity ClientIP; absent: none. */
  readonly affinitySeconds?: number;
  readonly internalLocal: boolean;
  readonly externalLocal: boolean;
  readonly healthCheckNodePort?: number;
  /** loadBalancerSourceRanges; empty: everybody. */
  readonly sourceRanges: readonly string[];
  readonly publishNotReady: boolean;
  /** For clients from outside; what it leaves open is as the node does by default. */
  readonly forwarding: Forwarding;
  /** Absent for weir's own. */
  readonly source?: Source;
}

export interface SliceEndpoint {
  readonly addresses: readonly string[];
  readonly ready: boolean;
  /** Still answers, though it may be going. */
  readonly serving: boolean;
  readonly terminating: boolean;
  readonly node?: string;
  readonly hostname?: string;
  /** `namespace/name` of the pod. */
  readonly pod?: string;
  /** Its share of new connections; absent: as usual (words.ts). */
  readonly weight?: number;
}

/** An EndpointSlice (discovery.k8s.io/v1), written or computed from a selector. One family each. */
export interface SliceRow {
  /** `namespace/name` */
  readonly key: string;
  readonly namespace: string;
  /** Name of its service, in the same namespace. */
  readonly service: string;
  readonly family: 4 | 6;
  /** Of all its endpoints: a name of the service's, the port of the pods. */
  readonly ports: readonly { readonly name: string; readonly protocol: ServiceProtocol; readonly port: number }[];
  readonly endpoints: readonly SliceEndpoint[];
  readonly source?: Source;
}

/** What Services are that do not say it themselves. */
export interface ServiceDefaults {
  /** Slots of each Maglev table, a prime. */
  readonly maglevSize?: number;
  /** What a pod that is to end has for what is under way, where its grace is no shorter. */
  readonly drainMs?: number;
  readonly maglev: boolean;
  readonly dsr: boolean;
}

export type Scope = 'cluster' | 'external';

/** One address and port at which a service is reached: a row of the kernel's `frontends`. */
export interface FrontendRow {
  /** `ADDRESS:PORT/PROTOCOL scope`, IPv6 in brackets. */
  readonly key: string;
  readonly address: string;
  readonly port: number;
  readonly protocol: ServiceProtocol;
  readonly scope: Scope;
  readonly service: string;
  readonly portName: string;
  readonly kind: 'ClusterIP' | 'NodePort' | 'LoadBalancer' | 'ExternalIP';
  readonly affinitySeconds: number;
  /** Only backends of this node are in `backends`. */
  readonly local: boolean;
  readonly sourceRanges: readonly string[];
  /** By its Maglev table; else any backend. */
  readonly maglev: boolean;
  /** A backend on another node answers the client itself. */
  readonly dsr: boolean;
  /** Keys of backends that get new connections; frontends with the same ones share one list. */
  readonly backends: readonly string[];
  /** One for each of them; absent: all the same. Then it has a Maglev table, which keeps them. */
  readonly weights?: readonly number[];
}

export interface BackendRow {
  /** `ADDRESS:PORT/PROTOCOL`, IPv6 in brackets. */
  readonly key: string;
  readonly address: string;
  readonly port: number;
  readonly protocol: ServiceProtocol;
  readonly state: 'active' | 'terminating';
  readonly node?: string;
  readonly pod?: string;
}

export const serviceTable = (): Table<ServiceRow> => new Table({
  name: 'services',
  key: (row) => row.key,
  indexes: { address: (row) => [...row.clusterIps, ...row.externalIps, ...row.loadBalancerIps] },
});
export const sliceTable = (): Table<SliceRow> => new Table({ name: 'endpoint-slices', key: (row) => row.key, indexes: { service: (row) => [`${row.namespace}/${row.service}`] } });
export const frontendTable = (): Table<FrontendRow> => new Table({ name: 'frontends', key: (row) => row.key, indexes: { service: (row) => [row.service], address: (row) => [row.address] } });
export const backendTable = (): Table<BackendRow> => new Table({ name: 'backends', key: (row) => row.key });
