// status.json of a pod's folder, as the shim writes it (shim/status.c), and pod.json, which the agent keeps beside it so
// that the next agent knows what it adopts.
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ContainerState, PodRow, WorkloadPhase } from './tables.ts';

export interface ShimStatus {
  readonly phase: WorkloadPhase;
  readonly shimPid: number;
  readonly startTicks: number;
  readonly containers: readonly ContainerState[];
}

export interface PodRecord {
  readonly pod: PodRow;
  /** The pod's own unprivileged uid. */
  readonly user: number;
  readonly startedAtMs: number;
}

const read = (path: string): unknown => (existsSync(path) ? JSON.parse(readFileSync(path, 'utf8')) : undefined);

/** Undefined as long as the shim has not got its namespaces. */
export const readStatus = (folder: string): ShimStatus | undefined => read(join(folder, 'status.json')) as ShimStatus | undefined;

export const readPod = (folder: string): PodRecord | undefined => read(join(folder, 'pod.json')) as PodRecord | undefined;

export function writePod(folder: string, record: PodRecord): void {
  const draft = join(folder, 'pod.json.draft');
  writeFileSync(draft, JSON.stringify(record), { mode: 0o600 });
  renameSync(draft, join(folder, 'pod.json'));
}
