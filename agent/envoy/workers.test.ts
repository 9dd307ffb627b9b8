// Who is served by which worker of Envoy: whoever is busy is kept apart, by what the kernel has counted.
import { describe, expect, test } from '@jest/globals';
import { assign, look, workerOf, workers, type Served } from './workers.ts';

const one = (id: number, load: number, { move = 0, busy = false } = {}): Served => ({ id, load, move, busy });
const rows: readonly { readonly name: string; readonly all: readonly Served[]; readonly at: readonly number[] }[] = [
  { name: 'nobody is busy: by their numbers', all: [one(1, 0), one(2, 0.09), one(3, 0), one(4, 0), one(5, 0)], at: [1, 2, 3, 0, 1] },
  { name: 'one is: it stays, and others leave its worker', all: [one(1, 0.9), one(2, 0), one(5, 0), one(9, 0)], at: [1, 2, 3, 0] },
  { name: 'two of one worker: the busier stays', all: [one(1, 0.4), one(5, 0.8), one(2, 0)], at: [2, 1, 0] },
  { name: 'who was busy before stays, a busier newcomer goes', all: [one(1, 0.4, { busy: true }), one(5, 0.8)], at: [1, 2] },
  { name: 'moved ones stay where they are, and come back when they are not busy', all: [one(1, 0.4, { move: 2, busy: true }), one(5, 0.01, { move: 2, busy: true })], at: [3, 1] },
  { name: 'a little is enough for who was busy', all: [one(1, 0.06, { busy: true }), one(5, 0.06)], at: [1, 3] },
  { name: 'as many as there are workers: one of them is left to the others', all: [one(1, 0.9), one(2, 0.8), one(3, 0.7), one(4, 0.6), one(8, 0), one(7, 0)], at: [1, 2, 3, 3, 0, 0] },
  { name: 'all are busy', all: Array.from({ length: 8 }, (_, index) => one(index, 0.5)), at: [0, 1, 2, 0, 1, 2, 0, 1] },
  { name: 'nobody', all: [], at: [] },
];

describe('where everybody is served', () => {
  test.each(rows)('$name', ({ all, at }) => {
    const found = assign(all);
    expect(found.map(({ id, move }) => workerOf(id, move))).toEqual(at);
    // Nothing moves while nothing changes.
    expect(assign(found)).toEqual(found);
  });

  test('whatever the loads: some worker is left to those who are not busy, and none of them meets one who is', () => {
    let seed = 7;
    const random = (): number => { seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31; return seed / 2 ** 31; };
    for (let round = 0; round < 500; round += 1) {
      const found = assign(Array.from({ length: Math.ceil(random() * 30) }, (_, id) => one(id * 3 + 1, random() ** 3, { move: Math.floor(random() * workers), busy: random() < 0.3 })));
      const at = (busy: boolean): Set<number> => new Set(found.filter((each) => each.busy === busy).map(({ id, move }) => workerOf(id, move)));
      expect(at(true).size).toBeLessThan(workers);
      expect([...at(false)].filter((worker) => at(true).has(worker))).toEqual([]);
    }
  });
});

test('by what they have spent: not at the first look, soon, and for a while', () => {
  const spent = new Map([[1, 50_000], [5, 0]]);
  const moves = new Map<number, number>();
  const options = { ids: () => [1, 5], spentMs: (id: number) => spent.get(id)!, moves: { get: (id: number) => moves.get(id), set: (id: number, move: number) => { moves.set(id, move); } } };
  let last: ReturnType<typeof look> = new Map();
  const after = (ms: number): readonly (number | undefined)[] => {
    spent.set(1, spent.get(1)! + ms);
    last = look(last, options);
    return [moves.get(1), moves.get(5)];
  };
  expect(after(0)).toEqual([undefined, undefined]);
  expect(after(400)).toEqual([undefined, 2]);
  // 0.4 of a core; halves with each look: below 0.03 after the fourth.
  expect([after(0), after(0), after(0)]).toEqual([[undefined, 2], [undefined, 2], [undefined, 2]]);
  expect(after(0)).toEqual([undefined, 0]);
});
