// Envoy as a process: who it is, and what it is started with.
import { createHash } from 'node:crypto';
import { chownSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Binary } from './binary.ts';
import { bootstrap, inside, type BootstrapOptions } from './bootstrap.ts';
import { KeptProcess, type KeptOptions } from './kept.ts';

/** Below those of workloads (agent/workload/user-ids.ts), one for each instance. */
const firstUser = 198_000;
export const userSlots = 1_024;
/** What the heap's limit does not count stands beside it. */
const memoryBytes = 768 * 2 ** 20;
/** An open connection of a listener that is gone or was changed is closed after it. */
const drainSeconds = 10;

export interface ProcessOptions extends Pick<KeptOptions, 'cgroup' | 'attach'> {
  readonly instance: string;
  /** `/run/weir/NAME/envoy`. */
  readonly folder: string;
  readonly upstream?: BootstrapOptions['upstream'];
}

export const slotOf = (instance: string): number => createHash('sha256').update(instance).digest().readUInt16BE() % userSlots;
export const userOf = (instance: string): number => firstUser + slotOf(instance);
const argumentsOf = ['-c', `${inside}/bootstrap.json`, '--disable-hot-restart', '--concurrency', '1', '-l', 'warning', '--drain-time-s', String(drainSeconds), '--drain-strategy', 'immediate'];

export class EnvoyProcess extends KeptProcess {
  readonly #options: ProcessOptions;

  constructor(options: ProcessOptions) {
    super({ folder: options.folder, cgroup: options.cgroup, user: userOf(options.instance), memoryBytes, attach: options.attach });
    this.#options = options;
  }

  /** Takes the one that runs, or starts one. True: it was started. One of another binary or configuration is ended first. */
  async ensure(binary: Binary): Promise<boolean> {
    const config = bootstrap({ nodeId: `${this.#options.instance} ${binary.version}`, ...(this.#options.upstream !== undefined && { upstream: this.#options.upstream }) });
    const text = JSON.stringify(config);
    const identity = createHash('sha256').update(binary.path).update(binary.version).update(text).update(argumentsOf.join(' ')).digest('hex').slice(0, 16);
    if (this.isSame(identity)) return false;
    if (this.keeper !== undefined) await this.end();
    const path = join(this.runFolder, 'bootstrap.json');
    writeFileSync(path, text, { mode: 0o640 });
    chownSync(path, 0, this.user);
    this.start({ path: binary.path, arguments: argumentsOf, identity });
    return true;
  }
}
