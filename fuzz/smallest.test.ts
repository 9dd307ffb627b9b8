import { expect, test } from '@jest/globals';
import { smallest } from './smallest.ts';

test.each<[string, unknown, (value: any) => boolean, unknown]>([
  ['a list to the item that matters', [1, 2, 3, 4], (value) => Array.isArray(value) && value.includes(3), [3]],
  ['fields that do not matter', { a: 1, b: { c: [1, 2], d: 5 } }, (value) => value.b?.d === 5, { b: { d: 5 } }],
  ['two things that matter together', [[1, 9], [2], [3, 9]], (value) => value.flat().filter((one: number) => one === 9).length === 2, [[9], [9]]],
  ['nothing that can go', { a: 1 }, (value) => value.a === 1, { a: 1 }],
])('%s', (_, value, fails, small) => expect(smallest(value, fails)).toEqual(small));
