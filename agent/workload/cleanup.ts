// For `weir down` after an agent was killed: ends the shims of an instance and everything in its cgroups.
import { existsSync, readdirSync, rmdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { Instance } from '../instance.ts';
import { removeCgroup, signalProcess, waitForEnd } from './process.ts';
import { readStatus } from './status.ts';

const graceMs = 2_000;
const killMs = 2_000;

/** True when there was a living shim: known by its pid and start time, never by a bare pid. */
async function endShim(folder: string): Promise<boolean> {
  const status = readStatus(folder);
  if (status === undefined) return false;
  const shim = { pid: status.shimPid, startTicks: status.startTicks };
  if (!signalProcess(shim, 'SIGTERM')) return false;
  if (await waitForEnd(shim, graceMs)) return true;
  signalProcess(shim, 'SIGTERM');
  if (!(await waitForEnd(shim, killMs))) signalProcess(shim, 'SIGKILL');
  return true;
}

/** The number of shims that were still running. */
export async function cleanupWorkloads(instance: Instance, cgroupFolder: string): Promise<number> {
  const podsDir = join(instance.stateDir, 'pods');
  const uids = existsSync(podsDir) ? readdirSync(podsDir) : [];
  const ended = await Promise.all(uids.map((uid) => endShim(join(podsDir, uid))));
  if (existsSync(cgroupFolder)) {
    // A shim that had no time to write its status is met here.
    const children = readdirSync(cgroupFolder).map((name) => join(cgroupFolder, name)).filter((path) => statSync(path).isDirectory());
    await Promise.all(children.map(removeCgroup));
    rmdirSync(cgroupFolder);
  }
  rmSync(podsDir, { recursive: true, force: true });
  return ended.filter(Boolean).length;
}
