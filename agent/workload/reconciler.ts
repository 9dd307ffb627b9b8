// Pods as they shall be -> shims -> workloads as they are. A shim waits with its namespaces until release(), so that nothing
// of a workload runs before its network and policy stand. Shims outlive the agent: the next one adopts them.
import { randomUUID } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { messageOf } from '../errors.ts';
import type { Instance } from '../instance.ts';
import type { Change, Table } from '../store/table.ts';
import { Backoff } from './backoff.ts';
import { BoundedAsker } from './probes.ts';
import { removeCgroup } from './process.ts';
import { adoptRun, startRun } from './run.ts';
import type { Run, RunFolders } from './run.ts';
import { sameRun } from './shim-spec.ts';
import type { PodRow, WorkloadRow } from './tables.ts';
import { UserIds } from './user-ids.ts';

export { cleanupWorkloads } from './cleanup.ts';

export interface WorkloadOptions {
  readonly instance: Instance;
  readonly pods: Table<PodRow>;
  readonly workloads: Table<WorkloadRow>;
  /** Path of the resolv.conf of a pod, which exists from then on; undefined: workloads see the machine's. */
  readonly resolvFile: (pod: PodRow) => string | undefined;
  /** Resolves when nobody is sent to a pod that is to end; at once unless it is given. */
  readonly drained?: (row: WorkloadRow) => Promise<void>;
  /** Absolute; a cgroup v2 folder of this instance. */
  readonly cgroupFolder: string;
  /** IPv4 first, where probes reach it; empty as long as it has no endpoint. */
  readonly addresses: (key: string) => readonly string[];
  readonly log: (line: string) => void;
}

/** Only for what the watch misses: a killed shim that another agent had started, a full inotify queue. */
const pollMs = 500;
const otherState = '/var/lib/weir';

export class WorkloadReconciler {
  readonly #options: WorkloadOptions;
  readonly #podsDir: string;
  readonly #runs = new Map<string, Run>();
  readonly #users: UserIds;
  readonly #backoff = new Backoff((key) => { this.#reconcile(key, false); });
  readonly #asker = new BoundedAsker();
  readonly #work = new Set<Promise<void>>();
  readonly #poll: NodeJS.Timeout;
  readonly #unsubscribe: () => void;
  #ending = false;

  constructor(options: WorkloadOptions) {
    this.#options = options;
    this.#podsDir = join(options.instance.stateDir, 'pods');
    this.#users = new UserIds(options.instance.name);
    mkdirSync(this.#podsDir, { recursive: true, mode: 0o700 });
    this.#adopt();
    for (const pod of options.pods.rows()) this.#reconcile(pod.key, false);
    this.#unsubscribe = options.pods.subscribe((changes) => { this.#followPods(changes); });
    this.#poll = setInterval(() => { for (const run of [...this.#runs.values()]) this.#look(run); }, pollMs).unref();
  }

  /** Its network and policy stand: lets its containers start. */
  release(key: string): void {
    const run = this.#runs.get(key);
    if (run === undefined || run.stopping) return;
    run.message = undefined;
    run.writeHosts(this.#options.addresses(key));
    run.release();
    this.#publish(run);
  }

  /** Its network could not be set up: it stays as it is, and says why. */
  fail(key: string, message: string): void {
    const run = this.#runs.get(key);
    if (run === undefined || run.stopping) return;
    run.message = message;
    this.#publish(run);
  }

  /** Ends all pods, each with at most this grace; starts nothing any more. */
  async stopAll(graceMs: number): Promise<void> {
    this.#ending = true;
    this.#backoff.clear();
    for (const run of this.#runs.values()) {
      run.shorten(graceMs);
      if (!run.stopping) this.#end(run);
    }
    while (this.#work.size > 0) await Promise.all(this.#work);
  }

  /** Leaves the pods running. */
  close(): void {
    this.#ending = true;
    this.#backoff.clear();
    this.#unsubscribe();
    clearInterval(this.#poll);
    for (const run of this.#runs.values()) run.unfollow();
    this.#runs.clear();
  }

  #followPods(changes: readonly Change<PodRow>[]): void {
    for (const { key } of changes) this.#reconcile(key, true);
    if (this.#options.pods.synced) for (const key of [...this.#runs.keys()]) this.#reconcile(key, true);
  }

  /** `mayEnd`: that the pod has no row is known, not only not yet read. */
  #reconcile(key: string, mayEnd: boolean): void {
    const pod = this.#options.pods.get(key);
    const run = this.#runs.get(key);
    if (this.#ending || run?.stopping === true) return;
    if (run === undefined) {
      const tried = this.#options.workloads.get(key)?.pod;
      if (pod === undefined || (tried !== undefined && !sameRun(pod, tried))) this.#forget(key);
      if (pod !== undefined && !this.#backoff.waits(key)) this.#start(pod);
    } else if (pod === undefined) {
      if (mayEnd) this.#end(run);
    } else if (!sameRun(pod, run.pod)) this.#end(run);
    else if (!isDeepStrictEqual(pod, run.pod)) {
      run.update(pod);
      this.#publish(run);
    }
  }

  #foldersOf(uid: string): RunFolders {
    return { folder: join(this.#podsDir, uid), cgroup: join(this.#options.cgroupFolder, uid) };
  }

  #start(pod: PodRow): void {
    const { instance, resolvFile, workloads, log } = this.#options;
    const uid = randomUUID();
    const user = this.#users.take();
    try {
      const run = startRun(this.#foldersOf(uid), pod, {
        user, resolv: pod.binds === undefined ? resolvFile(pod) : undefined, hidden: [instance.stateDir, otherState],
        ended: () => { const current = this.#runs.get(pod.key); if (current?.uid === uid) this.#look(current); },
      });
      this.#backoff.started(pod.key);
      this.#runs.set(pod.key, run);
      this.#watch(run);
    } catch (error) {
      const message = `start ${pod.key}: ${messageOf(error)}`;
      log(message);
      this.#backoff.failed(pod.key);
      workloads.write([{
        key: pod.key, namespace: pod.namespace, name: pod.name, uid, pod, shimPid: 0, phase: 'CrashLoopBackOff', containers: [], ready: false, startedAtMs: Date.now(), message,
      }]);
      this.#later(this.#remove(this.#foldersOf(uid)).then(() => { this.#users.free(user); }), message);
    }
  }

  #adopt(): void {
    for (const uid of readdirSync(this.#podsDir)) {
      const folders = this.#foldersOf(uid);
      const run = adoptRun(folders);
      if (run === undefined) {
        this.#later(this.#remove(folders), `remove ${folders.folder}`);
        continue;
      }
      this.#users.keep(run.user);
      const older = this.#runs.get(run.key);
      if (older !== undefined && older.startedAtMs > run.startedAtMs) {
        this.#end(run);
        continue;
      }
      if (older !== undefined) this.#end(older);
      this.#options.resolvFile(run.pod);
      this.#runs.set(run.key, run);
      if (run.stopping) this.#end(run);
      else this.#watch(run);
    }
  }

  #watch(run: Run): void {
    const { addresses, log } = this.#options;
    run.follow(() => { this.#look(run); }, { asker: this.#asker, address: () => addresses(run.key)[0], changed: () => { this.#publish(run); }, log });
    this.#publish(run);
  }

  /** Takes over what the shim says, and notices that it is gone. */
  #look(run: Run): void {
    if (run.stopping || this.#runs.get(run.key) !== run) return;
    const changed = run.refresh();
    if (!run.alive) this.#lost(run);
    else if (changed) this.#publish(run);
  }

  #publish(run: Run): void {
    if (this.#runs.get(run.key) === run) this.#options.workloads.write([run.row()]);
  }

  #lost(run: Run): void {
    run.message = run.lastWords();
    run.stopping = true;
    run.unfollow();
    this.#options.log(`${run.key}: ${run.message}`);
    this.#backoff.failed(run.key);
    this.#options.workloads.write([{ ...run.row('CrashLoopBackOff'), shimPid: 0, containers: run.row().containers.map((one) => ({ ...one, state: 'waiting', pid: 0 })) }]);
    this.#later(this.#finish(run, true), `clean ${run.key}`);
  }

  #end(run: Run): void {
    run.stopping = true;
    run.unfollow();
    this.#publish(run);
    this.#later(this.#drain(run).then(async () => run.stop()).then(() => this.#finish(run, false)), `end ${run.key}`);
  }

  /** Nobody is sent to it any more before it is told to end; not when all end. */
  async #drain(run: Run): Promise<void> {
    if (!this.#ending && run.alive) await this.#options.drained?.(run.row());
  }

  async #finish(run: Run, keepRow: boolean): Promise<void> {
    try {
      await run.clean();
    } finally {
      this.#users.free(run.user);
      if (this.#runs.get(run.key) === run) {
        this.#runs.delete(run.key);
        if (!keepRow) this.#options.workloads.write([], [run.key]);
        this.#reconcile(run.key, false);
      }
    }
  }

  #forget(key: string): void {
    this.#backoff.forget(key);
    this.#options.workloads.write([], [key]);
  }

  async #remove(folders: RunFolders): Promise<void> {
    await removeCgroup(folders.cgroup);
    if (existsSync(folders.folder)) rmSync(folders.folder, { recursive: true });
  }

  /** Ends and clean-ups that are under way. */
  get working(): number { return this.#work.size; }

  /** Work that stopAll waits for; its failure is told, and the folder is met again by the next agent or by `weir down`. */
  #later(work: Promise<void>, what: string): void {
    const told = work.catch((error: unknown) => { this.#options.log(`${what}: ${messageOf(error)}`); }).finally(() => { this.#work.delete(told); });
    this.#work.add(told);
  }
}
