// Responses of several nodes -> one stream in the order of their times. What came waits, at most `window` for each node and at most
// `drainMs`, until every node that still sends has something there: then the oldest cannot be overtaken any more.

export interface Sequenced<Item> { readonly item: Item; readonly timeMs: number; readonly node: string }

interface Arrival { readonly ms: number; taken: boolean }
interface Waiting<Item> extends Sequenced<Item> { readonly number: number; readonly arrival: Arrival }

/** Arrivals that are forgotten at once: moving the rest costs as much for many. */
const tidyAt = 4_096;

export interface MergeOptions {
  /** For each node that sends: bursts of all of them come at the same time. */
  readonly window: number;
  readonly drainMs: number;
  /** A finite question is worth waiting for: a full window holds back those who have sent instead of letting the oldest out. */
  readonly holds: boolean;
  readonly now?: () => number;
}

export class Merge<Item> {
  readonly #options: MergeOptions;
  readonly #now: () => number;
  /** A binary heap by time, then by arrival. */
  readonly #heap: Waiting<Item>[] = [];
  /** In the order of arrival; those that were taken go when they come first. */
  #arrivals: Arrival[] = [];
  #firstArrival = 0;
  readonly #counts = new Map<string, number>();
  /** Nodes that still send and have nothing here. */
  #silent = 0;
  #numbers = 0;

  constructor(options: MergeOptions) {
    this.#options = options;
    this.#now = options.now ?? Date.now;
  }

  get size(): number { return this.#heap.length; }
  /** Whether those who have sent should be held back. */
  get full(): boolean { return this.#options.holds && this.#heap.length >= this.#limit; }
  get #limit(): number { return this.#options.window * Math.max(1, this.#counts.size); }

  /** Whether the others wait for this one. */
  lacks(node: string): boolean { return this.#counts.get(node) === 0; }

  open(node: string): void {
    if (this.#counts.has(node)) return;
    this.#counts.set(node, 0);
    this.#silent += 1;
  }

  close(node: string): void {
    if (this.#counts.get(node) === 0) this.#silent -= 1;
    this.#counts.delete(node);
  }

  push(item: Item, timeMs: number, node: string): void {
    const count = this.#counts.get(node);
    if (count !== undefined) this.#counts.set(node, count + 1);
    if (count === 0) this.#silent -= 1;
    this.#numbers += 1;
    const arrival = { ms: this.#now(), taken: false };
    this.#arrivals.push(arrival);
    this.#up({ item, timeMs, node, number: this.#numbers, arrival });
  }

  /** The next one whose turn has come; undefined: none yet. */
  shift(): Sequenced<Item> | undefined {
    const first = this.#heap[0];
    if (first === undefined) return undefined;
    const { drainMs, holds } = this.#options;
    const ready = this.#silent === 0 || (!holds && this.#heap.length > this.#limit) || this.#now() - this.#oldestArrival() >= drainMs;
    return ready ? this.#take() : undefined;
  }

  /** How long until the next one's turn has come at the latest; undefined: nothing waits. */
  get waitMs(): number | undefined {
    if (this.#heap.length === 0) return undefined;
    return Math.max(0, this.#options.drainMs - (this.#now() - this.#oldestArrival()));
  }

  /** Something waits. */
  #oldestArrival(): number { return this.#arrivals[this.#firstArrival]!.ms; }

  #leave(arrival: Arrival): void {
    arrival.taken = true;
    while (this.#arrivals[this.#firstArrival]?.taken === true) this.#firstArrival += 1;
    if (this.#firstArrival < this.#arrivals.length && this.#firstArrival < tidyAt) return;
    this.#arrivals = this.#arrivals.slice(this.#firstArrival);
    this.#firstArrival = 0;
  }

  #take(): Waiting<Item> {
    const heap = this.#heap;
    const first = heap[0]!;
    this.#leave(first.arrival);
    const last = heap.pop()!;
    if (heap.length > 0) this.#down(last);
    const count = this.#counts.get(first.node);
    if (count !== undefined) {
      this.#counts.set(first.node, count - 1);
      if (count === 1) this.#silent += 1;
    }
    return first;
  }

  #up(entry: Waiting<Item>): void {
    const heap = this.#heap;
    let at = heap.length;
    heap.push(entry);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!before(entry, heap[parent]!)) break;
      heap[at] = heap[parent]!;
      at = parent;
    }
    heap[at] = entry;
  }

  #down(entry: Waiting<Item>): void {
    const heap = this.#heap;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && before(heap[child + 1]!, heap[child]!)) child += 1;
      if (!before(heap[child]!, entry)) break;
      heap[at] = heap[child]!;
      at = child;
    }
    heap[at] = entry;
  }
}

const before = (a: Waiting<unknown>, b: Waiting<unknown>): boolean => a.timeMs < b.timeMs || (a.timeMs === b.timeMs && a.number < b.number);
