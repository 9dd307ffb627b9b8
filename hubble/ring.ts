// The last flows, in a ring of fixed size: records as the kernel wrote them, bytes in one preallocated array, decoded by nobody
// before somebody asks. Messages that come ready (lost events, flows that are no records) have a place among them. Readers keep
// their own place: who is too slow finds it overwritten and learns exactly how much it missed, and slows no other.
import type { ProxyRules } from './access-row.ts';
import { headerBytes, recordBytes, slotBytes } from './record.ts';
import type { TextSpan } from './texts.ts';
import type { Flow, GetFlowsResponse, LostEvent } from './types.ts';

export interface Message {
  readonly response: GetFlowsResponse;
  /** Undefined when it tells of lost events. */
  readonly flow: Flow | undefined;
  /** How many events it accounts for: one flow, or those it tells as lost. */
  readonly weight: number;
  /** Events that came before it, flows and lost ones, since the start. */
  readonly before: number;
}

/** What of a proxy's row does not fit into it: for a request and its response once. */
export interface AccessDetail {
  readonly rules: ProxyRules;
  /** Which of them allowed it; -1: none. */
  readonly rule: number;
  readonly denied: boolean;
  /** Empty: it belongs to no trace. */
  readonly traceId: string;
  readonly texts: TextSpan;
}

/** In the header of a slot, where records have their length: the next so many entries, less one, have their detail in common. */
const accessMark = 0xacce5500;
const markMask = 0xffffff00;

export class Ring {
  readonly capacity: number;
  readonly bytes: Uint8Array;
  readonly words: Uint32Array;
  readonly view: DataView;
  /** A power of two, so that the place of a number is a mask away. */
  readonly #slots: number;
  /** By number, oldest first; those overwritten go at once. */
  readonly #messages = new Map<number, Message>();
  /** By the slot of the last entry that has it; there until another one comes. */
  readonly #details: (AccessDetail | undefined)[];
  #losses = 0;
  #next = 0;
  #events = 0;
  #seenFlows = 0;
  #waiting = new Set<() => void>();

  constructor(capacity: number) {
    if (!Number.isInteger(capacity) || capacity < 1) throw new RangeError(`ring capacity ${capacity}: expected a whole number above 0`);
    this.capacity = capacity;
    this.#slots = 2 ** Math.ceil(Math.log2(capacity));
    this.#details = Array.from({ length: this.#slots });
    const memory = new ArrayBuffer(this.#slots * slotBytes);
    this.bytes = new Uint8Array(memory);
    this.words = new Uint32Array(memory);
    this.view = new DataView(memory);
  }

  /** The number that the next entry will have. */
  get next(): number { return this.#next; }
  get oldest(): number { return Math.max(0, this.#next - this.capacity); }
  /** Flows that are kept. */
  get flows(): number { return this.#next - this.oldest - this.#losses; }
  get seenFlows(): number { return this.#seenFlows; }
  /** Flows that were pushed out by later entries. */
  get overwritten(): number { return this.#seenFlows - this.flows; }
  /** Flows and lost events, since the start. */
  get events(): number { return this.#events; }

  /** Slots as they stand in the kernel's ring: each a header and a record. Copied at once. */
  addRecords(slots: Uint8Array): void {
    const count = slots.length / slotBytes;
    const kept = Math.min(count, this.capacity);
    const at = (this.#next + count - kept) & (this.#slots - 1);
    const head = Math.min(kept, this.#slots - at);
    const from = (count - kept) * slotBytes;
    this.bytes.set(slots.subarray(from, from + head * slotBytes), at * slotBytes);
    if (head < kept) this.bytes.set(slots.subarray(from + head * slotBytes), 0);
    this.#next += count;
    this.#events += count;
    this.#seenFlows += count;
    this.#added();
  }

  /** Rows of one access, each behind room for a header. Copied at once. */
  addAccess(rows: Uint8Array, detail: AccessDetail): void {
    const count = rows.length / slotBytes;
    for (let index = 0; index < count; index += 1) {
      const slot = this.#slotOf(this.#next + index);
      this.bytes.set(rows.subarray(index * slotBytes, (index + 1) * slotBytes), slot);
      this.words[slot >>> 2] = accessMark | (count - 1 - index);
    }
    this.#next += count;
    this.#details[(this.#next - 1) & (this.#slots - 1)] = detail;
    this.#events += count;
    this.#seenFlows += count;
    this.#added();
  }

  addFlow(flow: Flow): void {
    this.#seenFlows += 1;
    this.#addMessage({ flow, ...(flow.node_name !== undefined && { node_name: flow.node_name }), ...(flow.time && { time: flow.time }) }, flow, 1);
  }

  addLoss(response: GetFlowsResponse & { lost_events: LostEvent }): void {
    this.#losses += 1;
    this.#addMessage(response, undefined, Number(response.lost_events.num_events_lost ?? 0));
  }

  #addMessage(response: GetFlowsResponse, flow: Flow | undefined, weight: number): void {
    this.words[this.#slotOf(this.#next) >>> 2] = 0; // no record here
    this.#messages.set(this.#next, { response, flow, weight, before: this.#events });
    this.#events += weight;
    this.#next += 1;
    this.#added();
  }

  #added(): void {
    for (const [number, { flow }] of this.#messages) {
      if (number >= this.oldest) break;
      this.#messages.delete(number);
      if (flow === undefined) this.#losses -= 1;
    }
    if (this.#waiting.size === 0) return;
    const waiting = this.#waiting;
    this.#waiting = new Set();
    for (const wake of waiting) wake();
  }

  /** Where the record of a kept entry begins in `bytes`; -1 when it is none. */
  recordAt(number: number): number {
    const slot = this.#slotOf(number);
    return this.words[slot >>> 2] === recordBytes ? slot + headerBytes : -1;
  }

  /** Where the row of a kept entry begins in `bytes`; -1 when it tells of no proxy. */
  accessAt(number: number): number {
    const slot = this.#slotOf(number);
    return (this.words[slot >>> 2]! & markMask) === (accessMark | 0) ? slot + headerBytes : -1;
  }

  /** Of a kept entry: a record, or what a proxy did. */
  isRow(number: number): boolean {
    const mark = this.words[this.#slotOf(number) >>> 2]!;
    return mark === recordBytes || (mark & markMask) === (accessMark | 0);
  }

  /** Of an entry that has such a row. */
  detailOf(number: number): AccessDetail { return this.#details[(number + (this.words[this.#slotOf(number) >>> 2]! & ~markMask)) & (this.#slots - 1)]!; }

  #slotOf(number: number): number { return (number & (this.#slots - 1)) * slotBytes; }

  messageAt(number: number): Message | undefined { return this.#messages.get(number); }

  /** Among those kept, the last. */
  flowMessage(uuid: string): Flow | undefined {
    return [...this.#messages.values()].findLast(({ flow }) => flow?.uuid === uuid)?.flow;
  }

  isKept(number: number): boolean { return number >= this.oldest && number < this.#next; }

  /** Events before a kept entry, or before the next one. */
  before(number: number): number {
    // Every record weighs one: the first message from there on says it.
    for (const [at, message] of this.#messages) if (at >= number) return message.before - (at - number);
    return this.#events - (this.#next - number);
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
  #missed = 0;

  constructor(ring: Ring, position: number) {
    this.#ring = ring;
    this.#position = Math.max(position, ring.oldest);
    this.#accounted = ring.before(this.#position);
  }

  get position(): number { return this.#position; }

  /** The number of the next entry; -1 when everything was read. */
  read(): number {
    const ring = this.#ring;
    this.#catchUp();
    if (this.#position >= ring.next) return -1;
    const number = this.#position;
    this.#position += 1;
    this.#accounted += ring.isRow(number) ? 1 : ring.messageAt(number)!.weight;
    return number;
  }

  /** Passes over at most `most` rows that do not match; stops before anything else. Returns how many they were. */
  skip(matches: (number: number) => boolean, most: number): number {
    const ring = this.#ring;
    this.#catchUp();
    const end = Math.min(ring.next, this.#position + most);
    let number = this.#position;
    while (number < end && ring.isRow(number) && !matches(number)) number += 1;
    const skipped = number - this.#position;
    this.#position = number;
    this.#accounted += skipped;
    return skipped;
  }

  #catchUp(): void {
    const { oldest } = this.#ring;
    if (this.#position >= oldest) return;
    this.#position = oldest;
    const before = this.#ring.before(oldest);
    this.#missed += before - this.#accounted;
    this.#accounted = before;
  }

  /** Events that were overwritten before they could be read, since the last call. */
  takeMissed(): number {
    const missed = this.#missed;
    this.#missed = 0;
    return missed;
  }
}
