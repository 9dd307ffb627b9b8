// Workloads -> endpoints: a veth, addresses and an identity for each workload that exists. An endpoint is `waiting` until its
// policy is in the kernel; then `open` lets it through and its workload start.
import type { Instance } from '../instance.ts';
import { messageOf } from '../errors.ts';
import { podIdentityLabels } from '../identity/labels.ts';
import type { IdentityAllocator } from '../identity/allocator.ts';
import type { ManifestRow } from '../directory/tables.ts';
import type { ServiceClients } from '../datapath/clients.ts';
import type { Hooks } from '../datapath/hooks.ts';
import { isMarked } from '../datapath/sockmap.ts';
import { deleteLink } from '../kernel/link.ts';
import type { Netlink } from '../kernel/netlink.ts';
import { addressAt, type Ranges } from '../node/addresses.ts';
import type { Gateway } from '../node/gateway.ts';
import { NumberAllocator } from '../store/allocator.ts';
import type { Table } from '../store/table.ts';
import type { WorkloadRow } from '../workload/tables.ts';
import { createEndpointVeth, openVeth, type VethPlan } from './attachment.ts';
import type { EndpointRow } from './tables.ts';
import { limit } from '../../bpf/types.gen.ts';

export interface EndpointOptions {
  readonly instance: Instance;
  readonly netlink: Netlink;
  readonly hooks: Hooks;
  readonly clients: ServiceClients;
  readonly gateway: Gateway;
  readonly ranges: Ranges;
  readonly mtu: number;
  readonly workloads: Table<WorkloadRow>;
  readonly manifests: Table<ManifestRow>;
  readonly endpoints: Table<EndpointRow>;
  readonly identities: IdentityAllocator;
  /** Called once an endpoint forwards: its workload may start. */
  readonly release: (key: string) => void;
  readonly failed: (key: string, message: string) => void;
}

/** Address 1 of a range is the gateway's; an address rests before it is given out again. */
const firstEndpoint = 1;
const addressOffset = 1;
const restMs = 30_000;

export class EndpointReconciler {
  readonly #options: EndpointOptions;
  readonly #ids = new NumberAllocator(firstEndpoint, limit.MAX_ENDPOINTS - 1, restMs);
  readonly #stop: (() => void)[];

  constructor(options: EndpointOptions) {
    this.#options = options;
    this.#stop = [
      options.workloads.subscribe(() => { this.#follow(); }),
      options.manifests.subscribe((changes) => { if (changes.length === 0 || changes.some(({ key }) => key.startsWith('Namespace/'))) this.#follow(); }),
    ];
    options.clients.retain(new Set(options.endpoints.rows().map((row) => row.ifindex)));
    for (const row of options.endpoints.rows()) this.#adopt(row);
    this.#follow();
  }

  stop(): void { for (const stop of this.#stop) stop(); }

  /** The endpoint's policy is in the kernel: attach the programs, bring the interface up, start the workload. */
  open(row: EndpointRow): void {
    const { netlink, hooks, clients, gateway, endpoints, workloads, release, failed } = this.#options;
    const workload = workloads.get(row.key);
    if (workload === undefined || workload.uid !== row.uid) return;
    try {
      hooks.attachWorkload({ ifindex: row.ifindex, name: row.interfaceName });
      const plan = this.#plan(row, workload);
      openVeth(netlink, plan, row, gateway);
      clients.add(plan.netns, row.ifindex, isMarked(workload.pod.labels));
    } catch (error) {
      failed(row.key, messageOf(error));
      return;
    }
    endpoints.write([{ ...row, state: 'ready' }]);
    release(row.key);
  }

  /** As the agent before left it: nothing of it is touched, but the programs are those of this agent from now on. */
  #adopt(row: EndpointRow): void {
    const { hooks, clients, endpoints, identities, workloads, release, failed } = this.#options;
    this.#ids.reserve(row.id);
    const identity = identities.keep(row.key, 'workload', row.labels, row.identity);
    if (identity !== undefined) endpoints.write([{ ...row, identity }]);
    const workload = workloads.get(row.key);
    try {
      hooks.attachWorkload({ ifindex: row.ifindex, name: row.interfaceName });
      if (workload?.uid === row.uid) clients.add(this.#plan(row, workload).netns, row.ifindex, isMarked(workload.pod.labels));
    } catch (error) {
      // The programs of the agent before are still there.
      failed(row.key, messageOf(error));
    }
    // It died between the two last steps of `open`; telling a workload twice is fine.
    if (workload?.uid === row.uid && workload.phase === 'Pending') release(row.key);
  }

  #follow(): void {
    const { workloads, manifests, endpoints } = this.#options;
    const gone = endpoints.rows().filter((row) => workloads.get(row.key)?.uid !== row.uid);
    for (const row of gone) this.#remove(row);
    // A namespace that is not read yet has no labels: with half of them an endpoint would be somebody else.
    if (!manifests.synced) return;
    for (const workload of workloads.rows()) {
      if (workload.shimPid === 0 || workload.phase === 'Terminating') continue;
      const row = endpoints.get(workload.key);
      try {
        if (row === undefined) this.#create(workload);
        else this.#relabel(row, workload);
      } catch (error) {
        this.#options.failed(workload.key, messageOf(error));
      }
    }
  }

  #labels(workload: WorkloadRow): string[] {
    const namespace = this.#options.manifests.get(`Namespace//${workload.namespace}`)?.object as { metadata?: { labels?: Record<string, string> } } | undefined;
    return podIdentityLabels({
      labels: workload.pod.labels, namespace: workload.namespace, serviceAccount: workload.pod.serviceAccount,
      namespaceLabels: { 'kubernetes.io/metadata.name': workload.namespace, ...namespace?.metadata?.labels },
    }).sort();
  }

  #create(workload: WorkloadRow): void {
    const { instance, netlink, ranges, identities, endpoints } = this.#options;
    const id = this.#ids.take();
    if (id === undefined) throw new Error(`this node has ${limit.MAX_ENDPOINTS - 1} endpoints already`);
    const labels = this.#labels(workload);
    const identity = identities.use(workload.key, 'workload', labels);
    if (identity === undefined) throw new Error('no identity number is free');
    const address = { ipv4: addressAt(ranges.ipv4, id + addressOffset), ipv6: addressAt(ranges.ipv6, id + addressOffset), interfaceName: `${instance.interfacePrefix}${id}` };
    const veth = createEndpointVeth(netlink, this.#plan(address, workload));
    endpoints.write([{
      id, key: workload.key, namespace: workload.namespace, name: workload.name, uid: workload.uid, labels, identity, ...address, ...veth,
      ...(workload.pod.owner === undefined ? {} : { owner: workload.pod.owner }), namedPorts: workload.pod.namedPorts, state: 'waiting',
    }]);
  }

  #relabel(row: EndpointRow, workload: WorkloadRow): void {
    const labels = this.#labels(workload);
    if (labels.join() === row.labels.join()) return;
    const identity = this.#options.identities.use(workload.key, 'workload', labels);
    if (identity === undefined) throw new Error('no identity number is free');
    if (row.state === 'ready') this.#options.clients.add(this.#plan(row, workload).netns, row.ifindex, isMarked(workload.pod.labels));
    this.#options.endpoints.write([{ ...row, labels, identity }]);
  }

  #remove(row: EndpointRow): void {
    const { netlink, hooks, clients, endpoints, identities } = this.#options;
    clients.remove(row.ifindex);
    hooks.detachWorkload({ ifindex: row.ifindex, name: row.interfaceName });
    deleteLink(netlink, row.interfaceName);
    identities.drop(row.key);
    this.#ids.giveBack(row.id);
    endpoints.write([], [row.key]);
  }

  #plan(address: Pick<EndpointRow, 'ipv4' | 'ipv6' | 'interfaceName'>, workload: WorkloadRow): VethPlan {
    const { ipv4, ipv6, interfaceName } = address;
    return { ipv4, ipv6, interfaceName, mtu: this.#options.mtu, netns: `/proc/${workload.shimPid}/ns/net` };
  }
}
