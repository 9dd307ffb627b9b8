// The unprivileged uids of pods: each run its own, not given out again at once, apart from those of other instances.
import { createHash } from 'node:crypto';

const firstUser = 200_000;
const usersPerInstance = 8_192;
const instanceSlots = 1_024;

export class UserIds {
  readonly #base: number;
  readonly #used = new Set<number>();
  #next = 0;

  constructor(instance: string) {
    const slot = createHash('sha256').update(instance).digest().readUInt16BE() % instanceSlots;
    this.#base = firstUser + slot * usersPerInstance;
  }

  /** For an adopted run. */
  keep(user: number): void { this.#used.add(user); }

  take(): number {
    for (let tried = 0; tried < usersPerInstance; tried += 1) {
      const user = this.#base + this.#next;
      this.#next = (this.#next + 1) % usersPerInstance;
      if (this.#used.has(user)) continue;
      this.#used.add(user);
      return user;
    }
    throw new Error(`all ${usersPerInstance} user ids of this instance are in use`);
  }

  free(user: number): void { this.#used.delete(user); }
}
