// A BPF map with its layouts: rows go in and come out as objects of the generated interfaces.
import { readFileSync } from 'node:fs';
import { mapDelete, mapKeys, mapLookup, mapUpdate, mapUpdateBatch, updateFlags } from './bpf.ts';
import type { Codec } from './codec.ts';
import { mmap, protection } from './libc.ts';
import type { LoadedMap } from './object.ts';

/** Of one BPF_MAP_UPDATE_BATCH: a call holds up nobody for more than about a millisecond. */
const batchRows = 4_096;

export class BpfMap<Key, Row> {
  readonly name: string;
  readonly fd: number;
  readonly maxEntries: number;
  readonly #key: Codec<Key>;
  readonly #row: Codec<Row>;

  /** Throws when the layouts are not those that the map was created with. */
  constructor(map: LoadedMap, key: Codec<Key>, row: Codec<Row>) {
    if (map.keySize !== key.size || map.valueSize !== row.size) {
      throw new Error(`map ${map.name}: rows of ${map.keySize} + ${map.valueSize} bytes, layouts of ${key.size} + ${row.size}`);
    }
    this.name = map.name;
    this.fd = map.fd;
    this.maxEntries = map.maxEntries;
    this.#key = key;
    this.#row = row;
  }

  get(key: Key): Row | undefined { return this.#get(this.#key.encode(key)); }

  set(key: Key, row: Row): void {
    mapUpdate(this.fd, this.#key.encode(key), this.#row.encode(row), this.name, updateFlags.any);
  }

  /** `count` rows in few calls, encoded as they are written: hash and array maps only. */
  setAll(rows: Iterable<readonly [Key, Row]>, count: number): void {
    const room = Math.min(count, batchRows);
    const keys = new Uint8Array(room * this.#key.size);
    const values = new Uint8Array(room * this.#row.size);
    let filled = 0;
    for (const [key, row] of rows) {
      keys.set(this.#key.encode(key), filled * this.#key.size);
      values.set(this.#row.encode(row), filled * this.#row.size);
      filled += 1;
      if (filled < room) continue;
      mapUpdateBatch(this.fd, keys, values, filled, this.name);
      filled = 0;
    }
    mapUpdateBatch(this.fd, keys, values, filled, this.name);
  }

  /** False when there was no such row. */
  delete(key: Key): boolean { return mapDelete(this.fd, this.#key.encode(key), this.name); }

  /** At most `limit` rows as they stand while it walks: others may come and go meanwhile. */
  entries(limit = 1 << 20): [Key, Row][] {
    const found: [Key, Row][] = [];
    for (const key of mapKeys(this.fd, this.#key.size, limit, this.name)) {
      const row = this.#get(key);
      if (row !== undefined) found.push([this.#key.decode(new DataView(key.buffer), 0), row]);
    }
    return found;
  }

  #get(key: Uint8Array): Row | undefined {
    const value = new Uint8Array(this.#row.size);
    return mapLookup(this.fd, key, value, this.name) ? this.#row.decode(new DataView(value.buffer), 0) : undefined;
  }
}

/** CPUs that the kernel has room for, present or not: it hands out a value for each of them (Documentation/admin-guide/cputopology.rst). */
export function possibleCpus(): number {
  const last = readFileSync('/sys/devices/system/cpu/possible', 'utf8').trim().split(/[-,]/).at(-1)!;
  return Number(last) + 1;
}

/** One row of a per-CPU map, added up over all of `cpus`; it is made of __u64. */
export function perCpuSums(map: LoadedMap, key: number, cpus: number): bigint[] {
  const fields = map.valueSize / 8;
  const sums = Array.from({ length: fields }, () => 0n);
  const values = new BigUint64Array(cpus * fields);
  if (mapLookup(map.fd, new Uint8Array(new Uint32Array([key]).buffer), new Uint8Array(values.buffer), map.name)) {
    values.forEach((value, index) => { sums[index % fields]! += value; });
  }
  return sums;
}

/**
 * Lends the first `entries` rows of an array map (BPF_F_MMAPABLE) to `work` and takes them back, without a system call for each: the kernel counts what is mapped to the process, used or not.
 * Nothing of the buffer may outlive the call.
 */
export function withMemory<Result>(map: LoadedMap, entries: number, work: (memory: ArrayBuffer) => Result): Result {
  const { buffer, unmap } = mmap(map.fd, Math.ceil((entries * map.valueSize) / 4096) * 4096, protection.read | protection.write, 0, `map ${map.name}`);
  try {
    return work(buffer);
  } finally {
    unmap();
  }
}

/** An array map's memory (BPF_F_MMAPABLE) for as long as this process lives: for small ones. */
export function mapMemory(map: LoadedMap, entries: number): ArrayBuffer {
  return mmap(map.fd, Math.ceil((entries * map.valueSize) / 4096) * 4096, protection.read | protection.write, 0, `map ${map.name}`).buffer;
}
