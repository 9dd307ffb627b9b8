// gRPC's frames: each message behind a byte that says whether it is compressed, and its length.
import { status, StatusError } from './status.ts';

export const frameHeaderBytes = 5;
/** Of one message; as other gRPC servers have it. */
const mostRequestBytes = 4 * 2 ** 20;

export function frameOf(message: Uint8Array): Buffer {
  const frame = Buffer.allocUnsafe(frameHeaderBytes + message.length);
  frame[0] = 0;
  frame.writeUInt32BE(message.length, 1);
  frame.set(message, frameHeaderBytes);
  return frame;
}

/** Takes bytes as they come and gives whole messages. */
export class Deframer {
  #chunks: Buffer[] = [];
  #bytes = 0;
  /** So many bytes make the next step: a header, or a frame. */
  #wanted = frameHeaderBytes;

  /** Whether nothing of a message is left over. */
  get isEmpty(): boolean { return this.#bytes === 0; }

  /** Throws StatusError. */
  push(chunk: Buffer, take: (message: Buffer) => void): void {
    this.#chunks.push(chunk);
    this.#bytes += chunk.length;
    while (this.#bytes >= this.#wanted) {
      const all = this.#chunks.length === 1 ? this.#chunks[0]! : Buffer.concat(this.#chunks);
      this.#chunks = [all];
      const length = lengthOf(all);
      this.#wanted = frameHeaderBytes + length;
      if (all.length < this.#wanted) return;
      this.#chunks = all.length === this.#wanted ? [] : [all.subarray(this.#wanted)];
      this.#bytes = all.length - this.#wanted;
      this.#wanted = frameHeaderBytes;
      take(all.subarray(frameHeaderBytes, frameHeaderBytes + length));
    }
  }
}

function lengthOf(frame: Buffer): number {
  if (frame[0] === 1) throw new StatusError(status.unimplemented, 'compressed messages are not taken');
  if (frame[0] !== 0) throw new StatusError(status.internal, `a message begins with ${frame[0]}: neither compressed nor plain`);
  const length = frame.readUInt32BE(1);
  if (length > mostRequestBytes) throw new StatusError(status.resourceExhausted, `a message of ${length} bytes: at most ${mostRequestBytes} are taken`);
  return length;
}
