// One GetFlows stream: reads the ring at the client's pace, filters, and says what the client missed.
import type { Entries } from './entries.ts';
import type { Query } from './query.ts';
import { isPast, limitOf, startOf } from './query.ts';
import { Cursor } from './ring.ts';
import { timestampOfMs } from './time.ts';
import { lostEventSource, type GetFlowsResponse } from './types.ts';

/** Where the responses go: a gRPC call, or a reader in the process. */
export interface Sink {
  /** An entry that is wanted. False: wait for `whenDrained` before the next one. */
  readonly entry: (number: number) => boolean;
  /** What is no entry of the ring. */
  readonly tell: (response: GetFlowsResponse) => boolean;
  /** No more comes for now. False as above. */
  readonly flush: () => boolean;
  readonly whenDrained: (go: () => void) => void;
  readonly end: () => void;
}

/** Work done before others get their turn: an entry that is read counts 1, one that is delivered `deliveryCost`. */
const batch = 4_096;
const deliveryCost = 8;
/** A client is told of its losses at most so often. */
const lossIntervalMs = 1000;

export class FlowStream {
  readonly #entries: Entries;
  readonly #query: Query;
  readonly #matches: (number: number) => boolean;
  readonly #sink: Sink;
  readonly #now: () => number;
  readonly #nodeName: string;
  readonly #cursor: Cursor;
  /** Who does not follow reads what was there when it asked. */
  readonly #end: number;
  #left: number;
  #missed = 0;
  #missedSinceMs = 0;
  #lossTimer: NodeJS.Timeout | undefined;
  #stopWaiting: () => void = () => undefined;
  #stopped = false;

  /** `matches`: the query's filters, by the number of an entry. */
  constructor(entries: Entries, query: Query, matches: (number: number) => boolean, sink: Sink, nodeName: string, now: () => number) {
    this.#entries = entries;
    this.#query = query;
    this.#matches = matches;
    this.#sink = sink;
    this.#nodeName = nodeName;
    this.#now = now;
    this.#cursor = new Cursor(entries.ring, startOf(entries, query, matches));
    this.#end = query.follow ? Infinity : entries.ring.next;
    this.#left = limitOf(query);
  }

  run = (): void => {
    for (let work = 0; work < batch; work += 1) {
      if (this.#stopped) return;
      // With an end in time, every entry's time matters.
      if (this.#query.until === undefined && this.#left > 0) work += this.#cursor.skip(this.#matches, Math.min(batch - work, this.#end - this.#cursor.position));
      const number = this.#left > 0 && this.#cursor.position < this.#end ? this.#cursor.read() : -1;
      this.#miss(this.#cursor.takeMissed());
      if (number < 0) { this.#rest(); return; }
      const step = this.#deliver(number);
      if (step === 'end') { this.#finish(); return; }
      if (step === 'full') { this.#sink.whenDrained(this.run); return; }
      if (step === 'sent') work += deliveryCost;
    }
    setImmediate(this.run);
  };

  /** Everything was read. */
  #rest(): void {
    if (!this.#query.follow) this.#finish();
    else if (this.#sink.flush()) this.#stopWaiting = this.#entries.ring.wait(() => { setImmediate(this.run); });
    else this.#sink.whenDrained(this.run);
  }

  /** The client is gone. */
  stop(): void {
    this.#stopped = true;
    this.#stopWaiting();
    clearTimeout(this.#lossTimer);
  }

  #deliver(number: number): 'passed over' | 'sent' | 'full' | 'end' {
    const entries = this.#entries;
    if (this.#query.until !== undefined && isPast(this.#query, entries.time(number))) return 'end';
    if (entries.isFlow(number)) {
      if (!this.#matches(number)) return 'passed over';
      this.#left -= 1;
    }
    return this.#sink.entry(number) ? 'sent' : 'full';
  }

  #miss(count: number): void {
    if (count === 0) return;
    if (this.#missed === 0) this.#missedSinceMs = this.#now();
    this.#missed += count;
    this.#lossTimer ??= setTimeout(() => { this.#lossTimer = undefined; this.#tellMissed(); this.#sink.flush(); }, lossIntervalMs);
  }

  #tellMissed(): void {
    if (this.#missed === 0 || this.#stopped) return;
    const now = timestampOfMs(this.#now());
    this.#sink.tell({
      lost_events: { source: lostEventSource.hubbleRing, num_events_lost: this.#missed, first: timestampOfMs(this.#missedSinceMs), last: now },
      node_name: this.#nodeName, time: now,
    });
    this.#missed = 0;
  }

  #finish(): void {
    this.#tellMissed();
    this.stop();
    this.#sink.end();
  }
}
