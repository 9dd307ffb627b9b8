// The L7 proxy as enforcement sees it: rule sets in, ports out. A set is served once Envoy has acknowledged its listener, routes and
// certificates and its port is listened on; until then its connections are refused.
import { chownSync, existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { ProxyAccess } from '../../hubble/access.ts';
import { GrpcServer } from '../../hubble/grpc/server.ts';
import { listenUnix } from '../../hubble/listen.ts';
import { ConfigError, messageOf } from '../errors.ts';
import type { Direction, RuleSet } from '../policy/image.ts';
import { Ads, type ResourceType } from './ads.ts';
import { serveAccessLog, type AccessCounts } from './access.ts';
import { fetchBinary, findBinary, type Binary } from './binary.ts';
import { xdsSocket } from './bootstrap.ts';
import { Ports, type Range } from './ports.ts';
import type { KeeperStatus } from './kept.ts';
import type { ProcessOptions } from './process.ts';
import { Processes } from './processes.ts';
import { resourcesOf, type SecretOf } from './resources.ts';
import type { ListenerMarks } from './listener.ts';

export interface EnvoyOptions {
  readonly instance: string;
  readonly stateDir: string;
  readonly cgroup: string;
  readonly ports: Range;
  /** `--envoy PATH`. */
  readonly binary?: string;
  /** What the datapath needs of listeners; agent/envoy/steering.ts. */
  readonly steering: {
    readonly marks?: ListenerMarks;
    readonly listening: (port: number) => { readonly ipv4: boolean; readonly ipv6: boolean };
    readonly sockets: (port: number) => string;
    readonly attachListenHook: (cgroupPath: string) => void;
  };
  readonly secretOf: SecretOf;
  readonly onAccess: (entry: ProxyAccess) => void;
  readonly log: (line: string) => void;
  /** Sets that were refused may be served by now: `serve` them again. */
  readonly changed?: () => void;
  /** How long listeners that nobody needs any more stay. */
  readonly lingerMs?: number;
  /** Until the sets are there, and until no Envoy at all is given up. */
  readonly timeoutMs?: number;
  readonly absentMs?: number;
  /** For tests. */
  readonly changes?: ProcessOptions['changes'];
  readonly readyMs?: number;
}

export interface EnvoyStatus {
  readonly running: boolean;
  readonly connected: boolean;
  readonly pid: number;
  readonly version: string;
  readonly path: string;
  readonly listeners: number;
  readonly restarts: number;
  /** Of the restarts: it no longer answered. */
  readonly frozen: number;
  readonly refused: ReadonlyMap<string, string>;
  readonly access: Readonly<AccessCounts>;
  /** Why there is none. */
  readonly problem?: string;
}

export interface L7Proxy {
  /** Allocated where the key has none; the same after a restart. Throws ConfigError when no port is free. */
  readonly portOf: (key: string) => number;
  /** Resolves when every one is served, refused (key -> Envoy's words) or late (key -> why); never rejects for a bad set. */
  readonly serve: (sets: ReadonlyMap<string, RuleSet>) => Promise<ReadonlyMap<string, string>>;
  /** Only these are needed any more; the others go after a linger. */
  readonly retire: (needed: ReadonlySet<string>) => void;
  readonly status: () => EnvoyStatus;
  /** Ends Envoy and removes what it left. */
  readonly stop: () => Promise<void>;
  /** Leaves Envoy to the next agent. */
  readonly leave: () => void;
}

const defaultLingerMs = 30_000;
const defaultTimeoutMs = 10_000;
const defaultAbsentMs = 5_000;
const pollMs = 10;
/** Of the access log, before the agent has read it: several of its messages (filters.ts). */
const logWindowBytes = 1024 * 1024;
const lookMs = 1_000;

export async function startEnvoy(options: EnvoyOptions): Promise<L7Proxy> {
  const proxy = new Proxy_(options);
  await proxy.listen();
  return {
    portOf: (key) => proxy.ports.of(key), serve: async (sets) => proxy.serve(sets), retire: (needed) => { proxy.retire(needed); },
    status: () => proxy.status(), stop: async () => proxy.stop(), leave: () => { proxy.close(); },
  };
}

interface Served {
  readonly resources: readonly (readonly [ResourceType, string])[];
  readonly direction: Direction;
  /** What it was made of; absent: of a certificate as well, which may have changed. */
  readonly text?: string;
}

/** Of 1,000 sets all but one are the objects they were the last time. */
const texts = new WeakMap<RuleSet, { readonly text: string | undefined }>();
function textOf(set: RuleSet): string | undefined {
  const known = texts.get(set);
  if (known !== undefined) return known.text;
  const text = newTextOf(set);
  texts.set(set, { text });
  return text;
}

const newTextOf = (set: RuleSet): string | undefined =>
  (set.rules.some(({ l7 }) => l7 !== 'any' && l7.terminatingTls !== undefined) ? undefined : JSON.stringify([set.direction, set.rules.map(({ l7 }) => l7)]));

class Proxy_ {
  readonly ports: Ports;
  readonly #options: EnvoyOptions;
  readonly #processes: Processes;
  readonly #server = new GrpcServer({}, logWindowBytes);
  readonly #ads: Ads;
  readonly #access: AccessCounts;
  readonly #served = new Map<string, Served>();
  readonly #retiring = new Map<string, NodeJS.Timeout>();
  #refused: ReadonlyMap<string, string> = new Map();
  #waiting: (() => void)[] = [];
  readonly #removeSockets: (() => void)[] = [];
  #problem: string | undefined;
  #binary: Binary = { path: '', version: '' };
  #look: NodeJS.Timeout | undefined;
  #fetching = false;
  /** It was waited for in vain: nobody waits again before it is there. */
  #absent = false;
  /** Whether Envoy is to run: from the first rule set on. */
  #wanted = false;

  constructor(options: EnvoyOptions) {
    this.#options = options;
    const folder = join(options.stateDir, 'envoy');
    this.#processes = new Processes({
      instance: options.instance, folder, cgroup: options.cgroup, attach: options.steering.attachListenHook, ...(options.changes !== undefined && { changes: options.changes }),
      hasAll: (node) => this.#ads.hasAll(node), ...(options.readyMs !== undefined && { readyMs: options.readyMs }), sockets: () => this.#sockets(), log: options.log,
    });
    this.#processes.makeFolders();
    this.ports = new Ports(options.stateDir, options.ports);
    this.#ads = new Ads(() => { this.#news(); });
    this.#ads.register(this.#server);
    this.#access = serveAccessLog(this.#server, (port) => this.#listenerOf(port), options.onAccess);
  }

  /** Only Envoy's user and root may connect. */
  async listen(): Promise<void> {
    for (const folder of this.#processes.runFolders) {
      const path = join(folder, xdsSocket);
      this.#removeSockets.push(await listenUnix(this.#server, path));
      chownSync(path, this.#processes.user, this.#processes.user);
    }
    this.#wanted = this.#processes.running;
    this.#look = setInterval(() => { void this.#keep(); }, lookMs).unref();
  }

  /** Of what this agent serves: another Envoy does not come to listen for what an agent before has served. */
  #sockets(): ReadonlyMap<number, string> {
    return new Map([...this.#served.keys()].map((key) => [this.ports.of(key), this.#options.steering.sockets(this.ports.of(key))]));
  }

  #listenerOf(port: number): { readonly key: string; readonly direction: Direction } | undefined {
    const key = this.ports.keyOf(port);
    const direction = key === undefined ? undefined : this.#served.get(key)?.direction;
    return direction === undefined ? undefined : { key: key!, direction };
  }

  #news(): void {
    if (this.#absent && this.#ads.connected > 0) {
      this.#absent = false;
      this.#options.changed?.();
    }
    for (const go of this.#waiting.splice(0)) go();
  }

  async #keep(): Promise<void> {
    if (!this.#wanted || this.#processes.running) return;
    const words = this.#processes.lastWords();
    this.#options.log(`Envoy's keeper has ended${words === '' ? '' : `: ${words}`}; another is started`);
    await this.#ensure();
  }

  /** Undefined: it runs, or is about to. */
  async #ensure(): Promise<string | undefined> {
    try {
      const binary = this.#findBinary();
      if (binary === undefined) {
        this.#fetch();
        this.#problem = 'Envoy is being fetched';
        return this.#problem;
      }
      this.#binary = binary;
      await this.#processes.ensure(binary);
      this.#problem = undefined;
    } catch (error) {
      this.#problem = messageOf(error);
    }
    return this.#problem;
  }

  /** One that runs goes on when its file is gone. */
  #findBinary(): Binary | undefined {
    try {
      return findBinary(this.#options.binary);
    } catch (error) {
      if (this.#binary.path === '' || !this.#processes.running) throw error;
      return this.#binary;
    }
  }

  /** Beside all else: nothing waits for a download. */
  #fetch(): void {
    if (this.#fetching) return;
    this.#fetching = true;
    fetchBinary().then(() => { this.#options.changed?.(); }, (error: unknown) => { this.#options.log(messageOf(error)); }).finally(() => { this.#fetching = false; });
  }

  async serve(sets: ReadonlyMap<string, RuleSet>): Promise<ReadonlyMap<string, string>> {
    const refused = new Map<string, string>();
    for (const [key, set] of sets) {
      clearTimeout(this.#retiring.get(key));
      this.#retiring.delete(key);
      this.#put(key, set, refused);
    }
    this.ports.keep();
    if (sets.size > 0) this.#wanted = true;
    const problem = this.#wanted ? await this.#ensure() : undefined;
    this.#ads.begin();
    const waiting = new Set([...sets.keys()].filter((key) => !refused.has(key)));
    const { timeoutMs = defaultTimeoutMs, absentMs = defaultAbsentMs } = this.#options;
    const begunMs = performance.now();
    while (waiting.size > 0 && problem === undefined) {
      for (const key of waiting) this.#settle(key, waiting, refused);
      const waitedMs = performance.now() - begunMs;
      if (waiting.size === 0 || waitedMs >= (this.#ads.connected > 0 ? timeoutMs : this.#absent ? 0 : absentMs)) break;
      await this.#nextNews();
    }
    this.#absent = waiting.size > 0 && this.#ads.connected === 0;
    const late = problem ?? (this.#ads.connected === 0 ? 'no Envoy is connected' : 'Envoy has not taken it in time');
    for (const key of waiting) refused.set(key, late);
    this.#refused = refused;
    return refused;
  }

  #put(key: string, set: RuleSet, refused: Map<string, string>): void {
    const text = textOf(set);
    if (text !== undefined && this.#served.get(key)?.text === text) return;
    try {
      const { marks } = this.#options.steering;
      const { resources, problem } = resourcesOf(set, { port: this.ports.of(key), ...(marks !== undefined && { marks }) }, this.#options.secretOf);
      if (problem !== undefined) {
        refused.set(key, problem);
        return;
      }
      const names = resources.map(({ type, name }) => [type, name] as const);
      const before = this.#served.get(key)?.resources ?? [];
      for (const { type, name, message } of resources) this.#ads.set(type, name, message);
      this.#served.set(key, { resources: names, direction: set.direction, ...(text !== undefined && { text }) });
      this.#drop(before.filter(([type, name]) => !names.some((other) => other[0] === type && other[1] === name)));
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      refused.set(key, error.message);
    }
  }

  /** Takes `key` out of those waited for when it is decided. */
  #settle(key: string, waiting: Set<string>, refused: Map<string, string>): void {
    let [isWaiting, why]: [boolean, string | undefined] = [false, undefined];
    for (const [type, name] of this.#served.get(key)!.resources) {
      const outcome = this.#ads.outcome(type, name);
      if (typeof outcome === 'object') why ??= outcome.refused;
      else if (outcome === 'waiting') isWaiting = true;
    }
    // Of a listener that is refused nobody asks for the routes.
    if (why !== undefined) refused.set(key, why);
    else if (isWaiting) return;
    else {
      const { ipv4, ipv6 } = this.#options.steering.listening(this.ports.of(key));
      if (!ipv4 || !ipv6) return;
    }
    waiting.delete(key);
  }

  /** An answer on the stream, or a moment: a port that is listened on is told by nobody. */
  async #nextNews(): Promise<void> {
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, pollMs);
      this.#waiting.push(() => {
        clearTimeout(timer);
        resolve();
      });
    });
  }

  #drop(resources: Served['resources']): void {
    if (resources.length === 0) return;
    const needed = new Set([...this.#served.values()].flatMap((one) => one.resources.map(([type, name]) => `${type} ${name}`)));
    for (const [type, name] of resources) if (!needed.has(`${type} ${name}`)) this.#ads.remove(type, name);
  }

  retire(needed: ReadonlySet<string>): void {
    for (const key of this.ports.keys) {
      if (needed.has(key) || this.#retiring.has(key)) continue;
      this.#retiring.set(key, setTimeout(() => { this.#end(key); }, this.#options.lingerMs ?? defaultLingerMs).unref());
    }
  }

  #end(key: string): void {
    const served = this.#served.get(key);
    this.#retiring.delete(key);
    this.#served.delete(key);
    if (served !== undefined) this.#drop(served.resources);
    this.ports.giveBack(key);
  }

  status(): EnvoyStatus {
    const keeper: KeeperStatus | undefined = this.#processes.status;
    const problem = this.#problem ?? this.#processes.problem;
    return {
      running: (keeper?.envoy ?? 0) > 0, connected: this.#ads.connected > 0, pid: keeper?.envoy ?? 0, ...this.#binary, listeners: this.#ads.names('Listener').length,
      restarts: keeper?.restarts ?? 0, frozen: keeper?.frozen ?? 0, refused: this.#refused, access: { ...this.#access }, ...(problem !== undefined && { problem }),
    };
  }

  close(): void {
    clearInterval(this.#look);
    for (const timer of this.#retiring.values()) clearTimeout(timer);
    this.#processes.leave();
    for (const remove of this.#removeSockets) remove();
    this.#server.close();
  }

  async stop(): Promise<void> {
    this.#wanted = false;
    this.close();
    await this.#processes.end();
    const folder = join(this.#options.stateDir, 'envoy');
    if (existsSync(folder)) rmSync(folder, { recursive: true, force: true });
  }
}
