// What an entry of the ring says: its time, its flow with the names it had when it happened, its response as bytes. Made when
// somebody asks; the bytes are kept for those who ask next, so that one encoding serves every client.
import { toFlow, type Lookups } from './flow.ts';
import { encode, getFlowsResponseMessage } from './proto.ts';
import { decodeRecord, field } from './record.ts';
import type { Ring } from './ring.ts';
import { timestampOfNs } from './time.ts';
import type { Flow, GetFlowsResponse, Timestamp } from './types.ts';

/** Clients that follow are at about the same place: so many of the last encodings are kept. */
const encodings = 1_024;

export class Entries {
  readonly ring: Ring;
  readonly lookups: Lookups;
  readonly #encoded: (Buffer | undefined)[] = Array.from({ length: encodings });
  readonly #numbers = new Float64Array(encodings).fill(-1);

  constructor(ring: Ring, lookups: Lookups) {
    this.ring = ring;
    this.lookups = lookups;
  }

  isFlow(number: number): boolean { return this.ring.recordAt(number) >= 0 || this.ring.messageAt(number)!.flow !== undefined; }

  time(number: number): Timestamp | undefined {
    const at = this.ring.recordAt(number);
    if (at < 0) return this.ring.messageAt(number)!.response.time;
    return timestampOfNs(this.lookups.toUnixNs(this.ring.view.getBigUint64(at + field.time, true)));
  }

  /** Undefined when the entry tells of lost events. */
  flow(number: number): Flow | undefined {
    const at = this.ring.recordAt(number);
    return at < 0 ? this.ring.messageAt(number)!.flow : toFlow(decodeRecord(this.ring.view, at), this.lookups, number);
  }

  response(number: number): GetFlowsResponse {
    const message = this.ring.messageAt(number);
    if (message !== undefined) return message.response;
    const flow = this.flow(number)!;
    return { flow, node_name: this.lookups.nodeName, time: flow.time! };
  }

  encoded(number: number): Buffer {
    const slot = number % encodings;
    const known = this.#numbers[slot] === number ? this.#encoded[slot] : undefined;
    if (known !== undefined) return known;
    const bytes = encode(getFlowsResponseMessage, this.response(number));
    this.#encoded[slot] = bytes;
    this.#numbers[slot] = number;
    return bytes;
  }
}
