// One GetFlows stream: reads the ring at the client's pace, filters, and says what the client missed.
import type { Query } from './query.ts';
import { isPast, limitOf, startOf } from './query.ts';
import { Cursor, encodedOf, type Entry, type Ring } from './ring.ts';
import { timestampOfMs } from './time.ts';
import { lostEventSource, type GetFlowsResponse } from './types.ts';

/** Where the responses go: a gRPC call, or a test. */
export interface Sink {
  /** False: wait for `whenDrained` before the next one. */
  readonly write: (response: GetFlowsResponse | Buffer) => boolean;
  readonly whenDrained: (go: () => void) => void;
  readonly end: () => void;
}

/** Entries read before others get their turn. */
const batch = 256;
/** A client is told of its losses at most so often. */
const lossIntervalMs = 1000;

export class FlowStream {
  readonly #ring: Ring;
  readonly #query: Query;
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

  constructor(ring: Ring, query: Query, sink: Sink, nodeName: string, now: () => number) {
    this.#ring = ring;
    this.#query = query;
    this.#sink = sink;
    this.#nodeName = nodeName;
    this.#now = now;
    this.#cursor = new Cursor(ring, startOf(ring, query));
    this.#end = query.follow ? Infinity : ring.next;
    this.#left = limitOf(query);
  }

  run = (): void => {
    for (let turn = 0; turn < batch; turn += 1) {
      if (this.#stopped) return;
      const read = this.#left > 0 && this.#cursor.position < this.#end ? this.#cursor.read() : undefined;
      if (read === undefined) {
        if (this.#query.follow) this.#stopWaiting = this.#ring.wait(() => { setImmediate(this.run); });
        else this.#finish();
        return;
      }
      this.#miss(read.missed);
      const step = this.#deliver(read.entry);
      if (step === 'end') { this.#finish(); return; }
      if (step === 'full') { this.#sink.whenDrained(this.run); return; }
    }
    setImmediate(this.run);
  };

  /** The client is gone. */
  stop(): void {
    this.#stopped = true;
    this.#stopWaiting();
    clearTimeout(this.#lossTimer);
  }

  #deliver(entry: Entry): 'next' | 'full' | 'end' {
    const { flow, response } = entry;
    if (isPast(this.#query, response.time)) return 'end';
    if (flow !== undefined) {
      if (!this.#query.matches(flow)) return 'next';
      this.#left -= 1;
    }
    const { mask } = this.#query;
    const message = flow !== undefined && mask !== undefined ? { ...response, flow: mask(flow) } : encodedOf(entry);
    return this.#sink.write(message) ? 'next' : 'full';
  }

  #miss(count: number): void {
    if (count === 0) return;
    if (this.#missed === 0) this.#missedSinceMs = this.#now();
    this.#missed += count;
    this.#lossTimer ??= setTimeout(() => { this.#lossTimer = undefined; this.#tellMissed(); }, lossIntervalMs);
  }

  #tellMissed(): void {
    if (this.#missed === 0 || this.#stopped) return;
    const now = timestampOfMs(this.#now());
    this.#sink.write({
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
