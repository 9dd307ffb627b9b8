// Protobuf's wire format, read forward over one message: nothing is made but what is asked for, and each length is held against what it stands in.

const wireType = { varint: 0, fixed64: 1, bytes: 2, fixed32: 5 } as const;
const mostVarintBytes = 10;

/** As it stands before a field: number and wire type. */
export const bytesTag = (field: number): number => (field << 3) | wireType.bytes;
export const varintTag = (field: number): number => (field << 3) | wireType.varint;

export class WireReader {
  bytes: Buffer = Buffer.alloc(0);
  at = 0;

  begin(bytes: Buffer): void {
    this.bytes = bytes;
    this.at = 0;
  }

  /** Exact below 2^53. Throws RangeError, as all here do. */
  varint(): number {
    const { bytes } = this;
    const first = bytes[this.at];
    if (first !== undefined && first < 0x80) {
      this.at += 1;
      return first;
    }
    let [value, weight] = [0, 1];
    for (let count = 0; count < mostVarintBytes; count += 1) {
      const byte = bytes[this.at];
      if (byte === undefined) break;
      this.at += 1;
      value += (byte & 0x7f) * weight;
      weight *= 128;
      if (byte < 0x80) return value;
    }
    throw new RangeError(`no number ends at byte ${this.at}`);
  }

  /** Reads a length: where what follows ends. `end`: of what it stands in. */
  open(end: number): number {
    const length = this.varint();
    if (length > end - this.at) throw new RangeError(`${length} bytes at ${this.at}: beyond their message, which ends at ${end}`);
    return this.at + length;
  }

  /** After the last field of a message. */
  close(end: number): void {
    if (this.at !== end) throw new RangeError(`a field ends at ${this.at}, its message at ${end}`);
  }

  /** A field that nobody reads. */
  skip(tag: number, end: number): void {
    const type = tag & 7;
    if (type === wireType.varint) this.varint();
    else if (type === wireType.bytes) this.at = this.open(end);
    else if (type === wireType.fixed32) this.at += 4;
    else if (type === wireType.fixed64) this.at += 8;
    else throw new RangeError(`wire type ${type} at ${this.at}`);
  }
}
