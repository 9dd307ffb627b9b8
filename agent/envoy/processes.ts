// Envoy and, for as long as it takes, the one that takes over from it: another binary or bootstrap is started beside the one that runs, in
// the other of two places. Once it serves everything the old one is drained and ended; if it does not come to that, the old one stays.
import { setTimeout as sleep } from 'node:timers/promises';
import { messageOf } from '../errors.ts';
import { removeCgroup } from '../workload/process.ts';
import { connectionsOf, drain } from './admin.ts';
import type { Binary } from './binary.ts';
import type { KeeperStatus } from './kept.ts';
import { EnvoyProcess, identityOf, type Place, type ProcessOptions } from './process.ts';

export interface ProcessesOptions extends ProcessOptions {
  /** Whether the Envoy of that name has answered to all there is. */
  readonly hasAll: (node: string) => boolean;
  /** The sockets that connections are led to: a text for each port; '' where nobody listens in both families. */
  readonly sockets: () => ReadonlyMap<number, string>;
  readonly log: (line: string) => void;
  /** For tests. */
  readonly readyMs?: number;
  readonly drainMs?: number;
}

const places: readonly Place[] = ['a', 'b'];
const pollMs = 50;
/** From its start until it serves everything. */
const defaultReadyMs = 30_000;
/** What is still open then is cut: long answers, WebSockets, TLS that is handed on. */
const defaultDrainMs = 300_000;
/** Between the last port that is listened on and the first connection that is told to end: what an agent before has seen is not known. */
const settleMs = 500;
/** Envoy counts its connections after it has answered how many they are: the first zero is of a time before. */
const emptyTimes = 3;

export class Processes {
  readonly #options: ProcessesOptions;
  readonly #all: readonly [EnvoyProcess, EnvoyProcess];
  #current: EnvoyProcess;
  /** Under way: from which one to which. */
  #handing: Promise<void> | undefined;
  #stopped = false;
  /** What did not come to serve: not tried again. */
  #failed: { readonly identity: string; readonly why: string } | undefined;

  constructor(options: ProcessesOptions) {
    this.#options = options;
    this.#all = places.map((place) => new EnvoyProcess(options, place)) as [EnvoyProcess, EnvoyProcess];
    this.#current = this.#all.find(({ keeper }) => keeper !== undefined) ?? this.#all[0];
  }

  get user(): number { return this.#current.user; }
  get runFolders(): readonly string[] { return this.#all.map(({ runFolder }) => runFolder); }
  get running(): boolean { return this.#current.keeper !== undefined; }
  get status(): KeeperStatus | undefined { return this.#current.status; }
  /** Why the one that runs is not the one that should. */
  get problem(): string | undefined { return this.#failed?.why; }

  makeFolders(): void { for (const one of this.#all) one.makeFolders(); }
  lastWords(): string { return this.#current.lastWords(); }

  /** Takes the one that runs, starts one, or starts another beside. */
  async ensure(binary: Binary): Promise<void> {
    const identity = identityOf(binary, this.#options.changes);
    const running = this.#all.filter(({ keeper }) => keeper !== undefined);
    const wanted = running.find((one) => one.identity === identity);
    if (this.#handing !== undefined && wanted !== undefined) return;
    if (wanted === undefined && this.#failed?.identity === identity && running.length > 0) return;
    if (running.length === 0) {
      this.#current.launch(binary);
      return;
    }
    const [old] = running.filter((one) => one !== wanted);
    if (old === undefined) {
      this.#current = wanted!;
      return;
    }
    const before = this.#options.sockets();
    const other = this.#all.find((one) => one !== old)!;
    if (wanted === undefined) {
      if (other.keeper !== undefined) await other.end();
      other.launch(binary);
    }
    this.#current = other;
    // One that an agent before has started may listen already.
    this.#handing ??= this.#handOver(old, other, identity, wanted === undefined ? before : new Map())
      .catch((error: unknown) => { this.#options.log(messageOf(error)); }).finally(() => { this.#handing = undefined; });
  }

  async #handOver(old: EnvoyProcess, next: EnvoyProcess, identity: string, before: ReadonlyMap<number, string>): Promise<void> {
    const { readyMs = defaultReadyMs, log } = this.#options;
    const begunMs = performance.now();
    const pid = old.status?.envoy;
    const serves = (): boolean => {
      if (!this.#options.hasAll(next.node)) return false;
      const now = this.#options.sockets();
      return [...before].every(([port, sockets]) => sockets === '' || (now.get(port) !== '' && now.get(port) !== sockets));
    };
    while (!this.#stopped && !serves() && performance.now() - begunMs < readyMs) await sleep(pollMs);
    if (this.#stopped) return;
    if (!serves()) {
      this.#failed = { identity, why: `the new Envoy did not come to serve in ${readyMs / 1_000} s: the one before stays` };
      log(this.#failed.why);
      this.#current = old;
      await this.#endOther(next, old);
      return;
    }
    await sleep(settleMs);
    await this.#drain(old, pid);
    if (this.#stopped) return;
    await this.#endOther(old, next);
    log(`another Envoy has taken over in ${Math.round(performance.now() - begunMs)} ms`);
  }

  /** One that was started again meanwhile is not drained, and has taken the connections: it goes at once. */
  async #drain(old: EnvoyProcess, pid: number | undefined): Promise<void> {
    const endMs = performance.now() + (this.#options.drainMs ?? defaultDrainMs);
    try {
      await drain(old.adminPath);
      for (let empty = 0; empty < emptyTimes && !this.#stopped && old.status?.envoy === pid && performance.now() < endMs; await sleep(pollMs)) {
        empty = await connectionsOf(old.adminPath) === 0 ? empty + 1 : 0;
      }
    } catch (error) {
      this.#options.log(`drain the Envoy before: ${messageOf(error)}; it is ended`);
    }
  }

  /** Where the one that goes was the last to listen nobody does now: the other has to do it anew. */
  async #endOther(goes: EnvoyProcess, stays: EnvoyProcess): Promise<void> {
    const before = this.#options.sockets();
    const silent = (): boolean => [...this.#options.sockets()].some(([port, sockets]) => sockets === '' && (before.get(port) ?? '') !== '');
    await goes.end();
    if (!silent()) return;
    await sleep(settleMs);
    if (silent()) stays.restart();
  }

  leave(): void { this.#stopped = true; }

  async end(): Promise<void> {
    this.#stopped = true;
    await this.#handing;
    for (const one of this.#all) await one.end();
    await removeCgroup(this.#options.cgroup);
  }
}
