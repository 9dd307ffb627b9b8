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
});
