// What a key said before it changed, for as long as a flow may still ask: only what was superseded is kept, what holds now stands
// in the tables. Bounded: the oldest go first, and are counted; flows from before them show later names.

interface Superseded<Value> { readonly key: string; readonly untilNs: number; readonly value: Value | undefined }

/** Superseded values that are kept. */
const most = 8_192;

export class History<Value> {
  /** In the order in which they were superseded, as a ring. */
  #all: Superseded<Value>[] = [];
  readonly #byKey = new Map<string, Superseded<Value>[]>();
  #dropped = 0;

  /** Values that went while a flow could still ask for them. */
  get dropped(): number { return this.#dropped; }
  get size(): number { return this.#all.length; }

  /** `value` held until now; undefined: the key said nothing. */
  supersede(key: string, value: Value | undefined, nowNs: number): void {
    const one = { key, untilNs: nowNs, value };
    this.#all.push(one);
    const known = this.#byKey.get(key);
    if (known === undefined) this.#byKey.set(key, [one]);
    else known.push(one);
    if (this.#all.length <= most) return;
    const excess = most >> 3; // not one by one: moving the rest costs as much for many
    this.#dropped += excess;
    this.#forgetFirst(excess);
  }

  /** What `key` said at that time; `current` when it has not changed since. */
  at(key: string, timeNs: number, current: () => Value | undefined): Value | undefined {
    const known = this.#byKey.get(key);
    if (known === undefined) return current();
    const found = known.find(({ untilNs }) => timeNs < untilNs);
    return found === undefined ? current() : found.value;
  }

  /** Nobody asks for earlier times any more. */
  forget(beforeNs: number): void {
    let count = 0;
    while (count < this.#all.length && this.#all[count]!.untilNs <= beforeNs) count += 1;
    if (count > 0) this.#forgetFirst(count);
  }

  #forgetFirst(count: number): void {
    for (const { key } of this.#all.slice(0, count)) {
      const known = this.#byKey.get(key)!;
      known.shift();
      if (known.length === 0) this.#byKey.delete(key);
    }
    this.#all = this.#all.slice(count);
  }
}
