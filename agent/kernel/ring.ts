// A BPF ring buffer walked in place: the kernel's pages are mapped and read with Atomics, no call per record.
// Format: kernel/bpf/ringbuf.c (header: length with a busy and a discard bit, then page offset).
import { mmap, protection } from './libc.ts';

const pageSize = 4096;
const busy = 0x80000000;
const discard = 0x40000000;
const headerSize = 8;

export interface Ring {
  /** Hands over at most `limit` records; `record` reads at `offset` of `view`, which is used again afterwards. */
  readonly drain: (record: (view: DataView, offset: number, length: number) => void, limit: number) => number;
  /**
   * Hands over at most `limit` records of `length` bytes, as many at once as stand one behind the other: `take` gets them with
   * their headers and must copy them. Returns how many they were.
   */
  readonly drainRuns: (take: (slots: Uint8Array) => void, length: number, limit: number) => number;
  readonly close: () => void;
}

const slotSize = (length: number): number => (length + headerSize + 7) & ~7;

export function openRing(fd: number, size: number): Ring {
  const consumer = mmap(fd, pageSize, protection.read | protection.write, 0, 'ring buffer');
  // The data pages follow the producer's. The kernel offers them twice, so that no record wraps; mapped twice they would count
  // twice in RSS, so the one record in a round that wraps is put together here instead.
  const producer = mmap(fd, pageSize + size, protection.read, pageSize, 'ring buffer');
  const consumed = new BigInt64Array(consumer.buffer);
  const produced = new BigInt64Array(producer.buffer, 0, 1);
  const headers = new Int32Array(producer.buffer, pageSize);
  const data = new Uint8Array(producer.buffer, pageSize);
  const view = new DataView(producer.buffer, pageSize);
  let position = Number(Atomics.load(consumed, 0));

  /** The slot at `at`, which goes on at the start of the ring. */
  const wrapped = (at: number, length: number): Uint8Array => {
    const slot = new Uint8Array(length);
    slot.set(data.subarray(at), 0);
    slot.set(data.subarray(0, length - (size - at)), size - at);
    return slot;
  };

  /** From `position` on: how many whole records of `length` bytes follow each other before the end of the ring. */
  const runOf = (end: number, length: number, limit: number): number => {
    const slot = slotSize(length);
    const start = position % size;
    const most = Math.min(limit, Math.floor((end - position) / slot), Math.floor((size - start) / slot));
    let count = 0;
    for (let word = start >>> 2; count < most && Atomics.load(headers, word) === length; word += slot >>> 2) count += 1;
    return count;
  };

  return {
    drain(record, limit) {
      const end = Number(Atomics.load(produced, 0));
      let taken = 0;
      while (position < end && taken < limit) {
        const at = position % size;
        const header = Atomics.load(headers, at >>> 2) >>> 0;
        if (header & busy) break;
        const length = header & ~(busy | discard);
        if (!(header & discard)) {
          if (at + headerSize + length <= size) record(view, at + headerSize, length);
          else record(new DataView(wrapped(at, headerSize + length).buffer), headerSize, length);
          taken += 1;
        }
        position += slotSize(length);
      }
      Atomics.store(consumed, 0, BigInt(position));
      return taken;
    },
    drainRuns(take, length, limit) {
      const end = Number(Atomics.load(produced, 0));
      const slot = slotSize(length);
      let taken = 0;
      while (position < end && taken < limit) {
        const at = position % size;
        const count = runOf(end, length, limit - taken);
        if (count > 0) {
          take(data.subarray(at, at + count * slot));
          taken += count;
          position += count * slot;
          continue;
        }
        const header = Atomics.load(headers, at >>> 2) >>> 0;
        if (header & busy) break;
        if (header === length) {
          take(wrapped(at, slot));
          taken += 1;
        }
        position += slotSize(header & ~(busy | discard));
      }
      Atomics.store(consumed, 0, BigInt(position));
      return taken;
    },
    close() {
      consumer.unmap();
      producer.unmap();
    },
  };
}
