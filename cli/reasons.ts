// Why the containers of a workload do not run or are not ready, in words: for the list of workloads and for the live table.
import { constants } from 'node:os';
import type { ContainerState, WorkloadRow } from '../agent/workload/tables.ts';

const signalName = (signal: number): string => Object.entries(constants.signals).find(([, number]) => number === signal)?.[0] ?? `signal ${signal}`;

function reasonOf({ state, reason, signal, exitCode = 0 }: ContainerState): string | undefined {
  if (state === 'running') return undefined;
  if (reason !== undefined) return reason;
  if (signal !== undefined) return `ended by ${signalName(signal)}`;
  return exitCode === 0 ? undefined : `exit code ${exitCode}`;
}

/** The container is named when there are several. */
export const reasonsOf = ({ containers, unready, message }: WorkloadRow): string[] => [
  ...containers.flatMap((container) => {
    const reason = reasonOf(container);
    return reason === undefined ? [] : [containers.length > 1 ? `${container.name}: ${reason}` : reason];
  }),
  ...(unready === undefined ? [] : [unready]), ...(message === undefined ? [] : [message]),
];
