// How an agent begins: on what one before left in the kernel when it died, or clean. A record in the state folder says under
// which layout and options that one ran; without it, or with other options, nothing is adopted and everything goes first. Other
// maps are an upgrade (upgrade.ts).
import { existsSync, mkdirSync, readdirSync, readlinkSync, rmdirSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { objectPath } from '../bpf/build.ts';
import { limit } from '../bpf/types.gen.ts';
import type { AgentOptions } from './agent.ts';
import { Hooks, removePins } from './datapath/hooks.ts';
import { layoutOf } from './datapath/layout.ts';
import { loadDatapath, type Datapath } from './datapath/maps.ts';
import { removeDnsProxy } from './dns/by-tcp.ts';
import { readEndpoints, standing } from './endpoint/saved.ts';
import type { EndpointRow } from './endpoint/tables.ts';
import { removeEnvoy } from './envoy/start.ts';
import { proxyInterfaces, removeSteering } from './envoy/steering.ts';
import { messageOf } from './errors.ts';
import type { Instance } from './instance.ts';
import { detectAttachMode, type AttachMode } from './kernel/attach.ts';
import { errno, KernelError, VerifierError } from './kernel/errors.ts';
import { deleteLink, links } from './kernel/link.ts';
import type { Netlink } from './kernel/netlink.ts';
import { checkRanges, defaultRanges, keepRanges, keptRanges, type Ranges } from './node/addresses.ts';
import { cgroupFolder, ensureMounts } from './node/check.ts';
import { overlayInterface } from './node/overlay.ts';
import { gatewayInterfaces, ownInterfaces, removeGateway } from './node/gateway.ts';
import { PolicyReconciler } from './policy/reconciler.ts';
import { serviceRangesIn } from './service/start.ts';
import { readJson, writeJson } from './store/file.ts';
import { upgrade } from './upgrade.ts';
import { cleanupWorkloads } from './workload/reconciler.ts';

interface AgentRecord {
  readonly layout: string;
  /** The network namespace that it ran in. */
  readonly network: string;
  readonly attach: AttachMode | 'auto';
  /** How it reached other nodes: the MTU of workloads follows from it. */
  readonly tunnel: string;
  readonly maps: readonly string[];
  /** Rows of its conntrack table. */
  readonly connections?: number;
}

const recordPath = (instance: Instance): string => join(instance.stateDir, 'agent.json');
export const numbersPath = (instance: Instance): string => join(instance.stateDir, 'numbers.json');
export const dnsCachePath = (instance: Instance): string => join(instance.stateDir, 'dns-cache.jsonl');
export const endpointsFolder = (instance: Instance): string => join(instance.stateDir, 'endpoints');

export const manifestsFolder = (instance: Instance): string => join(instance.stateDir, 'manifests');

export interface Opened {
  readonly datapath: Datapath;
  readonly hooks: Hooks;
  readonly attachMode: AttachMode;
  readonly policy: PolicyReconciler;
  /** To be called after each flip. */
  readonly applied: () => Promise<void>;
  /** Absent after a clean start: the endpoints that live on, the identity that the kernel has for each prefix, and, where its maps were others,
   * the number of the service behind each frontend. */
  readonly adopted?: { readonly endpoints: readonly EndpointRow[]; readonly identities: ReadonlyMap<string, number>; readonly services?: ReadonlyMap<string, number> };
}

/**
 * Loads the programs on the maps that are pinned, or on new ones. `owns` is called when nothing is adopted: all that is on the
 * machine from then on is this agent's.
 */
export async function open(options: AgentOptions, netlink: Netlink, owns: () => void): Promise<Opened> {
  const { instance, ranges, log } = options;
  const wanted = { layout: layoutOf(objectPath), network: readlinkSync('/proc/self/ns/net'), attach: options.attachMode ?? 'auto', tunnel: tunnelOf(options),
    connections: options.connections ?? limit.MAX_CONNECTIONS } as const;
  const own = ownInterfaces(netlink, instance);
  checkRanges(netlink, ranges, own);
  const { clusterIps, pool } = serviceRangesIn(options);
  checkRanges(netlink, clusterIps, own, { name: "Services'", option: 'service-' });
  checkRanges(netlink, pool, own, { name: "load balancers'", option: 'pool-' });
  ensureMounts();
  const keep = (): void => { writeJson(recordPath(instance), { ...wanted, maps: pinnedMaps(instance) } satisfies AgentRecord); };
  let reason = whyClean(instance, ranges, wanted);
  if (reason === undefined) {
    const { layout, connections } = readRecord(instance)!;
    if (layout !== wanted.layout || connections !== wanted.connections) return upgrade(options, netlink, keep);
    try {
      const opened = adopt(options, netlink);
      log(`takes over ${opened.adopted?.endpoints.length} endpoints from an agent that had died`);
      return opened;
    } catch (error) {
      // EINVAL: the pinned maps are not those of this object. What else does not load is no reason to end what runs.
      if (error instanceof VerifierError || (error instanceof KernelError && error.errno !== errno.EINVAL)) throw error;
      reason = messageOf(error);
    }
  }
  const left = existsSync(instance.pinDir) && readdirSync(instance.pinDir).length > 0;
  if (left) log(`starts clean and ends what runs: ${reason}`);
  await removeLeftovers(instance, netlink);
  owns();
  keepRanges(instance, ranges);
  const opened = load(options, netlink);
  keep();
  return opened;
}

/** From here on a kill -9 is followed by a clean start: what is half removed cannot be adopted. */
export const forget = (instance: Instance): void => { rmSync(recordPath(instance), { force: true }); };

const pinnedMaps = (instance: Instance): string[] => readdirSync(instance.pinDir, { withFileTypes: true }).filter((entry) => !entry.isDirectory()).map((entry) => entry.name);
const tunnelOf = ({ cluster }: AgentOptions): string => (cluster === undefined ? 'one node' : `${cluster.tunnel} over ${cluster.underlay}`);

const readRecord = (instance: Instance): AgentRecord | undefined => readJson(recordPath(instance)) as AgentRecord | undefined;

/** Undefined: what an agent before left can be adopted. */
function whyClean(instance: Instance, ranges: Ranges, wanted: Omit<AgentRecord, 'maps'>): string | undefined {
  const before = readRecord(instance);
  const kept = keptRanges(instance);
  if (before === undefined || kept === undefined) return 'the agent before died while it began or stopped';
  if (kept.ipv4 !== ranges.ipv4 || kept.ipv6 !== ranges.ipv6) return `it has addresses of ${kept.ipv4} and ${kept.ipv6}`;
  if (before.attach !== wanted.attach) return `its programs are attached otherwise (--attach ${before.attach})`;
  if (before.network !== wanted.network) return 'it ran in another network namespace';
  if (before.tunnel !== wanted.tunnel) return `it reached other nodes otherwise (${before.tunnel})`;
  const missing = before.maps.find((name) => !existsSync(join(instance.pinDir, name)));
  return missing === undefined ? undefined : `its map ${missing} is gone`;
}

function load(options: AgentOptions, netlink: Netlink): Opened {
  const { instance } = options;
  mkdirSync(instance.pinDir, { recursive: true, mode: 0o700 });
  const datapath = loadDatapath(objectPath, { pinDir: instance.pinDir, ...(options.connections === undefined ? {} : { connections: options.connections }) });
  const attachMode = options.attachMode ?? detectAttachMode(datapath.object.programs.get('from_workload')!);
  return { datapath, attachMode, hooks: new Hooks(netlink, attachMode, datapath.object, instance), policy: new PolicyReconciler(datapath, numbersPath(instance)),
    applied: () => Promise.resolve() };
}

function adopt(options: AgentOptions, netlink: Netlink): Opened {
  const { instance } = options;
  const opened = load(options, netlink);
  try {
    const all = links(netlink);
    const endpoints = standing(readEndpoints(endpointsFolder(instance)), all, new Map(opened.datapath.endpoints.entries()));
    const identities = opened.policy.adopt(endpoints);
    sweepLinks(netlink, instance, endpoints, opened.hooks);
    return { ...opened, adopted: { endpoints, identities } };
  } catch (error) {
    opened.datapath.object.close();
    throw error;
  }
}

/** Takes away the interfaces of what was being started or ended, and the pins of links whose interface is gone. */
export function sweepLinks(netlink: Netlink, instance: Instance, endpoints: readonly EndpointRow[], hooks: Hooks): void {
  const kept = new Set([...gatewayInterfaces(instance), overlayInterface(instance), ...proxyInterfaces(instance), ...endpoints.map((row) => row.interfaceName)]);
  for (const { name } of links(netlink)) if (name.startsWith(instance.interfacePrefix) && !kept.has(name)) deleteLink(netlink, name);
  hooks.sweep(new Set(links(netlink).map((link) => link.index)));
}

/** What an agent that died left, all of it: its workloads, interfaces and pins. */
export async function removeLeftovers(instance: Instance, netlink: Netlink): Promise<number> {
  forget(instance);
  const ended = await cleanupWorkloads(instance, cgroupFolder(instance.cgroup));
  await removeEnvoy(instance, cgroupFolder(join(instance.cgroup, 'envoy')));
  await removeDnsProxy(instance, cgroupFolder(join(instance.cgroup, 'dns')));
  removePins(instance.pinDir);
  removeSteering(netlink, instance);
  removeGateway(netlink, instance, keptRanges(instance) ?? defaultRanges(instance.name));
  for (const path of [numbersPath(instance), dnsCachePath(instance), endpointsFolder(instance), manifestsFolder(instance)]) rmSync(path, { recursive: true, force: true });
  return ended;
}

/** The folders of the instance, and their parents when no other instance is left in them. */
export function removeFolders(instance: Instance): void {
  rmSync(instance.stateDir, { recursive: true, force: true });
  const inPins = existsSync(instance.pinDir) ? readdirSync(instance.pinDir, { withFileTypes: true }).filter((entry) => entry.isDirectory()).map(({ name }) => join(instance.pinDir, name)) : [];
  for (const folder of [...inPins, instance.pinDir, cgroupFolder(instance.cgroup)]) removeEmpty(folder);
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
