// What the answers of its probes make of one run of a container, as kubelet counts them. Pure: the time of nothing is known here.
import type { ProbeKind, Probes } from './probe-spec.ts';

/** `begun`: its startup probe succeeded, or it has none. Both are kept for the next agent. */
export interface Standing { readonly begun: boolean; readonly ready: boolean }

export type Verdict = 'restart' | 'changed' | 'same';

export class ProbeState {
  readonly #probes: Probes;
  #begun: boolean;
  #ready: boolean;
  /** The same answer so many times in a row, by probe. */
  readonly #streaks: Partial<Record<ProbeKind, { readonly ok: boolean; readonly count: number }>> = {};

  /** `kept`: of the same run, from an agent before. */
  constructor(probes: Probes, kept?: Standing) {
    this.#probes = probes;
    this.#begun = kept?.begun ?? probes.startup === undefined;
    this.#ready = kept?.ready ?? (this.#begun && probes.readiness === undefined);
  }

  get standing(): Standing { return { begun: this.#begun, ready: this.#ready }; }

  /** Liveness and readiness wait for the startup probe, which has nothing to ask after its success. */
  due(kind: ProbeKind): boolean { return this.#probes[kind] !== undefined && (kind === 'startup') === !this.#begun; }

  answer(kind: ProbeKind, ok: boolean): Verdict {
    const probe = this.#probes[kind];
    if (probe === undefined || !this.due(kind)) return 'same';
    const streak = this.#streaks[kind];
    const count = streak?.ok === ok ? streak.count + 1 : 1;
    this.#streaks[kind] = { ok, count };
    if (count < (ok ? probe.successThreshold : probe.failureThreshold)) return 'same';
    if (kind !== 'readiness' && !ok) {
      this.#streaks[kind] = { ok, count: 0 };
      return 'restart';
    }
    const before = this.standing;
    if (kind === 'startup') {
      this.#begun = true;
      this.#ready = this.#probes.readiness === undefined;
    } else if (kind === 'readiness') this.#ready = ok;
    return before.begun === this.#begun && before.ready === this.#ready ? 'same' : 'changed';
  }
}
