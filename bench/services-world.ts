// So many Services as slices and ClusterIPs in the tables of an agent, and its way from there into the kernel's maps, without the agent.
import { objectPath } from '../bpf/build.ts';
import { limit } from '../bpf/types.gen.ts';
import { loadDatapath, type Datapath } from '../agent/datapath/maps.ts';
import { endpointTable } from '../agent/endpoint/tables.ts';
import { nodeAddressTable, remoteEndpointTable } from '../agent/node/tables.ts';
import { ServiceFollower } from '../agent/service/follow.ts';
import { serviceMaps } from '../agent/service/maps.ts';
import { ServiceReconciler } from '../agent/service/reconciler.ts';
import { backendTable, frontendTable, serviceTable, sliceTable, type ServiceRow, type SliceRow } from '../agent/service/tables.ts';
import { workloadTable } from '../agent/workload/tables.ts';

const backendAddress = (service: number, backend: number): string => `10.${100 + backend}.${service >> 8}.${service & 255}`;

const serviceRow = (index: number): ServiceRow => ({
  key: `bench/s${index}`, namespace: 'bench', name: `s${index}`, type: 'ClusterIP', labels: {}, annotations: {}, headless: false, clusterIps: [`10.218.${index >> 8}.${index & 255}`], externalIps: [], loadBalancerIps: [],
  ports: [{ name: '', protocol: 'TCP', port: 80, targetPort: 8080 }], internalLocal: false, externalLocal: false, sourceRanges: [], publishNotReady: false, forwarding: {},
});

/** `without`: the backend that is not ready. */
export const sliceRow = (index: number, backends: number, without = -1): SliceRow => ({
  key: `bench/s${index}-1`, namespace: 'bench', service: `s${index}`, family: 4, ports: [{ name: '', protocol: 'TCP', port: 8080 }],
  endpoints: Array.from({ length: backends }, (_, backend) => ({ addresses: [backendAddress(index, backend)], ready: backend !== without, serving: backend !== without, terminating: false, node: 'other' })),
});

export class ServicesWorld {
  readonly datapath: Datapath;
  readonly maps: ReturnType<typeof serviceMaps>;
  readonly slices = sliceTable();
  readonly services = serviceTable();
  readonly reconciler: ServiceReconciler;
  readonly follower: ServiceFollower;

  constructor() {
    this.datapath = loadDatapath(objectPath);
    this.maps = serviceMaps(this.datapath.object);
    const [frontends, backends] = [frontendTable(), backendTable()];
    this.reconciler = new ServiceReconciler({ maps: this.maps, frontends, backends, maglevSize: limit.MAGLEV_SIZE, log: (line) => { throw new Error(line); } });
    this.follower = new ServiceFollower({
      services: this.services, slices: this.slices, frontends, backends, endpoints: endpointTable(), workloads: workloadTable(), remoteEndpoints: remoteEndpointTable(), nodeAddresses: nodeAddressTable(),
    }, { node: 'here', maglev: false, dsr: false }, () => { this.reconciler.apply(); });
  }

  fill(services: number, backends: number): void {
    this.slices.write(Array.from({ length: services }, (_, index) => sliceRow(index, backends)));
    this.services.write(Array.from({ length: services }, (_, index) => serviceRow(index)));
    this.follower.flush();
  }

  /** How many of the backends of a service the kernel has. */
  inKernel(index: number): number {
    const found = this.maps.frontends.get({ addr: { word: Uint8Array.from([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 10, 218, index >> 8, index & 255]) }, port: 80, protocol: 6, scope: 0 });
    return found?.count ?? -1;
  }

  async close(): Promise<void> {
    this.follower.stop();
    await this.reconciler.stop();
    this.datapath.object.close();
  }
}
