// From the stream of a reader to its gRPC call: frames are gathered, and written many at once. What stands in a row in the chunks of
// encoded.ts is sent from there; scattered pieces are copied together.
import type { Encoded } from './encoded.ts';
import { chunkBytes } from './encoded.ts';
import type { Entries } from './entries.ts';
import type { Call } from './grpc/call.ts';
import { frameOf } from './grpc/frame.ts';
import { encode, getFlowsResponseMessage } from './proto.ts';
import type { Query } from './query.ts';
import type { Sink } from './stream.ts';
import type { GetFlowsRequest, GetFlowsResponse } from './types.ts';

/** Half a chunk: what is encoded for one reader alone then goes out in pieces that are not cut. */
const enoughBytes = chunkBytes / 2;

export class CallSink implements Sink {
  readonly #call: Call<GetFlowsRequest, GetFlowsResponse>;
  readonly #entries: Entries;
  readonly #encoded: Encoded;
  readonly #mask: Query['mask'];
  #pieces: Buffer[] = [];
  /** Of the pieces and of the run. */
  #bytes = 0;
  /** Entries that stand in a row. */
  #chunk: Buffer | undefined;
  #start = 0;
  #end = 0;

  constructor(call: Call<GetFlowsRequest, GetFlowsResponse>, entries: Entries, mask: Query['mask']) {
    this.#call = call;
    this.#entries = entries;
    this.#encoded = entries.encoded;
    this.#mask = mask;
  }

  entry(number: number): boolean {
    if (this.#mask !== undefined && this.#entries.isFlow(number)) {
      const response = this.#entries.response(number);
      return this.tell({ ...response, flow: this.#mask(response.flow!) });
    }
    const encoded = this.#encoded;
    const place = encoded.place(number);
    const chunk = encoded.chunk(place);
    const start = encoded.start(place);
    const end = encoded.end(place);
    if (chunk !== this.#chunk || start !== this.#end) {
      this.#cut();
      this.#chunk = chunk;
      this.#start = start;
    }
    this.#end = end;
    this.#bytes += end - start;
    return this.#bytes < enoughBytes || this.flush();
  }

  tell(response: GetFlowsResponse): boolean {
    this.#cut();
    const frame = frameOf(encode(getFlowsResponseMessage, response));
    this.#pieces.push(frame);
    this.#bytes += frame.length;
    return this.#bytes < enoughBytes || this.flush();
  }

  flush(): boolean {
    this.#cut();
    const pieces = this.#pieces;
    if (pieces.length === 0) return true;
    this.#pieces = [];
    this.#bytes = 0;
    return this.#call.writeFrames(pieces.length === 1 ? pieces[0]! : Buffer.concat(pieces));
  }

  whenDrained(go: () => void): void { this.#call.whenDrained(go); }

  end(): void {
    this.flush();
    this.#call.end();
  }

  #cut(): void {
    if (this.#chunk !== undefined) this.#pieces.push(this.#chunk.subarray(this.#start, this.#end));
    this.#chunk = undefined;
  }
}
