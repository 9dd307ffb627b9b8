// Texts of requests as bytes, one behind the other in chunks: a ring of thousands of them is a few large arrays and no strings. A chunk
// is used again when the last entry that stands in it has gone.

const chunkBytes = 64 * 1024;
const lengthBytes = 2;
/** What a text that was cut ends with. */
const cut = Buffer.from('…');

/** Where the texts of one entry stand. */
export interface TextSpan { readonly chunk: Buffer; readonly start: number; readonly end: number }

export class Texts {
  /** Those that are full, the oldest first, with the number of their last entry. */
  readonly #full: { readonly chunk: Buffer; readonly last: number }[] = [];
  #chunk: Buffer = Buffer.allocUnsafeSlow(chunkBytes);
  #start = 0;
  #at = 0;
  #last = 0;

  /** For entry `number`; those before `oldest` are read no more. `mostBytes`: of all that `put` will be given, far less than a chunk. */
  begin(number: number, oldest: number, mostBytes: number): void {
    if (this.#at + mostBytes > chunkBytes) {
      this.#full.push({ chunk: this.#chunk, last: this.#last });
      this.#chunk = this.#full[0]!.last < oldest ? this.#full.shift()!.chunk : Buffer.allocUnsafeSlow(chunkBytes);
      // What a burst of long texts took is not kept for ever.
      if (this.#full.length > 1 && this.#full[0]!.last < oldest) this.#full.shift();
      this.#at = 0;
    }
    this.#start = this.#at;
    this.#last = number;
  }

  /** Takes at most `mostBytes` and two for the length; what is longer is cut, and ends so that it shows. */
  put(text: string, mostBytes: number): void {
    const chunk = this.#chunk;
    const from = this.#at + lengthBytes;
    const { length } = text;
    let index = 0;
    if (length <= mostBytes) {
      for (; index < length; index += 1) {
        const unit = text.charCodeAt(index);
        if (unit > 0x7f) break;
        chunk[from + index] = unit;
      }
    }
    const bytes = index === length ? length : this.#putWhole(text, from, mostBytes);
    chunk[this.#at] = bytes & 0xff;
    chunk[this.#at + 1] = bytes >>> 8;
    this.#at = from + bytes;
  }

  #putWhole(text: string, from: number, mostBytes: number): number {
    // A unit is at least a byte: of a long text more than this is never written.
    const head = text.length > mostBytes ? text.slice(0, mostBytes) : text;
    if (text.length <= mostBytes && Buffer.byteLength(head) <= mostBytes) return this.#chunk.write(head, from);
    const written = this.#chunk.write(head, from, mostBytes - cut.length);
    return written + cut.copy(this.#chunk, from + written);
  }

  /** Bytes that the entry has taken until now. */
  get taken(): number { return this.#at - this.#start; }

  end(): TextSpan { return { chunk: this.#chunk, start: this.#start, end: this.#at }; }
}

export function textsOf({ chunk, start, end }: TextSpan): string[] {
  const texts: string[] = [];
  for (let at = start; at < end;) {
    const next = at + lengthBytes + chunk[at]! + (chunk[at + 1]! << 8);
    texts.push(chunk.toString('utf8', at + lengthBytes, next));
    at = next;
  }
  return texts;
}
