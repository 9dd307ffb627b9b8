// One agent: its tables, what fills them and what follows them. `weir up` and the tests hold it in their hand.
import { closeSync, existsSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { objectPath } from '../bpf/build.ts';
import { Observer } from '../hubble/observer.ts';
import type { HubbleOptions } from '../hubble/options.ts';
import { dnsCachePath, endpointsFolder, forget, manifestsFolder, open, removeFolders, type Opened } from './adoption.ts';
import { serveApi } from './api/server.ts';
import { verbsOf } from './api/verbs.ts';
import { ServiceClients } from './datapath/clients.ts';
import { Enforcement } from './datapath/enforcement.ts';
import { removePins } from './datapath/hooks.ts';
import { defaultShare, proxyUsed, setShare, type Share } from './datapath/proxy-share.ts';
import { startSockmap, type SockmapMode } from './datapath/sockmap.ts';
import { sweepConnections, type Sweeper } from './datapath/sweeper.ts';
import type { Datapath } from './datapath/maps.ts';
import { dnsByTcp, type DnsByTcp } from './dns/by-tcp.ts';
import { followDns, type Dns } from './dns/follow.ts';
import { reflectDirectory } from './directory/reflector.ts';
import { manifestTable, problemTable } from './directory/tables.ts';
import { followCapacity } from './envoy/capacity.ts';
import { followWorkers } from './envoy/workers.ts';
import { l7Proxy, sharedSteering, type L7 } from './envoy/start.ts';
import { EndpointReconciler } from './endpoint/reconciler.ts';
import { saveEndpoints } from './endpoint/saved.ts';
import { endpointTable } from './endpoint/tables.ts';
import { Audits } from './flow/audits.ts';
import { AddressIdentities } from './flow/identities.ts';
import { Names } from './flow/lookups.ts';
import { followRules, RuleCounts } from './flow/rule-counts.ts';
import { serveFlows } from './flow/serve.ts';
import { ServiceNames } from './flow/service-names.ts';
import { readFlows } from './flow/source.ts';
import { IdentityAllocator, isLocalIdentity } from './identity/allocator.ts';
import { cidrLabels } from './identity/labels.ts';
import { SharedNumbers } from './identity/shared.ts';
import { identityTable } from './identity/tables.ts';
import type { Instance } from './instance.ts';
import { ipcacheTable } from './ipcache/tables.ts';
import type { AttachMode, XdpMode } from './kernel/attach.ts';
import { Netlink } from './kernel/netlink.ts';
import { startNames } from './names/start.ts';
import type { Ranges } from './node/addresses.ts';
import { cgroupFolder, cgroupRoot, checkMachine, requireMachine } from './node/check.ts';
import { identitiesFolder, type Membership } from './node/cluster.ts';
import { ClusterReflector } from './node/cluster-reflector.ts';
import { ensureGateway, removeGateway } from './node/gateway.ts';
import { takeLock } from './node/lock.ts';
import { ensureOverlay, mtuBetween } from './node/overlay.ts';
import { publishNode } from './node/publisher.ts';
import { reconcileNetdevs, type XdpDevices } from './node/reconciler.ts';
import { reflectNode } from './node/reflector.ts';
import { reconcileRoutes } from './node/routes.ts';
import { netdevTable, nodeAddressTable, nodeTable, remoteEndpointTable, type NetdevRow } from './node/tables.ts';
import type { PolicyReconciler } from './policy/reconciler.ts';
import type { Resets } from './service/resets.ts';
import { serviceRangesIn, startResets, startServices, type Services } from './service/start.ts';
import type { ServiceRanges } from './service/ranges.ts';
import { backendTable, frontendTable, serviceTable, sliceTable, type ServiceDefaults } from './service/tables.ts';
import { policyServices } from './policy/services.ts';
import { PolicySet } from './policy/reflector.ts';
import { policyTable } from './policy/tables.ts';
import { WorkloadReconciler } from './workload/reconciler.ts';
import { reflectPods } from './workload/reflector.ts';
import { podsByHand } from './workload/status.ts';
import { podTable, workloadTable, type PodRow } from './workload/tables.ts';
import { Progress } from './progress.ts';
import { version } from './version.ts';

export interface AgentOptions {
  readonly instance: Instance;
  readonly ranges: Ranges;
  /** Of the addresses of Services; by the instance's name unless it is given. */
  readonly serviceRanges?: ServiceRanges;
  /** Absent: any backend, SNAT. */
  readonly serviceDefaults?: ServiceDefaults;
  /** The manifest directory; absent: workloads come by hand only. */
  readonly dir?: string;
  /** Whether a workload may run as uid 0. */
  readonly allowRoot: boolean;
  /** As the kernel can, unless it is given. */
  readonly attachMode?: AttachMode;
  /** How the node's devices may run XDP, the better first; absent: they do not. */
  readonly xdp?: readonly XdpMode[];
  /** Between which workloads of this node TCP goes from socket to socket; absent: none. */
  readonly sockmap?: SockmapMode;
  readonly hubble?: HubbleOptions;
  /** Rows of the conntrack table; MAX_CONNECTIONS unless it is given. */
  readonly connections?: number;
  /** false: no name server runs, and workloads see the machine's resolv.conf. */
  readonly names?: boolean;
  /** Path of an Envoy binary; absent: the one that the set-up fetched. */
  readonly envoy?: string;
  /** Of Envoy, for each endpoint; absent: defaultShare. */
  readonly l7Share?: Share;
  /** Absent: the only node. */
  readonly cluster?: Membership;
  readonly log: (line: string) => void;
}

export const makeTables = () => ({
  manifests: manifestTable(), problems: problemTable(), pods: podTable(), workloads: workloadTable(), endpoints: endpointTable(),
  identities: identityTable(), ipcache: ipcacheTable(), policies: policyTable(), 'node-addresses': nodeAddressTable(), netdevs: netdevTable(),
  nodes: nodeTable(), 'remote-endpoints': remoteEndpointTable(),
  services: serviceTable(), 'endpoint-slices': sliceTable(), frontends: frontendTable(), backends: backendTable(),
});
export type Tables = ReturnType<typeof makeTables>;

export interface Agent {
  readonly options: AgentOptions;
  readonly tables: Tables;
  readonly observer: Observer;
  /** What audited policies would have done. */
  readonly audits: Audits;
  readonly ruleCounts: RuleCounts;
  readonly datapath: Datapath;
  readonly policies: PolicySet;
  readonly policy: PolicyReconciler;
  readonly services: Services;
  readonly resets: Resets;
  readonly enforcement: Enforcement;
  readonly attachMode: AttachMode;
  readonly xdpDevices: XdpDevices;
  readonly sweeper: Sweeper;
  readonly dns: Dns;
  readonly l7: L7;
  readonly byTcp: DnsByTcp;
  readonly startedAt: Date;
  /** Ends the workloads and removes everything that the agent made on this machine. */
  readonly stop: () => Promise<void>;
}

/** What fits through every device that leads outside; 1500: none does. */
const mtuOf = (netdevs: readonly NetdevRow[]): number => (netdevs.length === 0 ? 1_500 : Math.min(...netdevs.map((row) => row.mtu)));

type Undo = (() => void | Promise<void>)[];

const stopGraceMs = 1_000;

/**
 * Throws ConfigError, with nothing left behind but what was there before, when the machine or an option stands in the way.
 * The process must end then.
 */
export async function startAgent(options: AgentOptions): Promise<Agent> {
  const { instance } = options;
  requireMachine(checkMachine(objectPath));
  let owns = !existsSync(instance.stateDir);
  const unlock = takeLock(instance);
  const undo: Undo = [unlock, () => { removePins(instance.pinDir); }];
  const stop = async (): Promise<void> => {
    forget(instance);
    for (const step of undo.splice(0).reverse()) await step();
    removeFolders(instance);
  };
  try {
    const agent = await start(options, undo, stop, () => { owns = true; });
    owns = true;
    return agent;
  } catch (error) {
    // What an agent before left runs on as it is: this process ends like that one, and the next may do better.
    if (owns) await stop();
    else unlock();
    throw error;
  }
}

async function start(options: AgentOptions, undo: Undo, stop: () => Promise<void>, owns: () => void): Promise<Agent> {
  const { instance, ranges, cluster, log } = options;
  const progress = new Progress(log);
  const netlink = new Netlink();
  undo.push(() => { closeSync(netlink.fd); });
  const { datapath, hooks, attachMode, policy, adopted, applied } = await open(options, netlink, owns);
  undo.push(() => { datapath.object.close(); });
  setShare(datapath.proxyShares, options.l7Share ?? defaultShare);
  hooks.attachSockets(cgroupRoot()!);
  undo.push(startSockmap(instance, datapath, hooks, cgroupRoot()!, options.sockmap ?? 'off'));
  const clients = new ServiceClients(datapath, cgroupRoot()!);
  undo.push(() => { clients.close(); });
  clients.addNode();
  const tables = makeTables();
  const allocator = new IdentityAllocator(tables.identities, cluster && new SharedNumbers(identitiesFolder(cluster.folder), cluster.node));
  // Nothing is pruned, relabelled or flipped before all files have been read.
  const synced = [tables.manifests.expect('agent'), tables.pods.expect('agent')];
  if (adopted !== undefined) takeOver(adopted, options, tables, allocator);
  undo.push(saveEndpoints(tables.endpoints, endpointsFolder(instance)));
  const gateway = ensureGateway(netlink, instance, ranges);
  undo.push(() => { removeGateway(netlink, instance, ranges); });
  undo.push(reflectNode(netlink, tables['node-addresses'], tables.netdevs));
  const sweeper = sweepConnections(datapath, tables.endpoints, progress.log('conntrack'));
  undo.push(sweeper.stop);
  const xdpDevices = new Map<string, XdpMode>();
  undo.push(reconcileNetdevs({ netdevs: tables.netdevs, datapath, hooks, log: progress.log('devices'), xdp: options.xdp ?? [], xdpDevices }));
  const underlayMtu = mtuOf(tables.netdevs.rows());
  ensureOverlay(netlink, instance, cluster, underlayMtu, datapath, hooks);
  if (cluster !== undefined) joinCluster(cluster, options, netlink, tables, allocator, progress, undo);

  const resets = startResets(tables, datapath, log);
  undo.push(() => resets.stop());
  const policies = new PolicySet(tables.manifests, tables.policies, tables.problems, undefined, policyServices(tables.services, tables['endpoint-slices']));
  const ruleCounts = new RuleCounts(datapath, policy.numbers, (key) => tables.policies.get(key) !== undefined);
  const serviceNames = new ServiceNames(tables.frontends, tables.backends);
  undo.push(() => { serviceNames.close(); });
  const { observer, audits, dns } = await openHubble(options, tables, datapath, policy, policies, { resets, services: serviceNames, progress }, undo);
  undo.push(followRules(ruleCounts, tables.policies, progress.log('rules')));
  const names = options.names === false ? undefined
    : startNames({ instance, ranges, serviceRanges: Object.values(serviceRangesIn(options).clusterIps), ...(cluster === undefined ? {} : { node: cluster.node }), log }, tables);
  undo.push(() => { names?.stop(); });
  const workloads = new WorkloadReconciler({
    instance, pods: tables.pods, workloads: tables.workloads, resolvFile: (pod) => names?.resolvFile(pod), cgroupFolder: cgroupFolder(instance.cgroup),
    addresses: (key) => {
      const row = tables.endpoints.get(key);
      return row === undefined ? [] : [row.ipv4, row.ipv6];
    },
    drained: async (row) => services.drained(row), log: progress.log('workloads'),
  });
  const mtu = cluster === undefined ? underlayMtu : mtuBetween(underlayMtu, cluster);
  const endpoints = new EndpointReconciler({
    instance, netlink, hooks, clients, gateway, ranges, mtu,
    workloads: tables.workloads, manifests: tables.manifests, endpoints: tables.endpoints, identities: allocator,
    release: (key) => { workloads.release(key); }, failed: (key, message) => {
      progress.failed('endpoints');
      workloads.fail(key, message);
    },
  });
  undo.push(() => { endpoints.stop(); });
  const services = startServices(options, tables, datapath, resets, adopted?.services);
  undo.push(services.stop);
  serviceNames.follow(services.users);
  const steering = sharedSteering({ instance, netlink, datapath, hooks, mtu });
  undo.push(steering.stop);
  const changed = (): void => { enforcement.mark(); };
  const l7 = l7Proxy({
    instance, cgroup: cgroupFolder(join(instance.cgroup, 'envoy')), ...(options.envoy === undefined ? {} : { binary: options.envoy }), steering, manifests: tables.manifests,
    onAccess: (entry) => { observer.access(entry, enforcement.ruleSet(entry.ruleSet)); }, changed, log: progress.log('envoy'),
  });
  undo.push(() => l7.stop());
  const share = options.l7Share ?? defaultShare;
  undo.push(followCapacity(() => l7.status()?.pid ?? 0, (part) => { setShare(datapath.proxyShares, share, part); }));
  undo.push(followWorkers({
    runs: () => l7.status()?.running === true, ids: () => tables.endpoints.rows().map(({ id }) => id), spentMs: (id) => proxyUsed(datapath.proxyUses, id).spentMs, moves: datapath.proxyMoves,
  }));
  undo.push(tables.manifests.subscribe((changes) => { if (changes.some(({ row, old }) => (row ?? old)?.kind === 'Secret')) enforcement.mark(); }));
  const byTcp = dnsByTcp({ instance, cgroup: cgroupFolder(join(instance.cgroup, 'dns')), steering, datapath, objectPath, changed, log: progress.log('dns') });
  undo.push(() => byTcp.stop());
  const enforcement = new Enforcement({
    policies, endpoints: tables.endpoints, identities: tables.identities, allocator, nodeAddresses: tables['node-addresses'], ipcache: tables.ipcache,
    nodes: tables.nodes, remoteEndpoints: tables['remote-endpoints'],
    reconciler: policy, proxy: l7, dnsByTcp: byTcp.serve, ...(adopted === undefined ? {} : { adopted: [...adopted.identities.keys()] }),
    applied: async () => {
      services.flush();
      await applied();
      sweeper.begin();
      dns.begin();
    },
    open: (row) => { endpoints.open(row); }, log: progress.log('policy'),
  });
  progress.waits('policy', () => enforcement.waiting);
  progress.waits('workloads', () => workloads.working);
  undo.push(() => enforcement.stop());
  undo.push(async () => {
    await workloads.stopAll(stopGraceMs);
    workloads.close();
  });

  const agent: Agent = { options, tables, observer, audits, ruleCounts, datapath, policies, policy, services, resets, enforcement, attachMode, xdpDevices, sweeper, dns, l7, byTcp, startedAt: new Date(), stop };
  undo.push(await serveApi(instance.apiSocket, verbsOf(agent)));
  undo.push(reflectPods(tables.manifests, tables.pods, tables.problems,
    { allowRoot: options.allowRoot, ...(cluster === undefined ? {} : { placement: cluster }) }, services.standing));
  if (options.dir !== undefined) {
    const directory = await reflectDirectory({ dir: options.dir, display: options.dir, manifests: tables.manifests, problems: tables.problems, keep: manifestsFolder(instance) });
    undo.push(() => { directory.stop(); });
  }
  for (const done of synced) done();
  return agent;
}

/** The rows of what lives on: endpoints with their identities, prefixes that policies name, pods that no file tells of. */
function takeOver({ endpoints, identities }: NonNullable<Opened['adopted']>, { instance, allowRoot }: AgentOptions, tables: Tables, allocator: IdentityAllocator): void {
  tables.endpoints.write(endpoints);
  for (const [prefix, id] of identities) if (isLocalIdentity(id)) allocator.keep(`cidr:${prefix}`, 'cidr', cidrLabels(prefix, true), id);
  const asRoot = (pod: PodRow): boolean => pod.containers.some((container) => container.runAsUser === 0);
  tables.pods.write(podsByHand(join(instance.stateDir, 'pods')).filter((pod) => allowRoot || !asRoot(pod)));
}

/** What the other nodes told stands before anything is judged. */
function joinCluster(member: Membership, { ranges, log }: AgentOptions, netlink: Netlink, tables: Tables, identities: IdentityAllocator, progress: Progress, undo: Undo): void {
  const { nodes, netdevs, endpoints, workloads, 'remote-endpoints': remote } = tables;
  const reflector = new ClusterReflector(member, { nodes, endpoints: remote, identities }, log);
  undo.push(() => { reflector.stop(); });
  undo.push(reconcileRoutes(nodes, netdevs, netlink, progress.log('routes')));
  undo.push(publishNode(member, ranges, netdevs, endpoints, workloads));
}

async function openHubble({ instance, cluster, hubble = {}, log }: AgentOptions, tables: Tables, datapath: Datapath, policy: PolicyReconciler, policies: PolicySet, { resets, services, progress }: { readonly resets: Resets; readonly services: ServiceNames; readonly progress: Progress }, undo: Undo): Promise<Pick<Agent, 'observer' | 'audits' | 'dns'>> {
  const nodeName = cluster?.node ?? hostname();
  const names = new Names(tables.endpoints, tables['remote-endpoints'], tables.identities, policy.numbers, nodeName, services);
  undo.push(() => { names.close(); });
  const observer = new Observer({ nodeName, version, lookups: names.lookups, ...(hubble.redact && { redact: hubble.redact }) });
  const audits = new Audits(names.lookups, (key) => policies.auditedSince(key));
  undo.push(readFlows(datapath, {
    before: () => { names.look(); },
    records: (slots) => {
      observer.records(slots);
      audits.records(slots);
    },
    lost: (count) => { observer.lost('PERF_EVENT_RING_BUFFER', count); },
    upkeep: () => { names.upkeep((nowNs) => observer.oldestNs(nowNs)); },
  }));
  const dns = followDns({ datapath, reconciler: policy.dns, endpoints: tables.endpoints, observer, lookups: names.lookups, log: progress.log('dns'), savePath: dnsCachePath(instance) });
  undo.push(dns.stop);
  const identities = new AddressIdentities(tables.ipcache);
  undo.push(() => { identities.close(); });
  names.follow(dns.cache, identities);
  undo.push(await serveFlows({ observer, audits, instance, cluster, tables, datapath, progress, resets, log }, hubble));
  return { observer, audits, dns };
}
