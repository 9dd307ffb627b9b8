// The last flows, in a ring of fixed size. Readers keep their own place in it: who is too slow finds its place overwritten and
// learns exactly how much it missed, so no reader needs a queue of its own and none slows another.
import { encode, getFlowsResponseMessage } from './proto.ts';
import type { Flow, GetFlowsResponse, LostEvent } from './types.ts';

export interface Entry {
  readonly response: GetFlowsResponse;
  /** Undefined when it tells of lost events. */
  readonly flow: Flow | undefined;
  /** How many events it accounts for: one flow, or those it tells as lost. */
  readonly weight: number;
  /** Events that came before it, flows and lost ones, since the start. */
  readonly before: number;
  /** Made when the first client wants it, used by all. */
  encoded: Buffer | undefined;
}

export class Ring {
  readonly capacity: number;
  readonly #entries: Entry[] = [];
  #next = 0;
  #events = 0;
  #flows = 0;
  #seenFlows = 0;
  #waiting = new Set<() => void>();

  constructor(capacity: number) {
    if (!Number.isInteger(capacity) || capacity < 1) throw new RangeError(`ring capacity ${capacity}: expected a whole number above 0`);
    this.capacity = capacity;
  }

  /** The number that the next entry will have. */
  get next(): number { return this.#next; }
  get oldest(): number { return this.#next - this.#entries.length; }
  /** Flows that are kept. */
  get flows(): number { return this.#flows; }
  get seenFlows(): number { return this.#seenFlows; }
  /** Flows that were pushed out by later entries. */
  get overwritten(): number { return this.#seenFlows - this.#flows; }
  /** Flows and lost events, since the start. */
  get events(): number { return this.#events; }

  addFlow(flow: Flow): void {
    this.#seenFlows += 1;
    this.#flows += 1;
    this.#add({ flow, ...(flow.node_name !== undefined && { node_name: flow.node_name }), ...(flow.time && { time: flow.time }) }, flow, 1);
  }

  addLoss(response: GetFlowsResponse & { lost_events: LostEvent }): void {
    this.#add(response, undefined, Number(response.lost_events.num_events_lost ?? 0));
  }

  #add(response: GetFlowsResponse, flow: Flow | undefined, weight: number): void {
    const slot = this.#next % this.capacity;
    if (this.#entries[slot]?.flow !== undefined) this.#flows -= 1;
    this.#entries[slot] = { response, flow, weight, before: this.#events, encoded: undefined };
    this.#events += weight;
    this.#next += 1;
    if (this.#waiting.size === 0) return;
    const waiting = this.#waiting;
    this.#waiting = new Set();
    for (const wake of waiting) wake();
  }

  /** Undefined when it is not there any more, or not yet. */
  at(number: number): Entry | undefined {
    return number >= this.oldest && number < this.#next ? this.#entries[number % this.capacity] : undefined;
  }

  /** Calls once, when the next entry has come; the result takes it back. */
  wait(wake: () => void): () => void {
    this.#waiting.add(wake);
    return () => { this.#waiting.delete(wake); };
  }
}

/** One reader's place in the ring. */
export class Cursor {
  readonly #ring: Ring;
  #position: number;
  #accounted: number;

  constructor(ring: Ring, position: number) {
    this.#ring = ring;
    this.#position = Math.max(position, ring.oldest);
    this.#accounted = ring.at(this.#position)?.before ?? ring.events;
  }

  get position(): number { return this.#position; }

  /** The next entry, and how many events were overwritten before it could be read. Undefined when everything was read. */
  read(): { readonly entry: Entry; readonly missed: number } | undefined {
    const position = Math.max(this.#position, this.#ring.oldest);
    const entry = this.#ring.at(position);
    if (entry === undefined) return undefined;
    const missed = entry.before - this.#accounted;
    this.#position = position + 1;
    this.#accounted = entry.before + entry.weight;
    return { entry, missed };
  }
}

/** The response as bytes, encoded at most once however many clients it goes to. */
export const encodedOf = (entry: Entry): Buffer => (entry.encoded ??= encode(getFlowsResponseMessage, entry.response));
