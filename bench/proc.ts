// What /proc says of a process: the CPU time it took, and numbers out of its files.
import { readFileSync } from 'node:fs';

/** USER_HZ, the same on every architecture that Node runs on. */
const ticksPerSecond = 100;

/** A line `name: number` of a file below /proc, such as `VmRSS:   1234 kB`. */
export const numberOf = (file: string, name: string): number => Number(new RegExp(`^${name}:\\s*(\\d+)`, 'm').exec(readFileSync(file, 'utf8'))?.[1] ?? 0);

/** utime and stime of all threads (proc_pid_stat(5)); the name before them may hold spaces. */
export function cpuMs(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').replace(/^.*\) /s, '').split(' ');
  return (Number(fields[11]) + Number(fields[12])) * 1000 / ticksPerSecond;
}

/** CPU time of processes and their children, to the nanosecond: the first number of schedstat (Documentation/scheduler/sched-stats.rst). */
export const cpuNs = (pids: readonly number[]): number => pids.flatMap((pid) => [pid, ...readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean)])
  .reduce((sum: number, pid) => sum + Number(readFileSync(`/proc/${pid}/schedstat`, 'utf8').split(' ')[0]), 0);
