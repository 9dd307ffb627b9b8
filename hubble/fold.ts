// Records that say the same but for time, source port and sizes, as one flow with their number: what the live table counts by.
// Only the first of a kind is decoded. What passes as a reply says nothing that its request has not said, and is left out.
import { flow_event } from '../bpf/types.gen.ts';
import type { Entries } from './entries.ts';
import { field, judgementField, timeAt } from './record.ts';
import type { Flow } from './types.ts';

export type Tell = (flow: Flow, count: number) => void;

/** Kinds that are remembered; others with the same hash take their place. */
const slots = 1_024;
/** So many kinds are decoded in one period; records of others are left out and counted. */
const decodesPerPeriod = 200;
const periodMs = 100;

const word = (offset: number): number => offset >>> 2;
const judgementWords = (side: number): number[] => [side + judgementField.bits, side + judgementField.bits + 4, side + judgementField.policy, side + judgementField.word].map(word);
/** Words that stand in the kind as they are; those that are masked follow. */
const plainWords = Uint8Array.from([
  ...Array.from({ length: 8 }, (_, index) => word(field.saddr) + index), ...judgementWords(field.egress), ...judgementWords(field.ingress),
  word(field.sourceIdentity), word(field.destinationIdentity),
]);
const kindWords = plainWords.length + 3;
/** What no record's direction and reply bytes say. */
const noSide = 0xffffffff;

export class Fold {
  readonly #entries: Entries;
  readonly #now: () => number;
  readonly #kinds = new Uint32Array(slots * kindWords);
  readonly #flows: (Flow | undefined)[] = Array.from({ length: slots });
  readonly #counts = new Uint32Array(slots);
  #touched: number[] = [];
  #changedNs = 0;
  #periodMs = 0;
  #decodes = 0;
  #untold = 0;

  constructor(entries: Entries, now: () => number) {
    this.#entries = entries;
    this.#now = now;
  }

  /** Records that were of too many kinds at once. */
  get untold(): number { return this.#untold; }

  /** Every flow of the entries from `from` up to, not with, `to`. */
  tell(from: number, to: number, tell: Tell): void {
    const { ring, lookups } = this.#entries;
    const changedNs = lookups.changedNs();
    if (changedNs !== this.#changedNs) this.#flows.fill(undefined);
    this.#changedNs = changedNs;
    for (let number = from; number < to; number += 1) {
      const at = ring.recordAt(number);
      const flow = at < 0 ? ring.messageAt(number)!.flow : undefined;
      if (flow !== undefined) tell(flow, 1);
      if (at >= 0) this.#count(at, number, tell);
    }
    for (const slot of this.#touched) this.#flush(slot, tell);
    this.#touched = [];
  }

  /** An entry that is told by itself; it counts as a kind of its own. */
  tellOne(number: number, tell: Tell): void { if (this.#mayDecode()) tell(this.#entries.flow(number)!, 1); }

  #count(at: number, number: number, tell: Tell): void {
    const { words, bytes } = this.#entries.ring;
    const dropped = bytes[at + field.event] === flow_event.FLOW_DROP;
    const audit = bytes[at + field.event] === flow_event.FLOW_AUDIT;
    if (!dropped && !audit && bytes[at + field.isReply] !== 0) return;
    const first = at >>> 2;
    const port = words[first + word(field.sport)]! >>> 16;
    const verdict = (words[first + word(field.protocol)]! & 0xff0000ff) | (dropped ? 0x100 : audit ? 0x200 : 0);
    const side = words[first + word(field.direction)]! & 0xffff;
    // Addresses, port and verdict tell most kinds apart; equal hashes only cost a decoding.
    const slot = (Math.imul(words[first + word(field.saddr) + 3]! ^ words[first + word(field.saddr) + 1]!, 0x9e3779b1)
      ^ Math.imul(words[first + word(field.daddr) + 3]! ^ words[first + word(field.daddr) + 1]!, 0x85ebca6b) ^ Math.imul(port ^ verdict, 0xc2b2ae35)) >>> 22;
    const kinds = this.#kinds;
    const start = slot * kindWords;
    const masked = start + plainWords.length;
    let same = this.#flows[slot] !== undefined && kinds[masked] === port && kinds[masked + 1] === verdict >>> 0 && kinds[masked + 2] === side;
    for (let index = 0; same && index < plainWords.length; index += 1) same = kinds[start + index] === words[first + plainWords[index]!];
    if (!same) {
      if (!this.#place(slot, number, tell)) return;
      for (let index = 0; index < plainWords.length; index += 1) kinds[start + index] = words[first + plainWords[index]!]!;
      kinds.set([port, verdict, side], masked);
      // Older than the last change of a name: it is told, and not taken for what comes.
      if (timeAt(words, at) < this.#changedNs) kinds[masked + 2] = noSide;
    }
    if (this.#counts[slot] === 0) this.#touched.push(slot);
    this.#counts[slot]! += 1;
  }

  /** Gives the slot to the kind of this entry. */
  #place(slot: number, number: number, tell: Tell): boolean {
    if (!this.#mayDecode()) return false;
    this.#flush(slot, tell);
    this.#flows[slot] = this.#entries.flow(number)!;
    return true;
  }

  #mayDecode(): boolean {
    const now = this.#now();
    if (now - this.#periodMs >= periodMs) [this.#periodMs, this.#decodes] = [now, 0];
    if (this.#decodes >= decodesPerPeriod) {
      this.#untold += 1;
      return false;
    }
    this.#decodes += 1;
    return true;
  }

  #flush(slot: number, tell: Tell): void {
    const count = this.#counts[slot]!;
    this.#counts[slot] = 0;
    if (count > 0) tell(this.#flows[slot]!, count);
  }
}
