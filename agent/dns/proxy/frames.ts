// Bytes of a connection -> DNS messages: each has its length before it (RFC 1035, 4.2.2).

const mostBytes = 2 + 0xffff;

export class Frames {
  #got = Buffer.alloc(0);

  add(data: Buffer): void { this.#got = Buffer.concat([this.#got, data]); }

  /** There is a whole message, or as much as one can have. */
  get full(): boolean { return this.#got.length >= mostBytes; }

  /** Undefined: none is whole yet. */
  next(): Buffer | undefined {
    if (this.#got.length < 2) return undefined;
    const end = 2 + this.#got.readUInt16BE(0);
    if (this.#got.length < end) return undefined;
    const message = this.#got.subarray(2, end);
    this.#got = this.#got.subarray(end);
    return message;
  }
}
