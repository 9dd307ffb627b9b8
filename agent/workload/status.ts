// status.json of a pod's folder, as the shim writes it (shim/status.c), and pod.json, which the agent keeps beside it so
// that the next agent knows what it adopts.
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { readJson, writeJson } from '../store/file.ts';
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

/** Undefined as long as the shim has not got its namespaces. */
export const readStatus = (folder: string): ShimStatus | undefined => readJson(join(folder, 'status.json')) as ShimStatus | undefined;

export const readPod = (folder: string): PodRecord | undefined => readJson(join(folder, 'pod.json')) as PodRecord | undefined;

export const writePod = (folder: string, record: PodRecord): void => { writeJson(join(folder, 'pod.json'), record); };

/** Pods by hand that an agent before was to keep running: nothing but its own folders tells of them. */
export function podsByHand(podsDir: string): PodRow[] {
  const folders = existsSync(podsDir) ? readdirSync(podsDir).map((uid) => join(podsDir, uid)) : [];
  return folders.filter((folder) => readStatus(folder)?.phase !== 'Terminating')
    .flatMap((folder) => readPod(folder)?.pod ?? []).filter((pod) => pod.source === undefined && pod.binds === undefined);
}
