// Workloads: pods as they shall be (pods) and as they are (workloads).
import { Table } from '../store/table.ts';
import type { Source } from '../directory/tables.ts';
import type { Probes } from './probe-spec.ts';

export interface NamedPort { readonly name: string; readonly port: number; readonly protocol: 'TCP' | 'UDP' | 'SCTP' }

export interface ContainerSpec {
  readonly name: string;
  /** argv; never empty, run without a shell. */
  readonly command: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly workingDir: string;
  /** Absent: the pod's own unprivileged uid. 0 only where the agent was started with --allow-root. */
  readonly runAsUser?: number;
  /** Absent: it is ready while it runs. */
  readonly probes?: Probes;
}

/** A folder or file of the machine that a pod sees read-only. */
export interface Binding { readonly source: string; readonly target: string }

/** Where a pod asks for names. */
export interface PodDns {
  readonly policy: 'ClusterFirst' | 'Default' | 'None';
  /** Beside those of the policy. */
  readonly servers: readonly string[];
  readonly searches: readonly string[];
  readonly options: readonly { readonly name: string; readonly value?: string }[];
}

/** A pod that shall run; written by the directory (Pods, Deployments) or by `weir workload run`. */
export interface PodRow {
  /** `namespace/name` */
  readonly key: string;
  readonly namespace: string;
  readonly name: string;
  /** Kubernetes labels as written. */
  readonly labels: Readonly<Record<string, string>>;
  readonly serviceAccount: string;
  readonly containers: readonly ContainerSpec[];
  readonly restartPolicy: 'Always' | 'OnFailure' | 'Never';
  readonly terminationGracePeriodMs: number;
  readonly namedPorts: readonly NamedPort[];
  /** A label; absent: its name. */
  readonly hostname?: string;
  readonly subdomain?: string;
  /** Inside, it is called by its full name. */
  readonly fqdnHostname?: true;
  readonly hostAliases?: readonly { readonly ip: string; readonly hostnames: readonly string[] }[];
  /** Absent: as all of its namespace. */
  readonly dns?: PodDns;
  /** Its share of the connections to Services; absent: as usual. */
  readonly weight?: number;
  /** The Deployment it was made from, if any. */
  readonly owner?: { readonly kind: string; readonly name: string };
  /** Its Deployment's replicas all end before any of the next version begins. */
  readonly recreate?: true;
  /** Of weir's own pods only: no manifest can ask for it. */
  readonly binds?: readonly Binding[];
  /** Absent for `weir workload run` and for weir's own. */
  readonly source?: Source;
}

export type WorkloadPhase =
  | 'Pending'            // its namespaces exist, nothing runs, waits for its endpoint
  | 'Running'
  | 'CrashLoopBackOff'
  | 'Completed'
  | 'Failed'             // ended with an error and is not restarted
  | 'Terminating';

export interface ContainerState {
  readonly name: string;
  readonly state: 'waiting' | 'running' | 'terminated';
  /** In the host's PID namespace; 0 when not running. */
  readonly pid: number;
  readonly restarts: number;
  readonly exitCode?: number;
  /** Set when a signal ended it. */
  readonly signal?: number;
  /** Why it is not running: `command not found: curll`. */
  readonly reason?: string;
}

/** A pod that exists on this machine: a shim that owns its network namespace and processes. */
export interface WorkloadRow {
  readonly key: string;
  readonly namespace: string;
  readonly name: string;
  /** Of this run of the pod: a changed spec gives a new one. */
  readonly uid: string;
  readonly pod: PodRow;
  /** The shim's; its /proc/PID/ns/net is the workload's network namespace. */
  readonly shimPid: number;
  readonly phase: WorkloadPhase;
  readonly containers: readonly ContainerState[];
  /** All its containers run, and their probes say so. */
  readonly ready: boolean;
  /** What its probes miss, or which of them ended it: `web: readiness probe: GET /: HTTP 503`. */
  readonly unready?: string;
  readonly startedAtMs: number;
  readonly message?: string;
}

export const podTable = (): Table<PodRow> => new Table({ name: 'pods', key: (row) => row.key });
export const workloadTable = (): Table<WorkloadRow> => new Table({
  name: 'workloads',
  key: (row) => row.key,
  indexes: { uid: (row) => [row.uid] },
});
