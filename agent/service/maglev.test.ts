import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { maglevTable, seedOf, type MaglevBackend } from './maglev.ts';
import { murmur128 } from './murmur.ts';

interface Case { readonly id: string; readonly m: number; readonly seed: string; readonly backends: MaglevBackend[]; readonly first32: number[]; readonly sha256_u16be: string; readonly removedBackend: number; readonly sha256AfterRemoval_u16be: string }
const cases = readFileSync(join(import.meta.dirname, 'testdata/maglev.jsonl'), 'utf8').trim().split('\n').map((line) => JSON.parse(line) as Case);

function digestOf(table: Uint32Array): string {
  const bytes = Buffer.alloc(table.length * 2);
  table.forEach((entry, slot) => { bytes.writeUInt16BE(entry, slot * 2); });
  return createHash('sha256').update(bytes).digest('hex');
}

describe('recorded tables', () => {
  test.each(cases)('$id', ({ m, seed, backends, first32, sha256_u16be, removedBackend, sha256AfterRemoval_u16be }) => {
    const table = maglevTable(backends, m, seedOf(seed));
    expect([...table.subarray(0, 32)]).toEqual(first32);
    expect(digestOf(table)).toBe(sha256_u16be);
    if (removedBackend < 0) return;
    const rest = maglevTable(backends.filter((_, index) => index !== removedBackend), m, seedOf(seed));
    // The survivors keep their indexes.
    expect(digestOf(rest.map((entry) => (entry < removedBackend ? entry : entry + 1)))).toBe(sha256AfterRemoval_u16be);
  });
});

const some = (count: number, weight = 1): MaglevBackend[] => Array.from({ length: count }, (_, index) => ({ hashString: `b${index}`, weight }));

describe('what is refused', () => {
  test.each([
    ['a size that is not prime', () => maglevTable(some(2), 16_383, 1), 'a Maglev table of 16383 slots: it must be a prime up to 131071'],
    ['a prime that is too large', () => maglevTable(some(2), 131_101, 1), 'a Maglev table of 131101 slots: it must be a prime up to 131071'],
    ['no slots', () => maglevTable(some(2), 0, 1), 'a Maglev table of 0 slots: it must be a prime up to 131071'],
    ['a seed that is too short', () => maglevTable(some(2), 251, seedOf('AAAA')), 'Maglev seed "AAAA": expected 12 bytes in base64'],
    ['a weight of 0 beside others', () => maglevTable([...some(1, 0), ...some(1, 9)], 251, 1), 'Maglev weights must be whole numbers above 0'],
  ])('%s', (_, build, message) => { expect(build).toThrow(message); });
});

test('without backends a table is empty', () => { expect(maglevTable([], 251, 1)).toHaveLength(0); });

/** The published algorithm, in BigInts. */
function plainMurmur(data: Uint8Array, seed: number): bigint[] {
  const mask = (1n << 64n) - 1n;
  const rotate = (word: bigint, by: bigint): bigint => ((word << by) | (word >> (64n - by))) & mask;
  const [c1, c2] = [0x87c37b91114253d5n, 0x4cf5ad432745937fn];
  const mix1 = (key: bigint): bigint => (rotate((key * c1) & mask, 31n) * c2) & mask;
  const mix2 = (key: bigint): bigint => (rotate((key * c2) & mask, 33n) * c1) & mask;
  const padded = new DataView(new ArrayBuffer(Math.ceil(data.length / 16) * 16 + 16));
  data.forEach((byte, index) => { padded.setUint8(index, byte); });
  let [h1, h2] = [BigInt(seed), BigInt(seed)];
  const blocks = data.length >> 4;
  for (let block = 0; block < blocks; block += 1) {
    h1 = ((rotate(h1 ^ mix1(padded.getBigUint64(block * 16, true)), 27n) + h2) * 5n + 0x52dce729n) & mask;
    h2 = ((rotate(h2 ^ mix2(padded.getBigUint64(block * 16 + 8, true)), 31n) + h1) * 5n + 0x38495ab5n) & mask;
  }
  h2 ^= mix2(padded.getBigUint64(blocks * 16 + 8, true));
  h1 ^= mix1(padded.getBigUint64(blocks * 16, true));
  const finish = (word: bigint): bigint => {
    let mixed = ((word ^ (word >> 33n)) * 0xff51afd7ed558ccdn) & mask;
    mixed = ((mixed ^ (mixed >> 33n)) * 0xc4ceb9fe1a85ec53n) & mask;
    return mixed ^ (mixed >> 33n);
  };
  h1 ^= BigInt(data.length);
  h2 ^= BigInt(data.length);
  h1 = (h1 + h2) & mask;
  h2 = (h2 + h1) & mask;
  h1 = finish(h1);
  h2 = finish(h2);
  h1 = (h1 + h2) & mask;
  return [h1, (h2 + h1) & mask];
}

test('the hash in 32-bit words is that in 64-bit words, for every length up to 80', () => {
  for (let length = 0; length <= 80; length += 1) {
    const data = createHash('shake256', { outputLength: length || 1 }).update(`${length}`).digest().subarray(0, length);
    const [h1l, h1h, h2l, h2h] = murmur128(data, length * 0x9e3779b1 >>> 0);
    expect([length, BigInt(h1h) << 32n | BigInt(h1l), BigInt(h2h) << 32n | BigInt(h2l)]).toEqual([length, ...plainMurmur(data, length * 0x9e3779b1 >>> 0)]);
  }
});
