import { describe, expect, test } from '@jest/globals';
import { NumberAllocator, RangeAllocator } from './allocator.ts';

describe('NumberAllocator', () => {
  const rows: readonly { name: string; steps: readonly (readonly [what: 'take' | 'back' | 'untake' | 'reserve' | 'wait', number?: number])[]; found: readonly unknown[] }[] = [
    { name: 'in turn, until all are taken', steps: [['take'], ['take'], ['take'], ['take']], found: [1, 2, 3, undefined] },
    { name: 'what was given back rests', steps: [['take'], ['take'], ['take'], ['back', 2], ['take'], ['wait'], ['take']], found: [1, 2, 3, undefined, undefined, undefined, 2] },
    { name: 'what nobody has seen does not', steps: [['take'], ['take'], ['take'], ['back', 1], ['untake', 3], ['take'], ['take']], found: [1, 2, 3, undefined, undefined, 3, undefined] },
    { name: 'reserve: once, and those below rest', steps: [['reserve', 3], ['reserve', 3], ['reserve', 4], ['take'], ['wait'], ['take']], found: [true, false, false, undefined, undefined, 1] },
  ];
  test.each(rows)('$name', ({ steps, found }) => {
    let now = 0;
    const one = new NumberAllocator(1, 3, 10, () => now);
    const does = { take: () => one.take(), back: (number: number) => { one.giveBack(number); }, untake: (number: number) => { one.untake(number); }, reserve: (number: number) => one.reserve(number), wait: () => { now += 10; } };
    expect(steps.map(([what, number]) => does[what](number!))).toEqual(found);
  });
});

describe('RangeAllocator', () => {
  const rows: readonly { name: string; steps: readonly (readonly [what: 'take' | 'back' | 'reserve', a: number, b?: number])[]; found: readonly unknown[]; left: number }[] = [
    { name: 'first fit', steps: [['take', 10], ['take', 20], ['back', 0, 10], ['take', 5], ['take', 6]], found: [0, 10, undefined, 0, 30], left: 225 },
    { name: 'no gap is long enough', steps: [['take', 200], ['take', 57]], found: [0, undefined], left: 56 },
    { name: 'what was taken back joins both neighbours', steps: [['take', 100], ['take', 100], ['take', 56], ['back', 0, 100], ['back', 200, 56], ['back', 100, 100], ['take', 256]], found: [0, 100, 200, undefined, undefined, undefined, 0], left: 0 },
    { name: 'a length of 0 takes nothing', steps: [['take', 0], ['back', 0, 0]], found: [0, undefined], left: 256 },
    { name: 'blocks: a short range stays within one', steps: [['take', 60, 64], ['take', 5, 64], ['take', 4, 64]], found: [0, 64, 60], left: 187 },
    { name: 'blocks: a long range begins with one, its rest is for others', steps: [['take', 1, 64], ['take', 70, 64], ['take', 58, 64], ['take', 59, 64]], found: [0, 64, 1, 192], left: 68 },
    { name: 'blocks: no whole one is left', steps: [['take', 1, 64], ['take', 193, 64], ['take', 192, 64]], found: [0, undefined, 64], left: 63 },
    { name: 'reserve: once', steps: [['reserve', 10, 10], ['reserve', 19, 2], ['reserve', 20, 2], ['take', 11]], found: [true, false, true, 22], left: 233 },
  ];
  test.each(rows)('$name', ({ steps, found, left }) => {
    const one = new RangeAllocator(256);
    expect(steps.map(([what, a, b]) => (what === 'take' ? one.take(a, b) : what === 'back' ? one.giveBack(a, b!) : one.reserve(a, b!)))).toEqual(found);
    expect(one.available).toBe(left);
  });

  test('a thousand random turns: ranges never overlap, and all of it comes back', () => {
    const one = new RangeAllocator(4_096, 1);
    const held: { start: number; length: number }[] = [];
    let seed = 1;
    const below = (most: number): number => { seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31; return Math.floor((seed / 2 ** 31) * most); };
    for (let turn = 0; turn < 1_000; turn += 1) {
      const length = 1 + below(150);
      const start = below(3) === 0 ? undefined : one.take(length, 64);
      if (start !== undefined) {
        expect(length <= 64 ? (start % 64) + length <= 64 : start % 64 === 0).toBe(true);
        expect(held.some((other) => start < other.start + other.length && other.start < start + length)).toBe(false);
        held.push({ start, length });
      } else if (held.length > 0) {
        const [gone] = held.splice(below(held.length), 1);
        one.giveBack(gone!.start, gone!.length);
      }
    }
    for (const { start, length } of held) one.giveBack(start, length);
    expect([one.available, one.take(4_095)]).toEqual([4_095, 1]);
  });
});
