// One agent per instance name: the state folder (0700) with a file that names the process that owns it.
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ConfigError } from '../errors.ts';
import type { Instance } from '../instance.ts';

/** Process id and start time: a process id alone may have been given out again (proc(5), stat, field 22). */
function mark(pid: number): string | undefined {
  try {
    return `${pid} ${readFileSync(`/proc/${pid}/stat`, 'latin1').split(') ')[1]?.split(' ')[19]}`;
  } catch {
    return undefined; // the process has gone
  }
}

export const lockPath = (instance: Instance): string => join(instance.stateDir, 'agent.pid');

/** The process id of the agent that runs under this name, if one does. */
export function runningAgent(instance: Instance): number | undefined {
  let owner: string;
  try {
    owner = readFileSync(lockPath(instance), 'utf8').trim();
  } catch {
    return undefined; // nobody ever started, or it went properly
  }
  const pid = Number(owner.split(' ')[0]);
  return mark(pid) === owner ? pid : undefined;
}

/** Throws ConfigError when another agent runs under this name. Returns the way to let go. */
export function takeLock(instance: Instance): () => void {
  mkdirSync(instance.stateDir, { recursive: true, mode: 0o700 });
  const path = lockPath(instance);
  const other = runningAgent(instance);
  if (other !== undefined && other !== process.pid) {
    throw new ConfigError(`an agent with the instance name ${instance.name} runs already (process ${other})`,
      `stop it with ./weir down${instance.name === 'default' ? '' : ` --instance ${instance.name}`}, or start this one with --instance NAME`);
  }
  rmSync(path, { force: true });
  writeFileSync(path, mark(process.pid)!, { flag: 'wx', mode: 0o600 });
  return () => { rmSync(path, { force: true }); };
}
