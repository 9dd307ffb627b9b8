// Entries of the ring as bytes: each a response in its gRPC frame, encoded once however many clients take it. They stand one behind
// the other in chunks, so that a client that takes many in a row sends them as they stand.
import { RecordEncoder } from './encode.ts';
import type { Entries } from './entries.ts';
import { frameHeaderBytes } from './grpc/frame.ts';
import { encode, getFlowsResponseMessage } from './proto.ts';

/** Clients that follow are at about the same place: so many of the last entries are found again. */
const slots = 1_024;
/** What one write sends at most, unless one flow takes more. */
export const chunkBytes = 64 * 1024;

export class Encoded {
  readonly #entries: Entries;
  readonly #records: RecordEncoder;
  readonly #numbers = new Float64Array(slots).fill(-1);
  readonly #chunks: (Buffer | undefined)[] = Array.from({ length: slots });
  readonly #starts = new Uint32Array(slots);
  readonly #ends = new Uint32Array(slots);
  #chunk = Buffer.alloc(0);
  #used = 0;

  constructor(entries: Entries) {
    this.#entries = entries;
    this.#records = new RecordEncoder(entries.ring, entries.lookups);
  }

  /** Of a kept entry. The place is good until the next entry is asked for: its frame stands in `chunk(place)`, from `start` to `end`. */
  place(number: number): number {
    const slot = number % slots;
    if (this.#numbers[slot] === number) return slot;
    this.#numbers[slot] = -1;
    const at = this.#entries.ring.recordAt(number);
    const end = at >= 0 ? this.#addRecord(number, at) : this.#addMessage(number);
    const start = this.#used;
    const length = end - start - frameHeaderBytes;
    this.#chunk[start] = 0;
    this.#chunk.writeUInt32BE(length, start + 1);
    this.#chunks[slot] = this.#chunk;
    this.#starts[slot] = start;
    this.#ends[slot] = end;
    this.#numbers[slot] = number;
    this.#used = end;
    return slot;
  }

  chunk(place: number): Buffer { return this.#chunks[place]!; }
  start(place: number): number { return this.#starts[place]!; }
  end(place: number): number { return this.#ends[place]!; }

  #addRecord(number: number, at: number): number {
    this.#reserve(frameHeaderBytes + this.#records.prepare(at));
    return this.#records.write(this.#chunk, this.#used + frameHeaderBytes, number, at);
  }

  #addMessage(number: number): number {
    const bytes = encode(getFlowsResponseMessage, this.#entries.response(number));
    this.#reserve(frameHeaderBytes + bytes.length);
    this.#chunk.set(bytes, this.#used + frameHeaderBytes);
    return this.#used + frameHeaderBytes + bytes.length;
  }

  #reserve(bytes: number): void {
    if (this.#used + bytes <= this.#chunk.length) return;
    this.#chunk = Buffer.allocUnsafeSlow(Math.max(chunkBytes, bytes));
    this.#used = 0;
  }
}
