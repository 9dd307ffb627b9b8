// Services of one agent, put together: manifests -> services and slices -> frontends and backends -> the kernel.
import { hostname } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { limit } from '../../bpf/types.gen.ts';
import type { AgentOptions, Tables } from '../agent.ts';
import { ofNode, ownNetns } from '../datapath/clients.ts';
import type { Datapath } from '../datapath/maps.ts';
import { Allocations } from './allocations.ts';
import { ServiceFollower, type BackendUsers } from './follow.ts';
import { HealthChecks } from './health.ts';
import { localPod } from './pods.ts';
import { serviceMaps, type ServiceMaps } from './maps.ts';
import { defaultServiceRanges, type ServiceRanges } from './ranges.ts';
import { ServiceReconciler } from './reconciler.ts';
import { ServiceReflector } from './reflector.ts';
import { Resets } from './resets.ts';
import type { Standing } from '../workload/rollout.ts';
import type { WorkloadRow } from '../workload/tables.ts';

export interface Services {
  readonly maps: ServiceMaps;
  readonly reconciler: ServiceReconciler;
  readonly users: BackendUsers;
  /** What the tables say now is in the kernel on return. */
  readonly flush: () => void;
  /** Resolves when a pod that ends gets no new connections, here or on other nodes, and had time to answer those under way. */
  readonly drained: (row: WorkloadRow) => Promise<void>;
  /** For those who replace pods. */
  readonly standing: Standing;
  readonly stop: () => Promise<void>;
}

const fileName = 'services.json';
/** Other nodes hear of it within some 10 ms; a request that is under way has the rest. */
const defaultDrainMs = 500;

const standingOf = ({ workloads, endpoints }: Tables): Standing => ({
  pod: (key) => {
    const row = workloads.get(key);
    return row === undefined || row.phase === 'Terminating' || row.phase === 'Failed' || row.phase === 'Completed' ? undefined : row.pod;
  },
  there: (key) => workloads.get(key)?.pod,
  isReady: (key) => localPod(endpoints.get(key), workloads.get(key), '')?.serving === true && workloads.get(key)?.phase !== 'Terminating',
  subscribe: (listener) => {
    const stops = [workloads.subscribe(listener), endpoints.subscribe(listener)];
    return () => { for (const stop of stops) stop(); };
  },
});

export const serviceRangesIn = ({ instance, serviceRanges }: AgentOptions): ServiceRanges => serviceRanges ?? defaultServiceRanges(instance.name);

/** Sockets of the node's own processes and of workloads. */
export const startResets = ({ endpoints, workloads }: Tables, datapath: Datapath, log: AgentOptions['log']): Resets => new Resets({
  datapath, log,
  netnsOf: (ifindex) => {
    if (ifindex === ofNode) return ownNetns;
    const row = endpoints.by('ifindex', String(ifindex))[0];
    const shim = row === undefined ? 0 : workloads.get(row.key)?.shimPid ?? 0;
    return shim === 0 ? undefined : `/proc/${shim}/ns/net`;
  },
});

/** `numbers`: see ReconcilerOptions. */
export function startServices(options: AgentOptions, tables: Tables, datapath: Datapath, resets: Resets, numbers?: ReadonlyMap<string, number>): Services {
  const { services, 'endpoint-slices': slices, frontends, backends, endpoints, workloads, manifests, problems, 'remote-endpoints': remoteEndpoints, 'node-addresses': nodeAddresses } = tables;
  const { instance, cluster, serviceDefaults: { maglevSize = limit.MAGLEV_SIZE, drainMs = defaultDrainMs, maglev, dsr } = { maglev: false, dsr: false }, log } = options;
  const node = cluster?.node ?? hostname();
  const maps = serviceMaps(datapath.object);
  const reconciler = new ServiceReconciler({ maps, frontends, backends, maglevSize, log, gone: (list) => { resets.gone(list); }, ...(numbers === undefined ? {} : { numbers }) });
  const reflector = new ServiceReflector({ manifests, problems, services, slices }, new Allocations(join(cluster?.folder ?? instance.stateDir, fileName), serviceRangesIn(options)));
  const follower = new ServiceFollower({ services, slices, frontends, backends, endpoints, workloads, remoteEndpoints, nodeAddresses },
    { node, maglev, dsr }, () => { reconciler.apply(); });
  const health = new HealthChecks(services, slices, node, log);
  return {
    maps, reconciler, users: follower, flush: () => { follower.flush(); },
    drained: async (row) => {
      if (!follower.isBackend(row.key)) return;
      follower.flush();
      await sleep(Math.min(drainMs, row.pod.terminationGracePeriodMs));
    },
    standing: standingOf(tables),
    stop: async () => {
      health.stop();
      follower.stop();
      reflector.stop();
      await reconciler.stop();
    },
  };
}
