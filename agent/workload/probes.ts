// The probes of one run of a pod: asks in time, counts (probe-state.ts), ends a container that is not alive any more; the shim
// starts it again after its back-off. What they found is kept beside the pod: a new agent goes on with it.
import { join } from 'node:path';
import { readJson, writeJson } from '../store/file.ts';
import { probeOnce, type ProbeAnswer, type ProbeTarget } from './probe-action.ts';
import type { ProbeKind, ProbeSpec, Probes } from './probe-spec.ts';
import { ProbeState, type Standing } from './probe-state.ts';
import { processOf, signalProcess } from './process.ts';
import type { ContainerState, PodRow } from './tables.ts';

/** How probes are asked, and how many at the same time. */
export interface Asker { ask(target: ProbeTarget, probe: ProbeSpec): Promise<ProbeAnswer> }

const mostAtOnce = 32;

/** Of one agent. Those that find no place wait in turn; each probe waits at most once, so the queue is bounded by their number. */
export class BoundedAsker implements Asker {
  #running = 0;
  readonly #waiting: (() => void)[] = [];

  async ask(target: ProbeTarget, { action, timeoutMs }: ProbeSpec): Promise<ProbeAnswer> {
    if (this.#running >= mostAtOnce) await new Promise<void>((go) => { this.#waiting.push(go); });
    else this.#running += 1;
    try {
      return await probeOnce(target, action, timeoutMs);
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#running -= 1;
      else next();
    }
  }
}

export interface ProbeOptions {
  readonly folder: string;
  readonly asker: Asker;
  /** Of the workload, once it has one. */
  readonly address: () => string | undefined;
  /** Readiness is another, or its reason. */
  readonly changed: () => void;
  readonly log: (line: string) => void;
}

interface Kept extends Standing { readonly pid: number }

interface Watched { readonly pid: number; readonly sinceMs: number; readonly state: ProbeState; readonly timers: Map<ProbeKind, NodeJS.Timeout>; why: string | undefined; ending: boolean }

const kinds: readonly ProbeKind[] = ['startup', 'liveness', 'readiness'];

export class PodProbes {
  readonly #options: ProbeOptions;
  #pod: PodRow;
  readonly #watched = new Map<string, Watched>();
  /** Why a container was ended, until it runs again. */
  readonly #ended = new Map<string, string>();
  #kept: Readonly<Record<string, Kept>>;
  #closed = false;

  constructor(pod: PodRow, options: ProbeOptions) {
    this.#pod = pod;
    this.#options = options;
    this.#kept = (readJson(join(options.folder, 'probes.json')) ?? {}) as Record<string, Kept>;
  }

  #probesOf(name: string): Probes | undefined { return this.#pod.containers.find((one) => one.name === name)?.probes; }

  /** What the shim says now: a container with another pid is another run, and nothing is known of it. */
  follow(pod: PodRow, containers: readonly ContainerState[]): void {
    this.#pod = pod;
    for (const { name, state, pid } of containers) {
      const probes = this.#probesOf(name);
      const old = this.#watched.get(name);
      if (probes === undefined || this.#closed || (state === 'running' && old?.pid === pid)) continue;
      this.#forget(name);
      if (state !== 'running' || pid === 0) continue;
      this.#ended.delete(name);
      const kept = this.#kept[name];
      const known = kept?.pid === pid;
      const watched: Watched = { pid, sinceMs: performance.now(), state: new ProbeState(probes, known ? kept : undefined), timers: new Map(), why: undefined, ending: false };
      this.#watched.set(name, watched);
      for (const kind of kinds) if (watched.state.due(kind)) this.#later(name, watched, kind, known ? 0 : probes[kind]!.initialDelayMs);
    }
  }

  /** Undefined: all that run are ready. Else why not. */
  missing(containers: readonly ContainerState[]): string | undefined {
    for (const { name } of containers) {
      if (this.#probesOf(name) === undefined) continue;
      const watched = this.#watched.get(name);
      if (watched?.state.standing.ready !== true) return `${name}: ${watched?.why ?? 'not probed yet'}`;
    }
    return undefined;
  }

  /** Of a container that does not run: the probe that ended it. */
  ended(): string | undefined {
    const [first] = this.#ended;
    return first === undefined ? undefined : `${first[0]}: ${first[1]}`;
  }

  close(): void {
    this.#closed = true;
    for (const name of [...this.#watched.keys()]) this.#forget(name);
  }

  #forget(name: string): void {
    for (const timer of this.#watched.get(name)?.timers.values() ?? []) clearTimeout(timer);
    this.#watched.delete(name);
  }

  #later(name: string, watched: Watched, kind: ProbeKind, delayMs: number): void {
    clearTimeout(watched.timers.get(kind));
    watched.timers.set(kind, setTimeout(() => { void this.#ask(name, watched, kind); }, delayMs).unref());
  }

  async #ask(name: string, watched: Watched, kind: ProbeKind): Promise<void> {
    const probe = this.#probesOf(name)?.[kind];
    if (probe === undefined || !watched.state.due(kind)) return;
    const begunMs = performance.now();
    const address = this.#options.address();
    const answer = address === undefined && probe.action.kind !== 'exec' ? { ok: false, why: 'it has no address yet' }
      : await this.#options.asker.ask({ folder: this.#options.folder, container: name, address: address ?? '' }, probe);
    if (this.#watched.get(name) !== watched || watched.ending) return;
    this.#take(name, watched, kind, probe, answer);
    if (!watched.ending && watched.state.due(kind)) this.#later(name, watched, kind, Math.max(0, probe.periodMs - (performance.now() - begunMs)));
  }

  #take(name: string, watched: Watched, kind: ProbeKind, probe: ProbeSpec, answer: ProbeAnswer): void {
    const { begun } = watched.state.standing;
    const verdict = watched.state.answer(kind, answer.ok);
    const why = `${kind} probe: ${answer.why ?? ''}`;
    if (verdict === 'restart') this.#end(name, watched, probe, why);
    const tells = !answer.ok && kind !== 'liveness' && !watched.state.standing.ready && watched.why !== why;
    if (tells) watched.why = why;
    if (verdict === 'changed') this.#keep();
    if (!begun && watched.state.standing.begun) this.#begin(name, watched);
    if (tells || verdict !== 'same') this.#options.changed();
  }

  /** The startup probe succeeded: the others have waited for it, and for their own delay from the start on. */
  #begin(name: string, watched: Watched): void {
    const probes = this.#probesOf(name)!;
    const sinceMs = performance.now() - watched.sinceMs;
    for (const kind of kinds) if (watched.state.due(kind)) this.#later(name, watched, kind, Math.max(0, probes[kind]!.initialDelayMs - sinceMs));
  }

  /** SIGTERM to the container's init, and SIGKILL after its grace: known by pid and start time. */
  #end(name: string, watched: Watched, probe: ProbeSpec, why: string): void {
    const init = processOf(watched.pid);
    watched.ending = true;
    this.#ended.set(name, why);
    this.#options.log(`${this.#pod.key}: container ${name} is ended: ${why}`);
    if (init === undefined) return;
    signalProcess(init, 'SIGTERM');
    setTimeout(() => { signalProcess(init, 'SIGKILL'); }, probe.graceMs ?? this.#pod.terminationGracePeriodMs).unref();
  }

  #keep(): void {
    this.#kept = Object.fromEntries([...this.#watched].map(([name, { pid, state }]) => [name, { pid, ...state.standing }]));
    writeJson(join(this.#options.folder, 'probes.json'), this.#kept);
  }
}
