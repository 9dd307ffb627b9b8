// How many rows a hash map of the kernel has, counted beside the packets, a batch at a time: the kernel itself does not say it on all versions.
import { mapBatch, type Batch } from '../kernel/bpf.ts';
import type { LoadedMap } from '../kernel/object.ts';

const batchRows = 1_024;

export async function countRows(map: LoadedMap): Promise<number> {
  let rows = 0;
  for (let batch: Batch | undefined, more = true; more;) {
    batch = await mapBatch(map, Math.min(batchRows, map.maxEntries), batch?.next, batch);
    rows += batch.count;
    more = batch.next !== undefined;
  }
  return rows;
}

/** As they were at the look before: a look begins the next count and never waits for it. */
export class RowCounts {
  readonly #maps: readonly LoadedMap[];
  readonly #failed: (error: unknown) => void;
  readonly #rows = new Map<string, number>();
  #counting: Promise<void> | undefined;

  constructor(maps: readonly LoadedMap[], failed: (error: unknown) => void) {
    this.#maps = maps;
    this.#failed = failed;
    this.look();
  }

  /** Rows and room, by map. */
  look(): Record<string, readonly [number, number]> {
    this.#counting ??= this.#count().catch(this.#failed).finally(() => { this.#counting = undefined; });
    return Object.fromEntries(this.#maps.map(({ name, maxEntries }) => [name, [this.#rows.get(name) ?? 0, maxEntries]]));
  }

  /** Resolves when no count is under way. */
  async idle(): Promise<void> { await this.#counting; }

  async #count(): Promise<void> {
    for (const map of this.#maps) this.#rows.set(map.name, await countRows(map));
  }
}
