// What the observer remembers beside the flows: namespaces of the last hour, flows per second of the last minute.
import type { Endpoint } from './types.ts';

const namespaceTtlMs = 3_600_000;
const maxNamespaces = 10_000;

export class Namespaces {
  readonly #now: () => number;
  readonly #lastSeen = new Map<string, { readonly cluster: string; readonly namespace: string; atMs: number }>();

  constructor(now: () => number) { this.#now = now; }

  see(endpoint: Endpoint | undefined): void {
    const namespace = endpoint?.namespace ?? '';
    if (namespace === '') return;
    const cluster = endpoint?.cluster_name ?? '';
    const key = `${cluster}/${namespace}`;
    const known = this.#lastSeen.get(key);
    if (known !== undefined) known.atMs = this.#now();
    else if (this.#lastSeen.size < maxNamespaces) this.#lastSeen.set(key, { cluster, namespace, atMs: this.#now() });
  }

  /** By cluster, then name. */
  list(): { cluster: string; namespace: string }[] {
    const oldest = this.#now() - namespaceTtlMs;
    for (const [key, { atMs }] of this.#lastSeen) if (atMs < oldest) this.#lastSeen.delete(key);
    return [...this.#lastSeen.keys()].sort().map((key) => {
      const { cluster, namespace } = this.#lastSeen.get(key)!;
      return { cluster, namespace };
    });
  }
}

const windowSeconds = 60;

/** One counter per second, in a ring. */
export class Rate {
  readonly #now: () => number;
  readonly #startedMs: number;
  readonly #counts = new Uint32Array(windowSeconds);
  readonly #seconds = new Float64Array(windowSeconds).fill(-1);

  constructor(now: () => number) {
    this.#now = now;
    this.#startedMs = now();
  }

  count(): void {
    const second = Math.floor(this.#now() / 1000);
    const slot = second % windowSeconds;
    if (this.#seconds[slot] !== second) {
      this.#seconds[slot] = second;
      this.#counts[slot] = 0;
    }
    this.#counts[slot]! += 1;
  }

  perSecond(): number {
    const now = this.#now();
    const from = Math.floor(now / 1000) - windowSeconds;
    const total = this.#counts.reduce((sum, count, slot) => (this.#seconds[slot]! > from ? sum + count : sum), 0);
    const elapsed = Math.min(windowSeconds, Math.max(1, (now - this.#startedMs) / 1000));
    return total / elapsed;
  }
}
