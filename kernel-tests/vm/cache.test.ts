// What of the cache goes when it has grown too large.
import { describe, expect, test } from '@jest/globals';
import { tooMany } from './cache.ts';

const hourMs = 3_600_000;
const now = 100 * hourMs;
const rows = [
  { name: 'nothing while all fits', kept: [['a', 40, 50], ['b', 60, 1]], gone: [] },
  { name: 'the one that nobody has used for longest', kept: [['a', 40, 50], ['b', 40, 1], ['c', 40, 20]], gone: ['b'] },
  { name: 'several, until the rest fits', kept: [['a', 90, 50], ['b', 40, 1], ['c', 40, 20]], gone: ['c', 'b'] },
  { name: 'nothing that was used within the hour', kept: [['a', 90, 99.9], ['b', 90, 99.8], ['c', 90, 50]], gone: ['c'] },
] as const;

describe('tooMany', () => {
  test.each(rows)('$name', ({ kept, gone }) => {
    expect(tooMany(kept.map(([name, bytes, hour]) => ({ name, bytes, usedMs: hour * hourMs })), 100, now)).toEqual(gone);
  });
});
