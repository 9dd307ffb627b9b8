// When a pod whose shim was lost is started again: after 1 s, doubling to 60 s; anew once it has run for 60 s.

const firstMs = 1_000;
const lastMs = 60_000;
const steadyMs = 60_000;

interface Entry { delayMs: number; startedAtMs: number; timer: NodeJS.Timeout | undefined }

export class Backoff {
  readonly #entries = new Map<string, Entry>();
  readonly #due: (key: string) => void;

  constructor(due: (key: string) => void) { this.#due = due; }

  waits(key: string): boolean { return this.#entries.get(key)?.timer !== undefined; }

  started(key: string): void {
    const entry = this.#entries.get(key);
    if (entry !== undefined) entry.startedAtMs = performance.now();
  }

  failed(key: string): void {
    const old = this.#entries.get(key);
    clearTimeout(old?.timer);
    const steady = old === undefined || performance.now() - old.startedAtMs >= steadyMs;
    const entry: Entry = { delayMs: steady ? firstMs : Math.min(old.delayMs * 2, lastMs), startedAtMs: performance.now(), timer: undefined };
    entry.timer = setTimeout(() => {
      entry.timer = undefined;
      this.#due(key);
    }, entry.delayMs).unref();
    this.#entries.set(key, entry);
  }

  forget(key: string): void {
    clearTimeout(this.#entries.get(key)?.timer);
    this.#entries.delete(key);
  }

  clear(): void { for (const key of [...this.#entries.keys()]) this.forget(key); }
}
