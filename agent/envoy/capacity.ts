// How much of a core Envoy's workers get when they want one: on a busy node less than all, and a share of Envoy is a share of that. Asked of the
// kernel's scheduler (/proc/PID/task/TID/schedstat: ns that it ran, ns that it waited to run).
import { readdirSync, readFileSync } from 'node:fs';

const pauseMs = 500;
/** Of a pause: who wanted to run for less tells little. */
const leastBusy = 0.05;
const leastPart = 0.1;

export interface Times { readonly ranNs: number; readonly waitedNs: number }

/** Of the workers of one Envoy; undefined: it has gone, or the kernel does not tell. */
export function workerTimes(pid: number, root = '/proc'): Times | undefined {
  const folder = `${root}/${pid}/task`;
  try {
    const workers = readdirSync(folder).filter((task) => readFileSync(`${folder}/${task}/comm`, 'utf8').startsWith('wrk:'));
    const times = workers.map((task) => readFileSync(`${folder}/${task}/schedstat`, 'utf8').split(' ').map(Number));
    return times.length === 0 ? undefined : { ranNs: times.reduce((sum, [ran]) => sum + ran!, 0), waitedNs: times.reduce((sum, [, waited]) => sum + waited!, 0) };
  } catch (error) {
    // It ends, or one of its threads does.
    if (['ENOENT', 'ESRCH'].includes((error as NodeJS.ErrnoException).code ?? '')) return undefined;
    throw error;
  }
}

/** The next estimate: half of what was, half of what is. An Envoy that is idle comes back to all of a core. */
export function partOf(was: number, before: Times, now: Times, pauseNs: number): number {
  const [ran, waited] = [now.ranNs - before.ranNs, now.waitedNs - before.waitedNs];
  const is = ran < 0 || waited < 0 || ran + waited < leastBusy * pauseNs ? 1 : ran / (ran + waited);
  return Math.max(leastPart, (was + is) / 2);
}

/** `pidOf`: 0: no Envoy runs. The result ends it. */
export function followCapacity(pidOf: () => number, changed: (part: number) => void): () => void {
  let [pid, part, told] = [0, 1, 1];
  let before: Times | undefined;
  const look = (): void => {
    const runs = pidOf();
    const now = runs === 0 ? undefined : workerTimes(runs);
    part = now === undefined || before === undefined || runs !== pid ? 1 : partOf(part, before, now, pauseMs * 1e6);
    [pid, before] = [runs, now];
    if (Math.abs(part - told) < 0.02 * told) return;
    changed(part);
    told = part;
  };
  const timer = setInterval(look, pauseMs).unref();
  return () => { clearInterval(timer); };
}
