// A BPF ring buffer walked in place: the kernel's pages are mapped and read with Atomics, no call per record.
// Format: kernel/bpf/ringbuf.c (header: length with a busy and a discard bit, then page offset).
import { mmap, protection } from './libc.ts';

const pageSize = 4096;
const busy = 0x80000000;
const discard = 0x40000000;
const headerSize = 8;

export interface Ring {
  /** Hands over at most `limit` records; `record` reads at `offset` of `view`, which the kernel reuses afterwards. */
  readonly drain: (record: (view: DataView, offset: number, length: number) => void, limit: number) => number;
  readonly close: () => void;
}

export function openRing(fd: number, size: number): Ring {
  const consumer = mmap(fd, pageSize, protection.read | protection.write, 0, 'ring buffer');
  // The data pages follow the producer's and stand there twice, so that no record wraps.
  const producer = mmap(fd, pageSize + 2 * size, protection.read, pageSize, 'ring buffer');
  const consumed = new BigInt64Array(consumer.buffer);
  const produced = new BigInt64Array(producer.buffer, 0, 1);
  const headers = new Int32Array(producer.buffer, pageSize);
  const view = new DataView(producer.buffer, pageSize);
  let position = Number(Atomics.load(consumed, 0));
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
          record(view, at + headerSize, length);
          taken += 1;
        }
        position += (length + headerSize + 7) & ~7;
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
