// Messages that are sent one after the other, gathered into few writes: each is copied behind the last, in its frame.
import type { Call } from './call.ts';
import { frameHeaderBytes } from './frame.ts';

const chunkBytes = 32 * 1024;

export class Gather {
  readonly #call: Pick<Call, 'writeFrames'>;
  #chunk = Buffer.alloc(0);
  #start = 0;
  #end = 0;

  constructor(call: Pick<Call, 'writeFrames'>) { this.#call = call; }

  /** False: wait for the call to be drained before the next one. */
  add(message: Uint8Array): boolean {
    const { length } = message;
    let goesOn = true;
    if (this.#end + frameHeaderBytes + length > this.#chunk.length) {
      goesOn = this.flush();
      this.#chunk = Buffer.allocUnsafeSlow(Math.max(chunkBytes, frameHeaderBytes + length));
      this.#start = 0;
      this.#end = 0;
    }
    this.#chunk[this.#end] = 0;
    this.#chunk.writeUInt32BE(length, this.#end + 1);
    this.#chunk.set(message, this.#end + frameHeaderBytes);
    this.#end += frameHeaderBytes + length;
    return goesOn;
  }

  /** Sends what is there. */
  flush(): boolean {
    if (this.#end === this.#start) return true;
    const frames = this.#chunk.subarray(this.#start, this.#end);
    this.#start = this.#end; // what was handed over must not change
    return this.#call.writeFrames(frames);
  }
}
