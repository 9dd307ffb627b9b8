// One agent: its tables, what fills them and what follows them. `weir up` and the tests hold it in their hand.
import { closeSync, mkdirSync, rmdirSync, rmSync } from 'node:fs';
import { hostname } from 'node:os';
import { dirname, join } from 'node:path';
import { objectPath } from '../bpf/build.ts';
import { toFlow } from '../hubble/flow.ts';
import { Observer, serveHubble } from '../hubble/observer.ts';
import { serveApi } from './api/server.ts';
import { verbsOf } from './api/verbs.ts';
import { Enforcement } from './datapath/enforcement.ts';
import { Hooks, removePins } from './datapath/hooks.ts';
import { loadDatapath, type Datapath } from './datapath/maps.ts';
import { reflectDirectory } from './directory/reflector.ts';
import { manifestTable, problemTable } from './directory/tables.ts';
import { EndpointReconciler } from './endpoint/reconciler.ts';
import { endpointTable } from './endpoint/tables.ts';
import { lookupsOf } from './flow/lookups.ts';
import { readFlows } from './flow/source.ts';
import { IdentityAllocator } from './identity/allocator.ts';
import { identityTable } from './identity/tables.ts';
import type { Instance } from './instance.ts';
import { ipcacheTable } from './ipcache/tables.ts';
import { detectAttachMode, type AttachMode } from './kernel/attach.ts';
import { Netlink } from './kernel/netlink.ts';
import { checkRanges, defaultRanges, keepRanges, keptRanges, type Ranges } from './node/addresses.ts';
import { cgroupFolder, checkMachine, ensureMounts, requireMachine } from './node/check.ts';
import { ensureGateway, ownInterfaces, removeGateway } from './node/gateway.ts';
import { takeLock } from './node/lock.ts';
import { reconcileNetdevs } from './node/reconciler.ts';
import { reflectNode } from './node/reflector.ts';
import { netdevTable, nodeAddressTable } from './node/tables.ts';
import { PolicyReconciler } from './policy/reconciler.ts';
import { PolicySet } from './policy/reflector.ts';
import { policyTable } from './policy/tables.ts';
import { reconcileHosts } from './workload/hosts-reconciler.ts';
import { cleanupWorkloads, WorkloadReconciler } from './workload/reconciler.ts';
import { reflectPods } from './workload/reflector.ts';
import { podTable, workloadTable } from './workload/tables.ts';
import { version } from './version.ts';

export interface AgentOptions {
  readonly instance: Instance;
  readonly ranges: Ranges;
  /** The manifest directory; absent: workloads come by hand only. */
  readonly dir?: string;
  /** Whether a workload may run as uid 0. */
  readonly allowRoot: boolean;
  /** As the kernel can, unless it is given. */
  readonly attachMode?: AttachMode;
  readonly log: (line: string) => void;
}

export const makeTables = () => ({
  manifests: manifestTable(), problems: problemTable(), pods: podTable(), workloads: workloadTable(), endpoints: endpointTable(),
  identities: identityTable(), ipcache: ipcacheTable(), policies: policyTable(), 'node-addresses': nodeAddressTable(), netdevs: netdevTable(),
});
export type Tables = ReturnType<typeof makeTables>;

export interface Agent {
  readonly options: AgentOptions;
  readonly tables: Tables;
  readonly observer: Observer;
  readonly datapath: Datapath;
  readonly policies: PolicySet;
  readonly policy: PolicyReconciler;
  readonly enforcement: Enforcement;
  readonly attachMode: AttachMode;
  readonly startedAt: Date;
  /** Ends the workloads and removes everything that the agent made on this machine. */
  readonly stop: () => Promise<void>;
}

type Undo = (() => void | Promise<void>)[];

const flowCapacity = 4_095;
const maxMtu = 1_500;
const stopGraceMs = 1_000;

/** Throws ConfigError, with nothing left behind, when the machine or an option stands in the way. */
export async function startAgent(options: AgentOptions): Promise<Agent> {
  requireMachine(checkMachine(objectPath));
  const undo: Undo = [takeLock(options.instance)];
  const stop = async (): Promise<void> => {
    for (const step of undo.splice(0).reverse()) await step();
    removeFolders(options.instance);
  };
  try {
    return await start(options, undo, stop);
  } catch (error) {
    await stop();
    throw error;
  }
}

async function start(options: AgentOptions, undo: Undo, stop: () => Promise<void>): Promise<Agent> {
  const { instance, ranges, log } = options;
  const netlink = new Netlink();
  undo.push(() => { closeSync(netlink.fd); });
  await removeLeftovers(instance, netlink);
  checkRanges(netlink, ranges, ownInterfaces(netlink, instance));
  const tables = makeTables();
  const { datapath, hooks, attachMode } = openDatapath(options, netlink, undo);
  keepRanges(instance, ranges);
  const gateway = ensureGateway(netlink, instance, ranges);
  undo.push(() => { removeGateway(netlink, instance, ranges); });
  undo.push(reflectNode(netlink, tables['node-addresses'], tables.netdevs));
  undo.push(reconcileNetdevs(tables.netdevs, datapath, hooks, log));

  const allocator = new IdentityAllocator(tables.identities);
  const policy = new PolicyReconciler(datapath);
  const observer = await openHubble(instance, tables, datapath, policy, undo);
  const policies = new PolicySet(tables.manifests, tables.policies, tables.problems);
  const hosts = reconcileHosts(tables.endpoints, instance);
  undo.push(hosts.stop);
  const workloads = new WorkloadReconciler({
    instance, pods: tables.pods, workloads: tables.workloads, hostsFile: hosts.path, cgroupFolder: cgroupFolder(instance.cgroup), log,
  });
  const endpoints = new EndpointReconciler({
    instance, netlink, hooks, gateway, ranges, mtu: Math.min(maxMtu, ...tables.netdevs.rows().map((row) => row.mtu)),
    workloads: tables.workloads, manifests: tables.manifests, endpoints: tables.endpoints, identities: allocator,
    release: (key) => { workloads.release(key); }, failed: (key, message) => { workloads.fail(key, message); },
  });
  undo.push(() => { endpoints.stop(); });
  const enforcement = new Enforcement({
    policies, endpoints: tables.endpoints, identities: tables.identities, allocator, nodeAddresses: tables['node-addresses'], ipcache: tables.ipcache,
    reconciler: policy, open: (row) => { endpoints.open(row); }, log,
  });
  undo.push(() => enforcement.stop());
  undo.push(async () => {
    await workloads.stopAll(stopGraceMs);
    workloads.close();
  });

  const agent: Agent = { options, tables, observer, datapath, policies, policy, enforcement, attachMode, startedAt: new Date(), stop };
  undo.push(await serveApi(instance.apiSocket, verbsOf(agent)));
  undo.push(reflectPods(tables.manifests, tables.pods, tables.problems, options));
  if (options.dir !== undefined) {
    const directory = await reflectDirectory({ dir: options.dir, display: options.dir, manifests: tables.manifests, problems: tables.problems });
    undo.push(() => { directory.stop(); });
  }
  return agent;
}

function openDatapath(options: AgentOptions, netlink: Netlink, undo: Undo) {
  const { instance } = options;
  ensureMounts();
  mkdirSync(instance.pinDir, { recursive: true, mode: 0o700 });
  undo.push(() => { removePins(instance.pinDir); });
  const datapath = loadDatapath(objectPath, instance.pinDir);
  undo.push(() => { datapath.object.close(); });
  const attachMode = options.attachMode ?? detectAttachMode(datapath.object.programs.get('from_workload')!);
  return { datapath, attachMode, hooks: new Hooks(netlink, attachMode, datapath.object, instance) };
}

async function openHubble(instance: Instance, tables: Tables, datapath: Datapath, policy: PolicyReconciler, undo: Undo): Promise<Observer> {
  const nodeName = hostname();
  const observer = new Observer({ capacity: flowCapacity, nodeName, version });
  const lookups = lookupsOf(tables.endpoints, tables.identities, policy, nodeName);
  const flows = readFlows(datapath, (record) => { observer.record(toFlow(record, lookups)); },
    (count) => { observer.lost('PERF_EVENT_RING_BUFFER', Number(count)); });
  undo.push(flows.stop);
  undo.push(await serveHubble(observer, instance.hubbleSocket));
  return observer;
}

/** After a kill -9 of the agent before: its workloads, interfaces and pins. */
export async function removeLeftovers(instance: Instance, netlink: Netlink): Promise<number> {
  const ended = await cleanupWorkloads(instance, cgroupFolder(instance.cgroup));
  removePins(instance.pinDir);
  removeGateway(netlink, instance, keptRanges(instance) ?? defaultRanges(instance.name));
  return ended;
}

/** The folders of the instance, and their parents when no other instance is left in them. */
export function removeFolders(instance: Instance): void {
  rmSync(instance.stateDir, { recursive: true, force: true });
  for (const folder of [join(instance.pinDir, 'links'), instance.pinDir, cgroupFolder(instance.cgroup)]) removeEmpty(folder);
  for (const folder of [instance.stateDir, instance.pinDir, cgroupFolder(instance.cgroup)]) removeEmpty(dirname(folder));
}

/** What another instance still uses stays: only the kernel can tell without a race. */
function removeEmpty(folder: string): void {
  try {
    rmdirSync(folder);
  } catch (error) {
    if (!['ENOENT', 'ENOTEMPTY', 'EBUSY'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
  }
}
