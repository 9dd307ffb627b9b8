// What the agent tells the name server, one JSON line each: what a name of a namespace stands for, and the settings.

export interface NamePort { readonly name: string; readonly protocol: 'TCP' | 'UDP' | 'SCTP'; readonly port: number }

/** A backend of a headless service. */
export interface NameEndpoint { readonly addresses: readonly string[]; readonly hostname?: string; readonly ports: readonly NamePort[] }

export interface NameService {
  /** Empty for headless services and ExternalName. */
  readonly clusterIps: readonly string[];
  readonly externalName?: string;
  readonly ports: readonly NamePort[];
  /** Of headless services only: a change of any other service's backends changes no name. */
  readonly endpoints: readonly NameEndpoint[];
}

/** `NAME.NAMESPACE.svc.DOMAIN`: the service of that name, else the workloads (a pod, or the replicas of a Deployment). */
export interface NameRow {
  /** `namespace/name` */
  readonly key: string;
  readonly service?: NameService;
  readonly workloads?: readonly string[];
  /** Addresses of the pod with exactly this name: `A-B-C-D.NAMESPACE.pod.DOMAIN`. */
  readonly pod?: readonly string[];
}

export interface Settings {
  readonly domain: string;
  /** Prefixes whose reverse names nobody else knows. */
  readonly ranges: readonly string[];
  /** Addresses of the machine's own name servers. */
  readonly upstreams: readonly string[];
}

export const settingsFile = 'settings.json';
/** Names of the files with rows. */
export const shardPattern = /^[0-9a-f]{2}\.jsonl$/;
