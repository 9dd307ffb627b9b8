// A hash map read in batches: every row once and an end, also when the last batch is full to the last row, and a failure told as one.
import { closeSync } from 'node:fs';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { mapBatch, mapCreate, mapType, mapUpdate, type Batch } from './bpf.ts';

const map = { name: 'rows', fd: -1, keySize: 4, valueSize: 4, maxEntries: 64 };
const rows = 16;
beforeAll(() => {
  map.fd = mapCreate(mapType.hash, map.keySize, map.valueSize, map.maxEntries);
  for (let row = 0; row < rows; row += 1) mapUpdate(map.fd, new Uint8Array(Uint32Array.of(row).buffer), new Uint8Array(Uint32Array.of(row * 2).buffer), map.name);
});
afterAll(() => { closeSync(map.fd); });

test.each(Array.from({ length: 8 }, (_, index) => index + rows - 4))('16 rows in batches of %i', async (count) => {
  const found: [number, number][] = [];
  for (let batch: Batch | undefined, more = true; more;) {
    batch = await mapBatch(map, count, batch?.next, batch);
    more = batch.next !== undefined;
    const [keys, values] = [new Uint32Array(batch.keys.buffer), new Uint32Array(batch.values.buffer)];
    for (let index = 0; index < batch.count; index += 1) found.push([keys[index]!, values[index]!]);
  }
  expect(found.sort(([a], [b]) => a - b)).toEqual(Array.from({ length: rows }, (_, row) => [row, row * 2]));
});

test('a map that cannot be read', async () => {
  await expect(mapBatch({ ...map, fd: 1_000_000 }, rows)).rejects.toThrow('map rows: bpf(BPF_MAP_LOOKUP_BATCH) failed');
});
