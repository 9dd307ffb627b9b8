// One run of a pod: its folder, cgroup and shim, from the spec file to the removal of everything. The shim outlives the
// agent: adopt() takes up a run that an agent before started.
import { spawn } from 'node:child_process';
import { closeSync, constants, existsSync, mkdirSync, openSync, readFileSync, rmSync, watch, writeFileSync, writeSync } from 'node:fs';
import type { FSWatcher } from 'node:fs';
import { basename, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import { shimPath } from './build.ts';
import { isAlive, makeCgroup, processOf, removeCgroup, signalProcess } from './process.ts';
import { PodProbes, type ProbeOptions } from './probes.ts';
import type { ProcessId } from './process.ts';
import { hostsText, writeInPlace } from './hosts.ts';
import { encodeSpec } from './shim-spec.ts';
import { readPod, readStatus, writePod } from './status.ts';
import type { PodRecord, ShimStatus } from './status.ts';
import type { PodRow, WorkloadPhase, WorkloadRow } from './tables.ts';

/** From the SIGTERM that means "kill them now" to the end of the shim itself. */
const killTimeoutMs = 2_000;
const pollMs = 10;

export interface RunFolders { readonly folder: string; readonly cgroup: string }

const hostsPath = ({ folder }: RunFolders): string => join(folder, 'hosts');

export class Run {
  readonly uid: string;
  readonly folders: RunFolders;
  readonly user: number;
  readonly process: ProcessId;
  readonly startedAtMs: number;
  pod: PodRow;
  status: ShimStatus | undefined;
  message: string | undefined;
  stopping = false;
  #killAtMs = Infinity;
  #released = false;
  #watcher: FSWatcher | undefined;
  #probes: PodProbes | undefined;

  constructor(folders: RunFolders, record: PodRecord, shim: ProcessId) {
    this.uid = basename(folders.folder);
    this.folders = folders;
    this.user = record.user;
    this.pod = record.pod;
    this.process = shim;
    this.startedAtMs = record.startedAtMs;
  }

  get key(): string { return this.pod.key; }
  get alive(): boolean { return isAlive(this.process); }

  /** Calls back when the shim may have told something new, or has ended. */
  follow(news: () => void, probing: Omit<ProbeOptions, 'folder'>): void {
    const { log } = probing;
    this.#probes = new PodProbes(this.pod, { folder: this.folders.folder, ...probing });
    this.#probe();
    try {
      this.#watcher = watch(join(this.folders.folder, 'news'), { persistent: false }, news);
      this.#watcher.on('error', (error) => { log(`watch ${this.folders.folder}: ${error.message}`); });
    } catch (error) {
      log(`watch ${this.folders.folder}: ${String(error)}; its state is looked for instead`);
    }
    news();
  }

  /** True when the status is another than before. */
  refresh(): boolean {
    const status = readStatus(this.folders.folder);
    if (status === undefined || isDeepStrictEqual(status, this.status)) return false;
    const first = this.status === undefined;
    this.status = status;
    this.#probe();
    if (first && this.#released) this.release();
    return true;
  }

  #probe(): void { this.#probes?.follow(this.pod, this.status?.containers ?? []); }

  /** The shim opens the FIFO before it writes its first status; saying it twice is fine. */
  release(): void {
    this.#released = true;
    if (this.status === undefined || !this.alive) return;
    try {
      const fifo = openSync(join(this.folders.folder, 'go'), constants.O_WRONLY | constants.O_NONBLOCK);
      writeSync(fifo, '\n');
      closeSync(fifo);
    } catch (error) {
      // ENXIO: nobody has it open, so the shim has just died; the next look finds that out.
      if ((error as NodeJS.ErrnoException).code !== 'ENXIO') throw error;
    }
  }

  /** Its own names at its own addresses, and its aliases; everybody else's come by DNS. */
  writeHosts(addresses: readonly string[]): void { writeInPlace(hostsPath(this.folders), hostsText(this.pod, addresses)); }

  update(pod: PodRow): void {
    this.pod = pod;
    writePod(this.folders.folder, { pod, user: this.user, startedAtMs: this.startedAtMs });
  }

  /** At the latest after `graceMs` the containers are killed; a later call can only shorten it. */
  shorten(graceMs: number): void { this.#killAtMs = Math.min(this.#killAtMs, performance.now() + graceMs); }

  async stop(): Promise<void> {
    this.shorten(this.pod.terminationGracePeriodMs);
    signalProcess(this.process, 'SIGTERM');
    let hurried = false;
    while (this.alive) {
      const over = performance.now() - this.#killAtMs;
      if (over >= killTimeoutMs) signalProcess(this.process, 'SIGKILL');
      else if (over >= 0 && !hurried) hurried = signalProcess(this.process, 'SIGTERM');
      await sleep(pollMs);
    }
  }

  async clean(): Promise<void> {
    this.unfollow();
    await removeCgroup(this.folders.cgroup);
    rmSync(this.folders.folder, { recursive: true, force: true });
  }

  unfollow(): void {
    this.#watcher?.close();
    this.#probes?.close();
  }

  /** What the shim said on its way out, when it could not even begin. */
  lastWords(): string {
    const path = join(this.folders.folder, 'shim.log');
    const words = existsSync(path) ? readFileSync(path, 'utf8').trim().split('\n').at(-1)! : '';
    return words === '' ? 'its shim ended unexpectedly' : words;
  }

  row(phase?: WorkloadPhase): WorkloadRow {
    const { pod, status, message } = this;
    const now = phase ?? (this.stopping ? 'Terminating' : status?.phase ?? 'Pending');
    const containers = status?.containers ?? pod.containers.map(({ name }) => ({ name, state: 'waiting' as const, pid: 0, restarts: 0 }));
    const runs = now === 'Running' && containers.every(({ state }) => state === 'running');
    const unready = runs ? this.#probes?.missing(containers) : this.#probes?.ended();
    return {
      key: pod.key, namespace: pod.namespace, name: pod.name, uid: this.uid, pod, shimPid: status?.shimPid ?? 0, phase: now, containers,
      ready: runs && unready === undefined, ...(unready === undefined ? {} : { unready }), startedAtMs: this.startedAtMs, ...(message === undefined ? {} : { message }),
    };
  }
}

export interface StartOptions { readonly user: number; readonly resolv: string | undefined; readonly hidden: readonly string[]; readonly ended: () => void }

export function startRun(folders: RunFolders, pod: PodRow, options: StartOptions): Run {
  mkdirSync(folders.folder, { recursive: true, mode: 0o700 });
  makeCgroup(folders.cgroup);
  const spec = join(folders.folder, 'spec');
  writeFileSync(join(folders.folder, 'news'), '', { mode: 0o600 });
  const record = { pod, user: options.user, startedAtMs: Date.now() };
  writeFileSync(spec, encodeSpec(pod, options.user, { ...folders, hosts: hostsPath(folders), hidden: options.hidden, ...(options.resolv === undefined ? {} : { resolv: options.resolv }) }), { mode: 0o600 });
  writePod(folders.folder, record);
  writeInPlace(hostsPath(folders), hostsText(pod, []));
  const words = openSync(join(folders.folder, 'shim.log'), 'a', 0o600);
  const child = spawn(shimPath, ['run', spec], { cwd: '/', env: {}, detached: true, stdio: ['ignore', words, words] });
  closeSync(words);
  child.on('error', options.ended);
  child.on('exit', options.ended);
  child.unref();
  if (child.pid === undefined) throw new Error(`start ${shimPath}: no process`);
  const shim = processOf(child.pid) ?? { pid: child.pid, startTicks: 0 };
  return new Run(folders, record, shim);
}

/** Undefined when its shim does not live any more or never came to life. */
export function adoptRun(folders: RunFolders): Run | undefined {
  const record = readPod(folders.folder);
  const status = readStatus(folders.folder);
  if (record === undefined || status === undefined) return undefined;
  const run = new Run(folders, record, { pid: status.shimPid, startTicks: status.startTicks });
  if (!run.alive) return undefined;
  run.refresh();
  run.stopping = status.phase === 'Terminating';
  return run;
}
