// How an agent begins on what one with other maps left in the kernel: its own maps and programs are made beside those that run, endpoints
// come from their files, connections and addresses by name are copied. The programs change over with the first flip, link by link; until then, and when
// anything stands in the way, all goes on as it was.
import { closeSync, existsSync, mkdirSync, readdirSync, renameSync, rmdirSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import { objectPath } from '../bpf/build.ts';
import { limit, type Control, type Endpoint, type IpcacheKey, type IpcacheValue } from '../bpf/types.gen.ts';
import { endpointsFolder, numbersPath, sweepLinks, type Opened } from './adoption.ts';
import type { AgentOptions } from './agent.ts';
import { Hooks, removePins } from './datapath/hooks.ts';
import { loadDatapath, type Datapath } from './datapath/maps.ts';
import { copyRows, endGeneration, oldRows, type Copied } from './datapath/migration.ts';
import { copyAddresses } from './dns/migration.ts';
import { readEndpoints, standing } from './endpoint/saved.ts';
import type { EndpointRow } from './endpoint/tables.ts';
import { ConfigError } from './errors.ts';
import { prefixOfKey } from './ipcache/address.ts';
import { detectAttachMode } from './kernel/attach.ts';
import { openPin, pin } from './kernel/bpf.ts';
import { links } from './kernel/link.ts';
import type { Netlink } from './kernel/netlink.ts';
import { PolicyReconciler } from './policy/reconciler.ts';
import { numbersIn } from './service/numbers.ts';

const draftPrefix = 'next-';
const drafts = (pinDir: string): string[] => readdirSync(pinDir).filter((name) => name.startsWith(draftPrefix)).map((name) => join(pinDir, name));

/** `keep`: writes down that what is pinned is this agent's from now on. Throws with nothing changed when it cannot be done. */
export async function upgrade(options: AgentOptions, netlink: Netlink, keep: () => void): Promise<Opened> {
  const { instance, log } = options;
  const { pinDir } = instance;
  // One that died while it changed over: its connections are the newest.
  const sources = [...drafts(pinDir).filter((folder) => existsSync(join(folder, 'conntrack')) && existsSync(join(folder, 'nat'))), pinDir];
  const draft = join(pinDir, `${draftPrefix}${process.pid}`);
  mkdirSync(draft, { mode: 0o700 });
  let datapath: Datapath | undefined;
  try {
    shareListeners(pinDir, draft);
    datapath = loadDatapath(objectPath, { pinDir: draft, connections: options.connections ?? limit.MAX_CONNECTIONS });
    const old = readOld(pinDir);
    // Connections were judged in generations up to this one: each is judged again in the next.
    datapath.control.set(0, { generation: old.generation, audits: 0 });
    const all = links(netlink);
    const endpoints = standing(readEndpoints(endpointsFolder(instance)), all, old.endpoints);
    const copied = await copyAll(sources, datapath, endpoints);
    for (const folder of sources) copyAddresses(folder, datapath, endpoints);
    if (copied.lost > 0) throw new ConfigError(`${copied.connections + copied.lost} connections do not fit into a table of ${datapath.connections}`, 'give a larger --conntrack-entries');
    const attachMode = options.attachMode ?? detectAttachMode(datapath.object.programs.get('from_workload')!);
    const hooks = new Hooks(netlink, attachMode, datapath.object, instance, true);
    sweepLinks(netlink, instance, endpoints, hooks);
    const policy = new PolicyReconciler(datapath, numbersPath(instance));
    policy.dns.inherit();
    log(`takes over ${endpoints.length} endpoints and ${copied.connections} connections from an agent whose maps were others`);
    const applied = changeOver({ pinDir, draft, hooks, copy: async () => { copyAddresses(pinDir, datapath!, endpoints); return copyAll([pinDir], datapath!, endpoints); }, keep, log });
    return { datapath, hooks, attachMode, policy, applied, adopted: { endpoints, identities: old.identities, services: old.services } };
  } catch (error) {
    datapath?.object.close();
    removePins(draft);
    rmdirSync(draft);
    throw error;
  }
}

/** Only the kernel fills them, when Envoy's sockets begin to listen: the same maps go on. */
function shareListeners(from: string, to: string): void {
  for (const name of ['proxy_listeners', 'proxy_workers']) {
    if (!existsSync(join(from, name))) continue;
    const fd = openPin(join(from, name));
    try {
      pin(fd, join(to, name));
    } finally {
      closeSync(fd);
    }
  }
}

interface Old { readonly generation: number; readonly endpoints: ReadonlyMap<number, Endpoint>; readonly identities: ReadonlyMap<string, number>; readonly services: ReadonlyMap<string, number> }

function readOld(folder: string): Old {
  const [control] = oldRows<number, Control>(folder, 'control_words', undefined, 'control');
  const generation = control?.[1].generation ?? 0;
  const identityOf = ({ since, peer }: IpcacheValue): number => peer[((generation - since) | 0) < 0 ? 0 : 1]!.identity;
  const prefixes = oldRows<IpcacheKey, IpcacheValue>(folder, 'ipcache', 'ipcache_key', 'ipcache_value');
  return {
    generation, endpoints: new Map(oldRows<number, Endpoint>(folder, 'endpoints', undefined, 'endpoint')),
    identities: new Map(prefixes.map(([key, value]) => [prefixOfKey(key), identityOf(value)])), services: numbersIn(folder),
  };
}

async function copyAll(folders: readonly string[], datapath: Datapath, endpoints: readonly EndpointRow[]): Promise<Copied> {
  let sum: Copied = { connections: 0, nat: 0, lost: 0 };
  for (const folder of folders) {
    const { connections, nat, lost } = await copyRows(folder, datapath, endpoints);
    sum = { connections: sum.connections + connections, nat: sum.nat + nat, lost: sum.lost + lost };
  }
  return sum;
}

interface Change { readonly pinDir: string; readonly draft: string; readonly hooks: Hooks; readonly copy: () => Promise<Copied>; readonly keep: () => void; readonly log: (line: string) => void }

/** After the first flip. What fails halfway is done by the next call: programs of both kinds judge alike meanwhile. */
function changeOver({ pinDir, draft, hooks, copy, keep, log }: Change): () => Promise<void> {
  let done = false;
  return async () => {
    if (done) return;
    hooks.release();
    // Those that were opened while programs of both kinds ran.
    const { lost } = await copy();
    if (lost > 0) log(`conntrack: ${lost} connections did not fit into the new table`);
    if (existsSync(join(draft, 'control_words'))) endGeneration(pinDir);
    const old = readdirSync(pinDir, { withFileTypes: true }).filter((entry) => !entry.isDirectory()).map(({ name }) => name);
    const names = existsSync(draft) ? readdirSync(draft) : [];
    for (const name of names) renameSync(join(draft, name), join(pinDir, name));
    // Maps that only the version before had.
    for (const name of old) if (!names.includes(name)) unlinkSync(join(pinDir, name));
    keep();
    for (const folder of drafts(pinDir)) {
      removePins(folder);
      rmdirSync(folder);
    }
    done = true;
  };
}
