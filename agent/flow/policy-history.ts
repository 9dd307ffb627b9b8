// Which policy a number of the kernel meant. Numbers are used again only after a rest of seconds (policy/kernel-numbers.ts), so
// looking at them between two drains is enough: what was read before the change meant the old one.
import { limit } from '../../bpf/types.gen.ts';
import type { MergedPolicy } from '../policy/image.ts';
import type { KernelNumbers } from '../policy/kernel-numbers.ts';
import { History } from './history.ts';

/** The part of KernelNumbers that is asked here. */
export type Numbers = Pick<KernelNumbers, 'revision' | 'policyOf'>;

export class PolicyHistory {
  readonly #numbers: Numbers;
  readonly #history = new History<MergedPolicy>();
  readonly #known: (MergedPolicy | undefined)[] = [];
  #revision = -1;
  #lookedNs = 0;

  constructor(numbers: Numbers) { this.#numbers = numbers; }

  get history(): History<MergedPolicy> { return this.#history; }

  /** True when a number means something else than the last time. */
  look(nowNs: number): boolean {
    const lookedNs = this.#lookedNs;
    this.#lookedNs = nowNs;
    if (this.#numbers.revision === this.#revision) return false;
    this.#revision = this.#numbers.revision;
    let changed = false;
    for (let id = 1; id < limit.MAX_POLICIES; id += 1) {
      const policy = this.#numbers.policyOf(id);
      const known = this.#known[id];
      if (policy === known) continue;
      this.#known[id] = policy;
      changed = true; // also from nothing: what was remembered as unknown is known now
      if (known === undefined) continue;
      // Names need the rules only.
      this.#history.supersede(String(id), { ...known, intervals: [] }, lookedNs);
    }
    return changed;
  }

  at(id: number, timeNs: number): MergedPolicy | undefined {
    return this.#history.at(String(id), timeNs, () => this.#numbers.policyOf(id));
  }
}
