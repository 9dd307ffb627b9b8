// The cluster's folder -> the tables of nodes and of other nodes' endpoints. Watches tell when to look; each look reads what changed, so a lost
// event heals. The same tables are to be filled from Kubernetes or another cluster's etcd: nobody behind them knows of files.
import { mkdirSync, statSync, watch } from 'node:fs';
import { messageOf } from '../errors.ts';
import type { IdentityAllocator } from '../identity/allocator.ts';
import type { Table } from '../store/table.ts';
import { covers } from './addresses.ts';
import { nodesFolder, readTold, toldNames, toldPath, type Membership, type Told } from './cluster.ts';
import type { NodeRow, RemoteEndpointRow } from './tables.ts';

export interface ClusterTables {
  readonly nodes: Table<NodeRow>;
  readonly endpoints: Table<RemoteEndpointRow>;
  readonly identities: IdentityAllocator;
}

/** `heardAtMs`: when its file was last seen to have changed, by a clock that nobody sets. */
interface Peer { readonly told: Told; readonly mtimeMs: number; readonly inode: number; readonly heardAtMs: number }

const lookMs = 1_000;
/** A heartbeat comes every second. */
const silentMs = 5_000;
/** What a silent node told stands that long: its kernel goes on without the agent. */
const goneMs = 300_000;

export const healthOf = (silence: number): NodeRow['health'] => (silence < silentMs ? 'ok' : silence < goneMs ? 'silent' : 'gone');

/** Only for addresses of its own range is a node's word taken. */
export const trusted = ({ node, endpoints }: Told): RemoteEndpointRow[] =>
  endpoints.filter(({ ipv4, ipv6 }) => covers(node.ranges.ipv4, ipv4) && covers(node.ranges.ipv6, ipv6));

export class ClusterReflector {
  readonly #member: Membership;
  readonly #tables: ClusterTables;
  readonly #log: (line: string) => void;
  readonly #peers = new Map<string, Peer>();
  readonly #timer: NodeJS.Timeout;
  readonly #watcher: ReturnType<typeof watch>;
  #pending: NodeJS.Immediate | undefined;
  #stopped = false;

  /** The first look is done on return. */
  constructor(member: Membership, tables: ClusterTables, log: (line: string) => void) {
    this.#member = member;
    this.#tables = tables;
    this.#log = log;
    mkdirSync(nodesFolder(member.folder), { recursive: true, mode: 0o700 });
    // Set before the folder is read. A heartbeat alone (`change`) is for the timer.
    this.#watcher = watch(nodesFolder(member.folder), (event) => { if (event === 'rename') this.#pending ??= setImmediate(() => { this.look(); }); });
    this.#timer = setInterval(() => { this.look(); }, lookMs);
    this.look();
  }

  stop(): void {
    clearInterval(this.#timer);
    clearImmediate(this.#pending);
    this.#watcher.close();
    this.#stopped = true; // what the watch has told already is still to come
  }

  look(now = performance.now()): void {
    this.#pending = undefined;
    if (this.#stopped) return;
    this.#read(now);
    const { nodes, endpoints, identities } = this.#tables;
    const peers = [...this.#peers.values()];
    const health = new Map(peers.map(({ told, heardAtMs }) => [told.node.name, healthOf(now - heardAtMs)]));
    const isLocal = (name: string): boolean => name === this.#member.node;
    const known = peers.filter(({ told }) => !isLocal(told.node.name) && health.get(told.node.name) !== 'gone').flatMap(({ told }) => trusted(told));
    const user = (row: RemoteEndpointRow): string => `node/${row.node}/${row.key}`;
    const standing = known.filter((row) => identities.learn(user(row), row.labels, row.identity));
    if (standing.length < known.length) this.#log(`cluster: ${known.length - standing.length} endpoints of other nodes have an identity that is somebody else's here`);
    const keep = new Set(standing.map(user));
    const gone = endpoints.rows().map(user).filter((one) => !keep.has(one));
    endpoints.replace(standing);
    for (const one of gone) identities.drop(one);
    nodes.replace(peers.map(({ told }) => ({
      ...told.node, local: isLocal(told.node.name), health: isLocal(told.node.name) ? 'ok' as const : health.get(told.node.name)!, endpoints: told.endpoints.length,
    })));
  }

  #readNode(name: string, now: number): void {
    const file = statSync(toldPath(this.#member.folder, name), { throwIfNoEntry: false });
    if (file === undefined) return;
    const before = this.#peers.get(name);
    if (before?.inode === file.ino && before.mtimeMs === file.mtimeMs) return;
    const told = before?.inode === file.ino ? before.told : readTold(this.#member.folder, name);
    // What stood before this agent began is as old as the file says.
    const heardAtMs = before === undefined ? now - Math.max(0, Date.now() - file.mtimeMs) : now;
    if (told !== undefined) this.#peers.set(name, { told, mtimeMs: file.mtimeMs, inode: file.ino, heardAtMs });
  }

  /** Undefined: the folder cannot be read, and what was read before stands. */
  #names(): string[] | undefined {
    try {
      return toldNames(this.#member.folder);
    } catch (error) {
      this.#log(`cluster: ${messageOf(error)}`);
      return undefined;
    }
  }

  #read(now: number): void {
    const names = this.#names();
    if (names === undefined) return;
    for (const name of [...this.#peers.keys()]) if (!names.includes(name)) this.#peers.delete(name);
    for (const name of names) {
      try {
        this.#readNode(name, now);
      } catch (error) {
        // Gone between two calls, or none of ours: what was read before stands.
        this.#log(`cluster: ${name}: ${messageOf(error)}`);
      }
    }
  }
}
