// From one layout to another, field by field: what is copied, what is 0, what is refused.
import { describe, expect, test } from '@jest/globals';
import type { Type } from '../kernel/btf.ts';
import { checkNumbers, moved, movesOf } from './moves.ts';

const int = (size: number, bigEndian = false): Type => ({ kind: 'int', size, signed: false, bigEndian, name: `u${size * 8}` });
const array = (element: Type, length: number): Type => ({ kind: 'array', size: element.size * length, element, length });
/** Members one after the other, without padding of its own. */
function struct(members: Readonly<Record<string, Type>>): Type {
  let offset = 0;
  const placed = Object.entries(members).map(([name, type]) => {
    const member = { name, offset, type };
    offset += type.size;
    return member;
  });
  return { kind: 'struct', size: offset, name: 'row', members: placed };
}

const rows: readonly { name: string; before: Type; after: Type; bytes: readonly number[]; becomes: readonly number[] }[] = [
  { name: 'the same', before: struct({ a: int(1), b: int(2) }), after: struct({ a: int(1), b: int(2) }), bytes: [1, 2, 3], becomes: [1, 2, 3] },
  { name: 'another order', before: struct({ a: int(1), b: int(2) }), after: struct({ b: int(2), a: int(1) }), bytes: [1, 2, 3], becomes: [2, 3, 1] },
  { name: 'a field more', before: struct({ a: int(1) }), after: struct({ fresh: int(2), a: int(1) }), bytes: [1], becomes: [0, 0, 1] },
  { name: 'a field less', before: struct({ a: int(1), b: int(2) }), after: struct({ b: int(2) }), bytes: [1, 2, 3], becomes: [2, 3] },
  { name: 'padding is not copied', before: struct({ a: int(1), pad: int(1) }), after: struct({ a: int(1), pad: int(1) }), bytes: [1, 9], becomes: [1, 0] },
  { name: 'arrays of structs that grew', before: array(struct({ a: int(1) }), 2), after: array(struct({ a: int(1), b: int(1) }), 2), bytes: [1, 2], becomes: [1, 0, 2, 0] },
];
describe('rows', () => {
  test.each(rows)('$name', ({ before, after, bytes, becomes }) => {
    expect([...moved(Uint8Array.from(bytes), movesOf(struct({ row: before }), struct({ row: after })))]).toEqual(becomes);
  });
});

const refused: readonly { name: string; before: Type; after: Type; needed?: readonly string[]; says: RegExp }[] = [
  { name: 'a larger field', before: struct({ a: int(1) }), after: struct({ a: int(2) }), says: /row\.a had 1 bytes/ },
  { name: 'the other byte order', before: struct({ a: int(2) }), after: struct({ a: int(2, true) }), says: /row\.a/ },
  { name: 'an array of another length', before: struct({ a: array(int(1), 2) }), after: struct({ a: array(int(1), 4) }), says: /row\.a/ },
  { name: 'a struct where a number was', before: struct({ a: int(1) }), after: struct({ a: struct({ b: int(1) }) }), says: /row\.a/ },
  { name: 'what must be there', before: struct({ a: int(1) }), after: struct({ a: int(1), b: int(1) }), needed: ['b'], says: /row had no b/ },
];
describe('refused', () => {
  test.each(refused)('$name', ({ before, after, needed, says }) => { expect(() => movesOf(before, after, needed)).toThrow(says); });

  const numbers = (...pairs: [string, number][]): Map<string, number> => new Map(pairs);
  test.each([
    { name: 'a number that moved', before: numbers(['A', 0], ['B', 1]), after: numbers(['A', 1], ['B', 0]), says: /A of e was 0 and is 1/ },
    { name: 'a number that went', before: numbers(['A', 0]), after: numbers(['B', 0]), says: /A of e was 0 and is gone/ },
  ])('$name', ({ before, after, says }) => { expect(() => { checkNumbers('e', before, after); }).toThrow(says); });
  test('a number that came is none', () => { expect(() => { checkNumbers('e', numbers(['A', 0]), numbers(['A', 0], ['B', 1])); }).not.toThrow(); });
});
