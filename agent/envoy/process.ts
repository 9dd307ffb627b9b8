// One Envoy as a process: its folder, user and cgroup, the keeper that starts it and starts it again. Both outlive the agent: the next one
// takes them as they are. There are two places for one, so that another binary takes over beside it (processes.ts).
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmodSync, chownSync, closeSync, existsSync, mkdirSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { readJson, writeJson } from '../store/file.ts';
import { makeCgroup, processOf, removeCgroup, signalProcess, waitForEnd, type ProcessId } from '../workload/process.ts';
import type { Binary } from './binary.ts';
import { adminSocket, bootstrap, inside, type BootstrapOptions } from './bootstrap.ts';
import { keeperPath } from './build.ts';

/** Below those of workloads (agent/workload/user-ids.ts), one for each instance. */
const firstUser = 198_000;
const userSlots = 1_024;
/** Of everything in its cgroup: what the heap's limit does not count stands beside it. */
const memoryBytes = 768 * 2 ** 20;
const endMs = 4_000;
/** An open connection of a listener that is gone or was changed is closed after it. */
const drainSeconds = 10;

export interface ProcessOptions {
  readonly instance: string;
  /** `/run/weir/NAME/envoy`. */
  readonly folder: string;
  /** Of both places. */
  readonly cgroup: string;
  /** Called before it runs, with that cgroup: whoever wants to see it listen. */
  readonly attach: (cgroup: string) => void;
  /** For tests. */
  readonly changes?: Pick<BootstrapOptions, 'upstream' | 'heapBytes'>;
}

interface Record_ { readonly keeper: ProcessId; readonly identity: string }
export interface KeeperStatus { readonly envoy: number; readonly restarts: number; readonly frozen: number; readonly exitCode: number; readonly signal: number }

export const userOf = (instance: string): number => firstUser + (createHash('sha256').update(instance).digest().readUInt16BE() % userSlots);
const argumentsOf = ['-c', `${inside}/bootstrap.json`, '--disable-hot-restart', '--concurrency', '1', '-l', 'warning', '--drain-time-s', String(drainSeconds), '--drain-strategy', 'immediate'];

export type Place = 'a' | 'b';

/** Of what an Envoy is started with: one that differs is another. */
export const identityOf = (binary: Binary, changes: ProcessOptions['changes']): string =>
  createHash('sha256').update(binary.path).update(binary.version).update(JSON.stringify(bootstrap({ nodeId: '', ...changes }))).update(argumentsOf.join(' ')).digest('hex').slice(0, 16);

export class EnvoyProcess {
  readonly #options: ProcessOptions;
  readonly #folder: string;
  readonly #cgroup: string;
  readonly user: number;
  /** As it calls itself to the agent. */
  readonly node: string;

  constructor(options: ProcessOptions, place: Place) {
    this.#options = options;
    this.#folder = join(options.folder, place);
    this.#cgroup = join(options.cgroup, place);
    this.user = userOf(options.instance);
    this.node = `${options.instance} ${place}`;
  }

  get runFolder(): string { return join(this.#folder, 'run'); }
  get adminPath(): string { return join(this.runFolder, adminSocket); }
  get #recordPath(): string { return join(this.#folder, 'process.json'); }
  get #record(): Record_ | undefined { return readJson(this.#recordPath) as Record_ | undefined; }

  /** The folders, and who may look into them: Envoy reads `run`, writes `run/own`, and sees nothing else of the instance. */
  makeFolders(): void {
    mkdirSync(this.#folder, { recursive: true, mode: 0o700 });
    for (const [folder, mode, user] of [[this.runFolder, 0o750, 0], [join(this.runFolder, 'own'), 0o700, this.user]] as const) {
      mkdirSync(folder, { recursive: true });
      chownSync(folder, user, this.user);
      chmodSync(folder, mode);
    }
  }

  /** The one that runs; undefined: none does. */
  get keeper(): ProcessId | undefined {
    const record = this.#record;
    const found = record === undefined ? undefined : processOf(record.keeper.pid);
    return found !== undefined && found.startTicks === record!.keeper.startTicks ? found : undefined;
  }

  get status(): KeeperStatus | undefined { return this.keeper === undefined ? undefined : readJson(join(this.#folder, 'status.json')) as KeeperStatus | undefined; }

  /** Of the one that runs. */
  get identity(): string | undefined { return this.keeper === undefined ? undefined : this.#record!.identity; }

  start(binary: Binary): void {
    const { cgroup, changes } = this.#options;
    const path = join(this.runFolder, 'bootstrap.json');
    writeFileSync(path, JSON.stringify(bootstrap({ nodeId: this.node, ...changes })));
    chownSync(path, 0, this.user);
    chmodSync(path, 0o640); // whatever the umask is while others open sockets
    rmSync(join(this.#folder, 'status.json'), { force: true });
    makeCgroup(cgroup);
    if (existsSync(join(cgroup, 'memory.max'))) writeFileSync(join(cgroup, 'memory.max'), String(memoryBytes));
    this.#options.attach(cgroup);
    makeCgroup(this.#cgroup);
    const words = openSync(join(this.#folder, 'keeper.log'), 'w', 0o600);
    const child = spawn(keeperPath, [this.#folder, this.#cgroup, String(this.user), binary.path, ...argumentsOf], { stdio: ['ignore', words, words], detached: true, env: {} });
    closeSync(words);
    child.on('error', () => undefined); // without a pid it is told below
    if (child.pid === undefined) throw new Error(`start ${keeperPath}: not started`);
    child.unref();
    writeJson(this.#recordPath, { keeper: processOf(child.pid) ?? { pid: child.pid, startTicks: 0 }, identity: identityOf(binary, changes) } satisfies Record_);
  }

  /** What the keeper said on its way out. */
  lastWords(): string {
    const path = join(this.#folder, 'keeper.log');
    return (existsSync(path) ? readFileSync(path, 'utf8') : '').trim().split('\n').at(-1)!;
  }

  /** Its keeper starts another, which listens anew. */
  restart(): void {
    const found = processOf(this.status?.envoy ?? 0);
    if (found !== undefined) signalProcess(found, 'SIGTERM');
  }

  /** Ends the keeper, and Envoy with it. */
  async end(): Promise<void> {
    const { keeper } = this;
    if (keeper !== undefined) {
      signalProcess(keeper, 'SIGTERM');
      if (!await waitForEnd(keeper, endMs)) signalProcess(keeper, 'SIGKILL');
    }
    await removeCgroup(this.#cgroup);
    rmSync(this.#recordPath, { force: true });
  }
}
