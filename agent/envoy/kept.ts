// A process that outlives the agent: its folder, user and cgroup, and the keeper that starts it and starts it again. The next agent takes both
// as they are, unless what it would start is another now. Envoy is one, the proxy of DNS by TCP another.
import { spawn } from 'node:child_process';
import { chmodSync, chownSync, closeSync, existsSync, mkdirSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { readJson, writeJson } from '../store/file.ts';
import { makeCgroup, processOf, removeCgroup, signalProcess, waitForEnd, type ProcessId } from '../workload/process.ts';
import { keeperPath } from './build.ts';

const endMs = 4_000;

export interface KeptOptions {
  readonly folder: string;
  readonly cgroup: string;
  readonly user: number;
  /** Of everything in its cgroup. */
  readonly memoryBytes: number;
  /** Called before it runs, with its cgroup: whoever wants to see it listen. */
  readonly attach: (cgroup: string) => void;
}

export interface Command {
  readonly path: string;
  readonly arguments: readonly string[];
  /** Changes with everything that it runs on. */
  readonly identity: string;
  /** Open in it as descriptor 3. */
  readonly descriptor?: number;
}

interface Record_ { readonly keeper: ProcessId; readonly identity: string }
export interface KeeperStatus { readonly envoy: number; readonly restarts: number; readonly frozen: number; readonly exitCode: number; readonly signal: number }

export class KeptProcess {
  readonly #options: KeptOptions;

  constructor(options: KeptOptions) { this.#options = options; }

  get user(): number { return this.#options.user; }
  get runFolder(): string { return join(this.#options.folder, 'run'); }
  get #recordPath(): string { return join(this.#options.folder, 'process.json'); }

  /** The folders, and who may look into them: it reads `run`, writes `run/own`, and sees nothing else of the instance. */
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

  /** Of the one that runs: what it was started as. */
  get identity(): string | undefined { return this.keeper === undefined ? undefined : (readJson(this.#recordPath) as Record_).identity; }

  start({ path, arguments: words, identity, descriptor }: Command): void {
    const { folder, cgroup, memoryBytes } = this.#options;
    rmSync(join(folder, 'status.json'), { force: true });
    this.#options.attach(cgroup);
    makeCgroup(cgroup);
    if (existsSync(join(cgroup, 'memory.max'))) writeFileSync(join(cgroup, 'memory.max'), String(memoryBytes));
    const log = openSync(join(folder, 'keeper.log'), 'w', 0o600);
    const given = descriptor === undefined ? [] : [descriptor];
    const child = spawn(keeperPath, [folder, cgroup, String(this.user), String(given.length), path, ...words], { stdio: ['ignore', log, log, ...given], detached: true, env: {} });
    closeSync(log);
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

  /** Ends the keeper, and what it keeps with it. */
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
