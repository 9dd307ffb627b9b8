// Numbers and ranges of numbers, given out first fit and taken back; what was taken back is not given out again at once.

/** Numbers from `first` up to `last`; a number taken back rests for `restMs`, so that late readers still know it. */
export class NumberAllocator {
  readonly #free: { number: number; sinceMs: number }[] = [];
  readonly #first: number;
  readonly #last: number;
  readonly #restMs: number;
  readonly #now: () => number;
  #next: number;

  constructor(first: number, last: number, restMs = 0, now: () => number = Date.now) {
    this.#first = first;
    this.#next = first;
    this.#last = last;
    this.#restMs = restMs;
    this.#now = now;
  }

  /** Undefined when all are taken. */
  take(): number | undefined {
    const oldest = this.#free[0];
    if (oldest !== undefined && this.#now() - oldest.sinceMs >= this.#restMs) {
      this.#free.shift();
      return oldest.number;
    }
    if (this.#next > this.#last) return undefined;
    return this.#next++;
  }

  /**
   * Takes this number, which somebody has had since before this allocator. False: it is taken, or none of its own.
   * Numbers below that nobody claims rest as if they had just been given back.
   */
  reserve(number: number): boolean {
    if (number < this.#first || number > this.#last) return false;
    if (number >= this.#next) {
      for (; this.#next < number; this.#next += 1) this.giveBack(this.#next);
      this.#next = number + 1;
      return true;
    }
    const index = this.#free.findIndex((free) => free.number === number);
    if (index >= 0) this.#free.splice(index, 1);
    return index >= 0;
  }

  giveBack(number: number): void { this.#free.push({ number, sinceMs: this.#now() }); }

  /** As if it had never been taken: nobody has seen it. */
  untake(number: number): void { this.#free.unshift({ number, sinceMs: -Infinity }); }
}

/** Contiguous ranges within [0, size). */
export class RangeAllocator {
  /** Ascending, none touching another. */
  readonly #free: { start: number; length: number }[];

  constructor(size: number, start = 0) { this.#free = [{ start, length: size - start }]; }

  get available(): number { return this.#free.reduce((sum, range) => sum + range.length, 0); }

  /**
   * Start of a range, or undefined when no gap is long enough. A length of 0 takes nothing. A range that fits into a block
   * (from one multiple of `block` to the next) stays within one, a longer one begins with one.
   */
  take(length: number, block = 1): number | undefined {
    if (length === 0) return 0;
    const startIn = (start: number): number => (start % block === 0 || (start % block) + length <= block ? start : Math.ceil(start / block) * block);
    for (const range of this.#free) {
      const start = startIn(range.start);
      if (start + length <= range.start + range.length && this.reserve(start, length)) return start;
    }
    return undefined;
  }

  /** Takes this range, which somebody has had since before this allocator. False: a part of it is taken. */
  reserve(start: number, length: number): boolean {
    if (length === 0) return true;
    const index = this.#free.findIndex((range) => range.start <= start && start + length <= range.start + range.length);
    const range = this.#free[index];
    if (range === undefined) return false;
    const after = start + length;
    const rest = [{ start: range.start, length: start - range.start }, { start: after, length: range.start + range.length - after }];
    this.#free.splice(index, 1, ...rest.filter((part) => part.length > 0));
    return true;
  }

  giveBack(start: number, length: number): void {
    if (length === 0) return;
    const after = this.#free.findIndex((range) => range.start > start);
    const at = after < 0 ? this.#free.length : after;
    const [before, next] = [this.#free[at - 1], this.#free[at]];
    const joinsBefore = before !== undefined && before.start + before.length === start;
    const joinsNext = next !== undefined && start + length === next.start;
    const joined = { start: joinsBefore ? before.start : start, length: length + (joinsBefore ? before.length : 0) + (joinsNext ? next.length : 0) };
    this.#free.splice(joinsBefore ? at - 1 : at, Number(joinsBefore) + Number(joinsNext), joined);
  }
}
