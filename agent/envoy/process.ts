// Envoy as a process: its folder, user and cgroup, the keeper that starts it and starts it again. Both outlive the agent: the next one
// takes them as they are, unless Envoy is another now.
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmodSync, chownSync, closeSync, existsSync, mkdirSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { readJson, writeJson } from '../store/file.ts';
import { makeCgroup, processOf, removeCgroup, signalProcess, waitForEnd, type ProcessId } from '../workload/process.ts';
import type { Binary } from './binary.ts';
import { bootstrap, inside, type BootstrapOptions } from './bootstrap.ts';
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
  readonly cgroup: string;
  /** Called before it runs, with its cgroup: whoever wants to see it listen. */
  readonly attach: (cgroup: string) => void;
  readonly upstream?: BootstrapOptions['upstream'];
}

interface Record_ { readonly keeper: ProcessId; readonly identity: string }
export interface KeeperStatus { readonly envoy: number; readonly restarts: number; readonly frozen: number; readonly exitCode: number; readonly signal: number }

export const userOf = (instance: string): number => firstUser + (createHash('sha256').update(instance).digest().readUInt16BE() % userSlots);
const argumentsOf = ['-c', `${inside}/bootstrap.json`, '--disable-hot-restart', '--concurrency', '1', '-l', 'warning', '--drain-time-s', String(drainSeconds), '--drain-strategy', 'immediate'];

export class EnvoyProcess {
  readonly #options: ProcessOptions;
  readonly user: number;

  constructor(options: ProcessOptions) {
    this.#options = options;
    this.user = userOf(options.instance);
  }

  get runFolder(): string { return join(this.#options.folder, 'run'); }
  get #recordPath(): string { return join(this.#options.folder, 'process.json'); }

  /** The folders, and who may look into them: Envoy reads `run`, writes `run/own`, and sees nothing else of the instance. */
  makeFolders(): void {
    mkdirSync(this.#options.folder, { recursive: true, mode: 0o700 });
    for (const [folder, mode, user] of [[this.runFolder, 0o750, 0], [join(this.runFolder, 'own'), 0o700, this.user]] as const) {
      mkdirSync(folder, { recursive: true });
      chownSync(folder, user, this.user);
      chmodSync(folder, mode);
    }
  }

  /** The one that runs; undefined: none does. */
  get keeper(): ProcessId | undefined {
    const record = readJson(this.#recordPath) as Record_ | undefined;
    const found = record === undefined ? undefined : processOf(record.keeper.pid);
    return found !== undefined && found.startTicks === record!.keeper.startTicks ? found : undefined;
  }

  get status(): KeeperStatus | undefined { return this.keeper === undefined ? undefined : readJson(join(this.#options.folder, 'status.json')) as KeeperStatus | undefined; }

  /** Takes the one that runs, or starts one. True: it was started. One of another binary or configuration is ended first. */
  async ensure(binary: Binary): Promise<boolean> {
    const config = bootstrap({ nodeId: `${this.#options.instance} ${binary.version}`, ...(this.#options.upstream !== undefined && { upstream: this.#options.upstream }) });
    const text = JSON.stringify(config);
    const identity = createHash('sha256').update(binary.path).update(binary.version).update(text).update(argumentsOf.join(' ')).digest('hex').slice(0, 16);
    const record = readJson(this.#recordPath) as Record_ | undefined;
    if (this.keeper !== undefined) {
      if (record!.identity === identity) return false;
      await this.end();
    }
    this.#start(binary, text, identity);
    return true;
  }

  #start(binary: Binary, config: string, identity: string): void {
    const { folder, cgroup } = this.#options;
    const path = join(this.runFolder, 'bootstrap.json');
    writeFileSync(path, config, { mode: 0o640 });
    chownSync(path, 0, this.user);
    rmSync(join(folder, 'status.json'), { force: true });
    makeCgroup(cgroup);
    if (existsSync(join(cgroup, 'memory.max'))) writeFileSync(join(cgroup, 'memory.max'), String(memoryBytes));
    this.#options.attach(cgroup);
    const words = openSync(join(folder, 'keeper.log'), 'w', 0o600);
    const child = spawn(keeperPath, [folder, cgroup, String(this.user), binary.path, ...argumentsOf], { stdio: ['ignore', words, words], detached: true, env: {} });
    closeSync(words);
    child.on('error', () => undefined); // without a pid it is told below
    if (child.pid === undefined) throw new Error(`start ${keeperPath}: not started`);
    child.unref();
    writeJson(this.#recordPath, { keeper: processOf(child.pid) ?? { pid: child.pid, startTicks: 0 }, identity } satisfies Record_);
  }

  /** What the keeper said on its way out. */
  lastWords(): string {
    const path = join(this.#options.folder, 'keeper.log');
    return (existsSync(path) ? readFileSync(path, 'utf8') : '').trim().split('\n').at(-1)!;
  }

  /** Ends the keeper, and Envoy with it. */
  async end(): Promise<void> {
    const { keeper } = this;
    if (keeper !== undefined) {
      signalProcess(keeper, 'SIGTERM');
      if (!await waitForEnd(keeper, endMs)) signalProcess(keeper, 'SIGKILL');
    }
    await removeCgroup(this.#options.cgroup);
    rmSync(this.#recordPath, { force: true });
  }
}
