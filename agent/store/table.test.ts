// Tables: transactions, change feed, indexes, sync.
import { describe, expect, test } from '@jest/globals';
import { NumberAllocator, RangeAllocator } from './allocator.ts';
import { Table, type Change } from './table.ts';

interface Row { readonly id: string; readonly colour: string; readonly sizes?: readonly number[] }
const make = (): Table<Row> => new Table({ name: 'rows', key: (row) => row.id, indexes: { colour: (row) => [row.colour], size: (row) => (row.sizes ?? []).map(String) } });

describe('Table', () => {
  test('a transaction is one batch of changes', () => {
    const table = make();
    const seen: (readonly Change<Row>[])[] = [];
    table.subscribe((changes) => { seen.push(changes); });
    table.write([{ id: 'a', colour: 'red' }, { id: 'b', colour: 'red' }]);
    table.write([{ id: 'a', colour: 'blue' }], ['b', 'absent']);
    expect(seen.map((batch) => batch.map(({ key, old, row }) => [key, old?.colour, row?.colour]))).toEqual([
      [['a', undefined, 'red'], ['b', undefined, 'red']], [['b', 'red', undefined], ['a', 'red', 'blue']]]);
    expect(table.revision).toBe(2);
  });

  test('an equal row is no change', () => {
    const table = make();
    table.write([{ id: 'a', colour: 'red', sizes: [1] }]);
    table.write([{ id: 'a', colour: 'red', sizes: [1] }]);
    expect(table.revision).toBe(1);
  });

  test('indexes follow', () => {
    const table = make();
    table.write([{ id: 'a', colour: 'red', sizes: [1, 2] }, { id: 'b', colour: 'red', sizes: [2] }]);
    table.write([{ id: 'a', colour: 'blue', sizes: [3] }]);
    expect([table.by('colour', 'red'), table.by('size', '2'), table.by('size', '3')].map((rows) => rows.map((row) => row.id))).toEqual([['b'], ['b'], ['a']]);
    expect(() => table.by('shape', 'x')).toThrow('no index shape');
  });

  test('replace touches only what it owns', () => {
    const table = make();
    table.write([{ id: 'a', colour: 'red' }, { id: 'b', colour: 'blue' }]);
    table.replace([{ id: 'c', colour: 'red' }], (row) => row.colour === 'red');
    expect(table.rows().map((row) => row.id)).toEqual(['b', 'c']);
  });

  test('it is synced when every reflector has delivered, and says so', () => {
    const table = make();
    const done = [table.expect('one'), table.expect('two')];
    let told = 0;
    table.subscribe(() => { told += 1; });
    done[0]!();
    expect(table.synced).toBe(false);
    done[1]!();
    done[1]!();
    expect([table.synced, told]).toEqual([true, 2]);
  });
});

describe('allocators', () => {
  test('a number rests before it is given out again', () => {
    let now = 0;
    const numbers = new NumberAllocator(1, 3, 10, () => now);
    expect([numbers.take(), numbers.take()]).toEqual([1, 2]);
    numbers.giveBack(1);
    expect([numbers.take(), numbers.take()]).toEqual([3, undefined]);
    now = 10;
    expect(numbers.take()).toBe(1);
  });

  test('ranges are joined again', () => {
    const ranges = new RangeAllocator(10);
    expect([ranges.take(4), ranges.take(4), ranges.take(4)]).toEqual([0, 4, undefined]);
    ranges.giveBack(0, 4);
    ranges.giveBack(4, 4);
    expect([ranges.available, ranges.take(10)]).toEqual([10, 0]);
  });

  test('a number that was taken before is reserved; those below that nobody claims rest first', () => {
    let now = 0;
    const numbers = new NumberAllocator(1, 5, 10, () => now);
    expect([numbers.reserve(3), numbers.reserve(3), numbers.reserve(1), numbers.reserve(0), numbers.reserve(6)]).toEqual([true, false, true, false, false]);
    expect([numbers.take(), numbers.take(), numbers.take()]).toEqual([4, 5, undefined]);
    now = 10;
    expect([numbers.take(), numbers.take()]).toEqual([2, undefined]);
    numbers.giveBack(3);
    now = 20;
    expect(numbers.take()).toBe(3);
  });

  test.each([
    ['at the start', 0, 4, [4, 7]], ['in the middle', 3, 4, [0, 7]], ['at the end', 6, 4, [0, 3]], ['all', 0, 10, [undefined, undefined]], ['nothing', 5, 0, [0, 3]],
  ] as const)('a range %s is reserved, not twice, and comes back', (_, start, length, taken) => {
    const ranges = new RangeAllocator(10);
    expect([ranges.reserve(start, length), ranges.reserve(start, length), ranges.available]).toEqual([true, length === 0, 10 - length]);
    expect([ranges.take(3), ranges.take(3)]).toEqual(taken);
  });

  test('a range that sticks out or meets another is refused', () => {
    const ranges = new RangeAllocator(10);
    expect([ranges.reserve(8, 3), ranges.reserve(2, 3), ranges.reserve(4, 2), ranges.reserve(1, 2)]).toEqual([false, true, false, false]);
    ranges.giveBack(2, 3);
    expect(ranges.take(10)).toBe(0);
  });
});
