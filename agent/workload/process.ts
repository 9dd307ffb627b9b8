// Processes and cgroups of workloads: a process is named by pid and start time, so a pid that was given out anew is
// never taken for a shim; a cgroup is emptied before its folder is removed.
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

export interface ProcessId {
  readonly pid: number;
  /** Field 22 of /proc/PID/stat. */
  readonly startTicks: number;
}

const pollMs = 10;
const emptyTimeoutMs = 5_000;

const codeOf = (error: unknown): string | undefined => (error as NodeJS.ErrnoException).code;

/** Undefined when there is no such process, or only what its parent has not reaped yet. */
export function processOf(pid: number): ProcessId | undefined {
  let text: string;
  try {
    text = readFileSync(`/proc/${pid}/stat`, 'utf8');
  } catch (error) {
    if (codeOf(error) === 'ENOENT' || codeOf(error) === 'ESRCH') return undefined;
    throw error;
  }
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  return fields[0] === 'Z' || fields[0] === 'X' ? undefined : { pid, startTicks: Number(fields[19]) };
}

export const isAlive = ({ pid, startTicks }: ProcessId): boolean => processOf(pid)?.startTicks === startTicks;

/** Whether the signal met a living process. */
export function signalProcess(process_: ProcessId, signal: NodeJS.Signals): boolean {
  if (!isAlive(process_)) return false;
  try {
    return process.kill(process_.pid, signal);
  } catch (error) {
    if (codeOf(error) === 'ESRCH') return false;
    throw error;
  }
}

/** True when it ended within the time. */
export async function waitForEnd(process_: ProcessId, timeoutMs: number): Promise<boolean> {
  for (const deadline = performance.now() + timeoutMs; isAlive(process_);) {
    if (performance.now() >= deadline) return false;
    await sleep(pollMs);
  }
  return true;
}

export const makeCgroup = (folder: string): void => { mkdirSync(folder, { recursive: true }); };

function pidsOf(folder: string): number[] {
  try {
    return readFileSync(join(folder, 'cgroup.procs'), 'utf8').split('\n').filter((line) => line !== '').map(Number);
  } catch (error) {
    if (codeOf(error) === 'ENOENT' || codeOf(error) === 'ENODEV') return [];
    throw error;
  }
}

/** cgroup.kill is kernel 5.14; before it, whatever forks meanwhile is met by the next round. */
function killOnce(folder: string): void {
  if (existsSync(join(folder, 'cgroup.kill'))) {
    writeFileSync(join(folder, 'cgroup.kill'), '1');
    return;
  }
  for (const pid of pidsOf(folder)) {
    const found = processOf(pid);
    if (found !== undefined) signalProcess(found, 'SIGKILL');
  }
}

/** Ends everything in a cgroup and removes it; an absent one is fine. */
export async function removeCgroup(folder: string): Promise<void> {
  for (const deadline = performance.now() + emptyTimeoutMs; existsSync(folder);) {
    try {
      if (pidsOf(folder).length > 0) killOnce(folder);
      rmdirSync(folder);
    } catch (error) {
      const code = codeOf(error);
      if (code === 'ENOENT') return;
      if (code !== 'EBUSY' && code !== 'ENODEV') throw error;
      if (performance.now() >= deadline) throw new Error(`remove cgroup ${folder}: still holds ${pidsOf(folder).join(' ') || 'dying processes'}`);
    }
    if (existsSync(folder)) await sleep(pollMs);
  }
}
