// What the observer remembers beside the flows: namespaces of the last hour, flows per second of the last minute.
import { ipText } from './address.ts';
import type { Entries } from './entries.ts';
import { endpointOf } from './flow.ts';
import { field, timeAt } from './record.ts';
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

const identitySlots = 1 << 16;
const askAgainMs = 60_000;
/** Identities are counted up from 256, node-local ones from 2^24: both stand side by side. */
const slotOf = (identity: number): number => (identity & 0x7fff) | ((identity >>> 9) & 0x8000);

/** Asks for the namespaces behind the identities of records: an identity has one namespace, so each is asked once a minute only. */
export class SeenIdentities {
  readonly #entries: Entries;
  readonly #namespaces: Namespaces;
  readonly #now: () => number;
  readonly #asked = new Uint32Array(identitySlots);
  #askedMs = 0;

  constructor(entries: Entries, namespaces: Namespaces, now: () => number) {
    this.#entries = entries;
    this.#namespaces = namespaces;
    this.#now = now;
  }

  /** Entries that are records. */
  see(from: number, to: number): void {
    const now = this.#now();
    if (now - this.#askedMs >= askAgainMs) {
      this.#asked.fill(0);
      this.#askedMs = now;
    }
    const { ring } = this.#entries;
    for (let number = from; number < to; number += 1) {
      const at = ring.recordAt(number);
      const source = ring.words[(at + field.sourceIdentity) >>> 2]!;
      const destination = ring.words[(at + field.destinationIdentity) >>> 2]!;
      if (this.#asked[slotOf(source)] !== source) this.#ask(at, source, field.saddr);
      if (this.#asked[slotOf(destination)] !== destination) this.#ask(at, destination, field.daddr);
    }
  }

  #ask(at: number, identity: number, address: number): void {
    this.#asked[slotOf(identity)] = identity;
    const { ring: { words, bytes }, lookups } = this.#entries;
    this.#namespaces.see(endpointOf(ipText(bytes.subarray(at + address, at + address + 16)).text, identity, timeAt(words, at), lookups));
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

  count(events: number): void {
    const second = Math.floor(this.#now() / 1000);
    const slot = second % windowSeconds;
    if (this.#seconds[slot] !== second) {
      this.#seconds[slot] = second;
      this.#counts[slot] = 0;
    }
    this.#counts[slot]! += events;
  }

  perSecond(): number {
    const now = this.#now();
    const from = Math.floor(now / 1000) - windowSeconds;
    const total = this.#counts.reduce((sum, count, slot) => (this.#seconds[slot]! > from ? sum + count : sum), 0);
    const elapsed = Math.min(windowSeconds, Math.max(1, (now - this.#startedMs) / 1000));
    return total / elapsed;
  }
}
