// Services of one agent, put together: manifests -> services and slices -> frontends and backends -> the kernel.
import { hostname } from 'node:os';
import { join } from 'node:path';
import { limit } from '../../bpf/types.gen.ts';
import type { AgentOptions, Tables } from '../agent.ts';
import type { Datapath } from '../datapath/maps.ts';
import { Allocations } from './allocations.ts';
import { ServiceFollower } from './follow.ts';
import { serviceMaps, type ServiceMaps } from './maps.ts';
import { defaultServiceRanges, type ServiceRanges } from './ranges.ts';
import { ServiceReconciler } from './reconciler.ts';
import { ServiceReflector } from './reflector.ts';

export interface Services {
  readonly maps: ServiceMaps;
  readonly reconciler: ServiceReconciler;
  /** What the tables say now is in the kernel on return. */
  readonly flush: () => void;
  readonly stop: () => void;
}

const fileName = 'services.json';

export const serviceRangesIn = ({ instance, serviceRanges }: AgentOptions): ServiceRanges => serviceRanges ?? defaultServiceRanges(instance.name);

export function startServices(options: AgentOptions, tables: Tables, datapath: Datapath): Services {
  const { services, 'endpoint-slices': slices, frontends, backends, endpoints, workloads, manifests, problems, 'remote-endpoints': remoteEndpoints, 'node-addresses': nodeAddresses } = tables;
  const { instance, cluster, log } = options;
  const maps = serviceMaps(datapath.object);
  const reconciler = new ServiceReconciler({ maps, frontends, backends, maglevSize: limit.MAGLEV_SIZE, log });
  const reflector = new ServiceReflector({ manifests, problems, services, slices }, new Allocations(join(cluster?.folder ?? instance.stateDir, fileName), serviceRangesIn(options)));
  const follower = new ServiceFollower({ services, slices, frontends, backends, endpoints, workloads, remoteEndpoints, nodeAddresses },
    { node: cluster?.node ?? hostname(), maglev: false, dsr: false }, () => { reconciler.apply(); });
  return {
    maps, reconciler, flush: () => { follower.flush(); },
    stop: () => {
      follower.stop();
      reflector.stop();
      reconciler.stop();
    },
  };
}
