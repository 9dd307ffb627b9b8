// Cells of the feature matrix.
import { describe, expect, test } from '@jest/globals';
import { told, type Found } from './matrix.ts';

const group = { name: 'a group', files: /^a/ };
const files = ['a1', 'a2', 'b'];
const rows = [
  { name: 'all passed', found: { a1: [3, 0, 0], a2: [1, 0, 0], b: [0, 9, 0] }, cell: '4 of 4' },
  { name: 'one failed', found: { a1: [3, 1, 0], a2: [1, 0, 0] }, cell: '4 of 5' },
  { name: 'some are without', found: { a1: [3, 0, 2], a2: [0, 0, 1] }, cell: '3 of 3, 3 without' },
  { name: 'a part ran', found: { a1: [3, 0, 0] }, cell: '3 of 3, 1 of 2 files' },
  { name: 'nothing ran', found: { b: [3, 0, 0] }, cell: 'not run' },
] as const;

describe('told', () => {
  test.each(rows)('$name', ({ found, cell }) => { expect(told(group, '6.1', { release: '', checks: {}, files: found as Found['files'] }, files)).toBe(cell); });
  test('a group that need not pass there', () => { expect(told({ ...group, on: ['6.18'] }, '6.1', { release: '', checks: {}, files: {} }, files)).toBe('-'); });
});
