// Which of Envoy's workers serves whom (bpf/proxy_socket.c): each endpoint the one that its number says, and whoever keeps a worker busy has it
// alone while there are others. That is for new connections; those that are open stay where they are.
import { limit } from '../../bpf/types.gen.ts';

/**
 * `--concurrency`. A workload is served by one at a time, so that more of them make nobody faster: they keep those who are busy apart, three of
 * them with four, and each takes memory (README.md).
 */
export const workers = limit.PROXY_WORKERS;
const pauseMs = 500;
/** Of a core: from there on a worker has nothing left for others, and again below there. */
const [busyFrom, busyUntil] = [0.1, 0.03];

/** `load`: of a core, lately. `move`: so many workers on from its own (proxy_moves). */
export interface Served { readonly id: number; readonly load: number; readonly move: number; readonly busy: boolean }

export const workerOf = (id: number, move: number): number => (id + move) % workers;
const moveTo = (id: number, worker: number): number => (worker + workers - id % workers) % workers;

/** Where everybody is served from now on. One worker at least is left to those who are not busy. */
export function assign(all: readonly Served[]): Served[] {
  const busy = (one: Served): boolean => one.load >= (one.busy ? busyUntil : busyFrom);
  const loads = new Map<number, number>();
  const placed = new Map<number, number>();
  const heavy = all.filter(busy).sort((a, b) => Number(b.busy) - Number(a.busy) || b.load - a.load || a.id - b.id);
  for (const { id, load, move } of heavy) {
    const worker = placeOf(workerOf(id, move), loads);
    loads.set(worker, (loads.get(worker) ?? 0) + load);
    placed.set(id, worker);
  }
  const quiet = Array.from({ length: workers }, (_, worker) => worker).filter((worker) => !loads.has(worker));
  return all.map((one) => {
    const own = workerOf(one.id, 0);
    const worker = placed.get(one.id) ?? (loads.has(own) ? quiet[one.id % quiet.length]! : own);
    return { ...one, busy: placed.has(one.id), move: moveTo(one.id, worker) };
  });
}

/** For one more that is busy: where it is, else one that none has, else the least busy of those that somebody has. */
function placeOf(now: number, loads: ReadonlyMap<number, number>): number {
  if (loads.size < workers - 1) {
    for (let step = 0; step < workers; step += 1) if (!loads.has((now + step) % workers)) return (now + step) % workers;
  }
  return [...loads].sort(([, a], [, b]) => a - b)[0]![0];
}

export interface WorkersOptions {
  readonly runs: () => boolean;
  readonly ids: () => readonly number[];
  /** By endpoint, of Envoy's time, ever since. */
  readonly spentMs: (id: number) => number;
  readonly moves: { readonly get: (id: number) => number | undefined; readonly set: (id: number, move: number) => void };
}

/** The next look, given the one before: half of the load that was, half of what is. */
export function look(before: ReadonlyMap<number, Served & { readonly spentMs: number }>, { ids, spentMs, moves }: Omit<WorkersOptions, 'runs'>, pause = pauseMs): Map<number, Served & { readonly spentMs: number }> {
  const now = ids().map((id) => {
    const [had, spent] = [before.get(id), spentMs(id)];
    const is = had === undefined ? 0 : Math.max(0, spent - had.spentMs) / pause;
    return { id, spentMs: spent, load: ((had?.load ?? 0) + is) / 2, move: had?.move ?? moves.get(id) ?? 0, busy: had?.busy ?? false };
  });
  return new Map(assign(now).map((one, index) => {
    if (one.move !== now[index]!.move) moves.set(one.id, one.move);
    return [one.id, { ...one, spentMs: now[index]!.spentMs }];
  }));
}

/** Twice a second, while there is an Envoy. The result ends it. */
export function followWorkers({ runs, ...options }: WorkersOptions): () => void {
  let last: ReturnType<typeof look> = new Map();
  const timer = setInterval(() => { last = runs() ? look(last, options) : new Map(); }, pauseMs).unref();
  return () => { clearInterval(timer); };
}
