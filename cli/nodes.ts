// Several nodes on this machine: `up --nodes` makes their network, starts an agent in each and starts it again when it dies; down ends them.
import { spawn, type ChildProcess } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import { removeFolders, removeLeftovers } from '../agent/adoption.ts';
import { ConfigError } from '../agent/errors.ts';
import { defaultInstance, type Instance } from '../agent/instance.ts';
import { inNetns, isNetns } from '../agent/kernel/netns.ts';
import { Netlink } from '../agent/kernel/netlink.ts';
import { clusterFolder, nodeInstance, nodeNames, readCluster, recordPath } from '../agent/node/cluster.ts';
import { runningAgent, takeLock } from '../agent/node/lock.ts';
import { checkUnderlay, ensureUnderlay, netnsOf, removeUnderlay } from '../agent/node/underlay.ts';
import { writeJson } from '../agent/store/file.ts';
import { processOf } from '../agent/workload/process.ts';
import { wordsOf, type AgentWords } from './agent.ts';

export type Shared = Omit<AgentWords, 'member'>;

const startTimeoutMs = 60_000;
const stopTimeoutMs = 30_000;
const pollMs = 50;
/** An agent that died is started again after so long; twice as long after each time, as long as it does not stay. */
const firstRestartMs = 500;
const lastRestartMs = 30_000;

const readyPath = (cluster: Instance): string => join(clusterFolder(cluster), 'ready');
const logPath = (instance: Instance): string => `${instance.stateDir}.log`;
const readRecord = (cluster: Instance): Shared | undefined => readCluster(cluster) as Shared | undefined;

const nodesOf = (cluster: Instance): string[] => nodeNames(readRecord(cluster)?.nodes ?? 0);
/** Before an `up` in the background, whose word it is. */
export const forgetReady = (cluster: Instance): void => { rmSync(readyPath(cluster), { force: true }); };
export const isReady = (cluster: Instance): boolean => existsSync(readyPath(cluster));

export class Nodes {
  readonly #cluster: Instance;
  readonly #words: Shared;
  readonly #log: (line: string) => void;
  readonly #unlock: () => void;
  /** Agents that were started here and live: none is started a second time while it is still on its way to its lock. */
  readonly #children = new Map<string, ChildProcess>();
  readonly #restarts = new Map<string, { afterMs: number; atMs: number }>();
  #watch: NodeJS.Timeout | undefined;
  /** What an `up` before left is not this one's to remove when it cannot start. */
  #owns = true;

  /** Throws ConfigError when this name is taken by something else. */
  constructor(cluster: Instance, words: Shared, log: (line: string) => void) {
    this.#cluster = cluster;
    this.#words = words;
    this.#log = log;
    if (existsSync(join(cluster.stateDir, 'agent.json'))) {
      throw new ConfigError(`an agent of the name ${cluster.name} ran alone and has died or still runs`, `./weir down${cluster.name === defaultInstance ? '' : ` --instance ${cluster.name}`} removes what it left`);
    }
    this.#unlock = takeLock(cluster);
  }

  get names(): string[] { return nodeNames(this.#words.nodes); }

  /** What an `up` before left is taken over when it had the same options; agents that still run stay. */
  async start(): Promise<void> {
    const before = readRecord(this.#cluster);
    const words = JSON.parse(JSON.stringify(this.#words)) as Shared;
    if (before !== undefined && !isDeepStrictEqual(before, words)) {
      this.#log('starts clean: the nodes that are there were started otherwise');
      await removeNodes(this.#cluster);
    } else this.#owns = before === undefined;
    const netlink = new Netlink();
    checkUnderlay(netlink, this.#cluster, { ipv4: words.ipv4Range, ipv6: words.ipv6Range });
    mkdirSync(clusterFolder(this.#cluster), { recursive: true, mode: 0o700 });
    writeJson(recordPath(this.#cluster), words);
    ensureUnderlay(netlink, this.#cluster, this.names);
    closeSync(netlink.fd);
    await Promise.all(this.names.map(async (node) => this.#startNode(node)));
    this.#owns = true;
    writeFileSync(readyPath(this.#cluster), '', { mode: 0o600 });
    this.#watch = setInterval(() => { for (const node of this.names) this.#look(node); }, pollMs * 4);
  }

  async stop(): Promise<void> {
    clearInterval(this.#watch);
    if (!this.#owns) {
      this.#unlock();
      return;
    }
    await removeNodes(this.#cluster);
    this.#unlock();
    removeFolders(this.#cluster);
  }

  #spawn(node: string): number | undefined {
    const log = openSync(logPath(nodeInstance(this.#cluster.name, node)), 'a', 0o600);
    try {
      // The child is born in the namespace that this thread is in at that moment.
      const child = inNetns(netnsOf(this.#cluster, node), () => spawn(process.execPath, [...process.execArgv, process.argv[1]!, ...wordsOf({ ...this.#words, member: node })],
        { detached: true, stdio: ['ignore', log, log] }));
      this.#children.set(node, child);
      child.once('exit', () => { if (this.#children.get(node) === child) this.#children.delete(node); });
      child.unref();
      return child.pid;
    } finally {
      closeSync(log);
    }
  }

  async #startNode(node: string): Promise<void> {
    const instance = nodeInstance(this.#cluster.name, node);
    if (runningAgent(instance) !== undefined) return;
    rmSync(instance.apiSocket, { force: true });
    rmSync(logPath(instance), { force: true });
    const pid = this.#spawn(node);
    for (const end = Date.now() + startTimeoutMs; runningAgent(instance) !== pid || !existsSync(instance.apiSocket);) {
      if (!existsSync(`/proc/${pid}`) || Date.now() > end) throw lastWords(node, instance);
      await sleep(pollMs);
    }
  }

  #look(node: string): void {
    const instance = nodeInstance(this.#cluster.name, node);
    const now = Date.now();
    const due = this.#restarts.get(node);
    if (runningAgent(instance) !== undefined) {
      if (due !== undefined && now - due.atMs > lastRestartMs) this.#restarts.delete(node);
      return;
    }
    if (this.#children.has(node) || (due !== undefined && now < due.atMs)) return;
    const afterMs = due === undefined ? firstRestartMs : Math.min(due.afterMs * 2, lastRestartMs);
    this.#restarts.set(node, { afterMs, atMs: now + afterMs });
    if (due === undefined) {
      this.#log(`${node}: its agent has died; what it enforces stands, another one follows`);
      return;
    }
    this.#spawn(node);
  }
}

function lastWords(node: string, instance: Instance): ConfigError {
  const [message = '', ...mend] = readFileSync(logPath(instance), 'utf8').trim().replace(/^weir: /, '').split('\n');
  return new ConfigError(`${node}: ${message === '' ? 'its agent ended while it started' : message}`, mend.length > 0 ? mend.join('\n').trim() : undefined);
}

async function endAgent(instance: Instance): Promise<void> {
  const pid = runningAgent(instance);
  if (pid === undefined) return;
  process.kill(pid, 'SIGTERM');
  // Its lock goes before its folders do.
  for (const end = Date.now() + stopTimeoutMs; runningAgent(instance) !== undefined || processOf(pid) !== undefined; await sleep(pollMs)) {
    if (Date.now() > end) throw new ConfigError(`process ${pid} does not end`, `kill -9 ${pid}, then ./weir down again`);
  }
}

/** Ends the agents of all nodes, removes what they left and their network. Returns how many workloads had no agent any more. */
export async function removeNodes(cluster: Instance): Promise<number> {
  const names = nodesOf(cluster);
  if (names.length === 0) return 0;
  rmSync(readyPath(cluster), { force: true });
  await Promise.all(names.map(async (node) => endAgent(nodeInstance(cluster.name, node))));
  let ended = 0;
  for (const node of names) {
    const instance = nodeInstance(cluster.name, node);
    const path = netnsOf(cluster, node);
    const netlink = isNetns(path) ? inNetns(path, () => new Netlink()) : new Netlink();
    ended += await removeLeftovers(instance, netlink);
    closeSync(netlink.fd);
    removeFolders(instance);
    rmSync(logPath(instance), { force: true });
  }
  const netlink = new Netlink();
  removeUnderlay(netlink, cluster, names);
  closeSync(netlink.fd);
  rmSync(clusterFolder(cluster), { recursive: true, force: true });
  return ended;
}

