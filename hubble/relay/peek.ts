// What the relay has to know of a GetFlowsResponse, read from its bytes: whether it is a flow, and its time. The rest passes as it is.

export interface Peeked {
  readonly isFlow: boolean;
  /** Milliseconds since 1970 with their fraction; NaN when it does not say. */
  readonly timeMs: number;
}

const flowField = 1;
const timeField = 1001;
const wire = { varint: 0, fixed64: 1, bytes: 2, fixed32: 5 } as const;

class Reader {
  readonly #bytes: Uint8Array;
  at: number;
  readonly end: number;

  constructor(bytes: Uint8Array, at: number, end: number) {
    this.#bytes = bytes;
    this.at = at;
    this.end = end;
  }

  /** Above 2^53 inexact, which neither lengths nor seconds are. */
  varint(): number {
    let value = 0;
    for (let shift = 0; shift < 70 && this.at < this.end; shift += 7) {
      const byte = this.#bytes[this.at]!;
      this.at += 1;
      value += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) break;
    }
    return value;
  }

  skip(type: number): void {
    switch (type) {
      case wire.varint: this.varint(); return;
      case wire.fixed64: this.at += 8; return;
      case wire.fixed32: this.at += 4; return;
      case wire.bytes: { const length = this.varint(); this.at += length; return; }
      default: this.at = this.end; // no message of ours: what follows cannot be read
    }
  }
}

export function peek(bytes: Uint8Array): Peeked {
  const reader = new Reader(bytes, 0, bytes.length);
  let isFlow = false;
  let timeMs = NaN;
  while (reader.at < reader.end) {
    const tag = reader.varint();
    const [field, type] = [tag >>> 3, tag & 7];
    if (field === flowField) isFlow = true;
    if (field === timeField && type === wire.bytes) {
      const length = reader.varint();
      timeMs = timestampMs(new Reader(bytes, reader.at, Math.min(reader.at + length, reader.end)));
      reader.at += length;
    } else reader.skip(type);
  }
  return { isFlow, timeMs };
}

function timestampMs(reader: Reader): number {
  let [seconds, nanos] = [0, 0];
  while (reader.at < reader.end) {
    const tag = reader.varint();
    if (tag === (1 << 3)) seconds = reader.varint();
    else if (tag === (2 << 3)) nanos = reader.varint();
    else reader.skip(tag & 7);
  }
  return seconds * 1_000 + nanos / 1e6;
}
