// One Envoy as a process: who it is, and what it is started with. There are two places for one, so that another binary takes over beside it
// (processes.ts).
import { createHash } from 'node:crypto';
import { chmodSync, chownSync, existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { makeCgroup, processOf, signalProcess } from '../workload/process.ts';
import type { Binary } from './binary.ts';
import { adminSocket, bootstrap, inside, type BootstrapOptions } from './bootstrap.ts';
import { KeptProcess, type KeptOptions } from './kept.ts';
import { workers } from './workers.ts';

/** Below those of workloads (agent/workload/user-ids.ts), one for each instance. */
const firstUser = 198_000;
const userSlots = 1_024;
/** Of everything in the cgroup of both: what the heap's limit does not count stands beside it. */
const memoryBytes = 768 * 2 ** 20;
/** An open connection of a listener that is gone or was changed is closed after it. */
const drainSeconds = 10;

/** `cgroup`: of both places. */
export interface ProcessOptions extends Pick<KeptOptions, 'cgroup' | 'attach'> {
  readonly instance: string;
  /** `/run/weir/NAME/envoy`. */
  readonly folder: string;
  /** For tests. */
  readonly changes?: Pick<BootstrapOptions, 'upstream' | 'heapBytes'>;
}

export const slotOf = (instance: string): number => createHash('sha256').update(instance).digest().readUInt16BE() % userSlots;
export const userOf = (instance: string): number => firstUser + slotOf(instance);
const argumentsOf = ['-c', `${inside}/bootstrap.json`, '--disable-hot-restart', '--concurrency', String(workers), '-l', 'warning', '--drain-time-s', String(drainSeconds), '--drain-strategy', 'immediate'];

export type Place = 'a' | 'b';

/** Of what an Envoy is started with: one that differs is another. */
export const identityOf = (binary: Binary, changes: ProcessOptions['changes']): string =>
  createHash('sha256').update(binary.path).update(binary.version).update(JSON.stringify(bootstrap({ nodeId: '', ...changes }))).update(argumentsOf.join(' ')).digest('hex').slice(0, 16);

export class EnvoyProcess extends KeptProcess {
  readonly #options: ProcessOptions;
  /** As it calls itself to the agent. */
  readonly node: string;

  constructor(options: ProcessOptions, place: Place) {
    const { cgroup, instance, folder } = options;
    const attach = (): void => {
      makeCgroup(cgroup);
      if (existsSync(join(cgroup, 'memory.max'))) writeFileSync(join(cgroup, 'memory.max'), String(memoryBytes));
      options.attach(cgroup);
    };
    super({ folder: join(folder, place), cgroup: join(cgroup, place), user: userOf(instance), memoryBytes, attach });
    this.#options = options;
    this.node = `${instance} ${place}`;
  }

  get adminPath(): string { return join(this.runFolder, adminSocket); }

  launch(binary: Binary): void {
    const { changes } = this.#options;
    const path = join(this.runFolder, 'bootstrap.json');
    writeFileSync(path, JSON.stringify(bootstrap({ nodeId: this.node, ...changes })));
    chownSync(path, 0, this.user);
    chmodSync(path, 0o640); // whatever the umask is while others open sockets
    this.start({ path: binary.path, arguments: argumentsOf, identity: identityOf(binary, changes) });
  }

  /** Its keeper starts another, which listens anew. */
  restart(): void {
    const found = processOf(this.status?.envoy ?? 0);
    if (found !== undefined) signalProcess(found, 'SIGTERM');
  }
}
