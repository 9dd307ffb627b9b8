// The ring of bytes: what is kept, what a reader that was overtaken is told, records and messages side by side.
import { describe, expect, test } from '@jest/globals';
import { decodeRecord } from './record.ts';
import { Cursor, Ring } from './ring.ts';
import { flowOf, recordOf, slotsOf } from './testing.ts';

/** Records are told apart by their source port. */
const records = (first: number, count: number): Uint8Array => slotsOf(...Array.from({ length: count }, (_, index) => recordOf({ sport: first + index })));
const loss = (count: number) => ({ lost_events: { num_events_lost: count } });

type Step = readonly ['records', first: number, count: number] | readonly ['flow', n: number] | readonly ['lost', count: number];
const cases: { name: string; capacity: number; steps: readonly Step[]; kept: readonly string[]; missed: number; flows: number; overwritten: number }[] = [
  { name: 'nothing', capacity: 4, steps: [], kept: [], missed: 0, flows: 0, overwritten: 0 },
  { name: 'less than fits', capacity: 4, steps: [['records', 1, 3]], kept: ['1', '2', '3'], missed: 0, flows: 3, overwritten: 0 },
  { name: 'a run that goes on at the start', capacity: 4, steps: [['records', 1, 3], ['records', 4, 3]], kept: ['3', '4', '5', '6'], missed: 2, flows: 4, overwritten: 2 },
  { name: 'more at once than fits', capacity: 4, steps: [['records', 1, 1], ['records', 2, 10]], kept: ['8', '9', '10', '11'], missed: 7, flows: 4, overwritten: 7 },
  { name: 'flows and losses in their place', capacity: 5, steps: [['records', 1, 2], ['lost', 7], ['flow', 9], ['records', 3, 1]], kept: ['1', '2', 'lost 7', 'u-9', '3'], missed: 0, flows: 4, overwritten: 0 },
  { name: 'an overwritten loss counts as what it told', capacity: 3, steps: [['lost', 7], ['records', 1, 4]], kept: ['2', '3', '4'], missed: 8, flows: 3, overwritten: 1 },
  { name: 'a loss that is kept behind overwritten records', capacity: 3, steps: [['records', 1, 4], ['lost', 5], ['records', 5, 1]], kept: ['4', 'lost 5', '5'], missed: 3, flows: 2, overwritten: 3 },
  { name: 'a record in the place of a message', capacity: 2, steps: [['flow', 1], ['flow', 2], ['records', 3, 1]], kept: ['u-2', '3'], missed: 1, flows: 2, overwritten: 1 },
];

describe('ring', () => {
  test.each(cases)('$name', ({ capacity, steps, kept, missed, flows, overwritten }) => {
    const ring = new Ring(capacity);
    const early = new Cursor(ring, 0);
    for (const step of steps) {
      if (step[0] === 'records') ring.addRecords(records(step[1], step[2]));
      else if (step[0] === 'flow') ring.addFlow(flowOf(step[1]));
      else ring.addLoss(loss(step[1]));
    }
    const textOf = (number: number): string => {
      const at = ring.recordAt(number);
      if (at >= 0) return String(decodeRecord(ring.view, at).sport);
      const { flow, weight } = ring.messageAt(number)!;
      return flow?.uuid ?? `lost ${weight}`;
    };
    const got: string[] = [];
    let weight = 0;
    for (let number = early.read(); number >= 0; number = early.read()) {
      got.push(textOf(number));
      weight += ring.messageAt(number)?.weight ?? 1;
    }
    const told = early.takeMissed();
    expect(got).toEqual(kept);
    expect({ missed: told, flows: ring.flows, overwritten: ring.overwritten }).toEqual({ missed, flows, overwritten });
    expect(told + weight).toBe(ring.events);
    expect(ring.flows + ring.overwritten).toBe(ring.seenFlows);
  });

  test('who is overtaken again and again is told each event once', () => {
    const ring = new Ring(16);
    const cursor = new Cursor(ring, 0);
    let [read, missed] = [0, 0];
    for (let turn = 0; turn < 200; turn += 1) {
      ring.addRecords(records(1, 1 + (turn * 7) % 30));
      if (turn % 5 === 0) ring.addLoss(loss(turn));
      for (let step = 0; step < 9; step += 1) {
        const number = cursor.read();
        if (number >= 0) read += ring.messageAt(number)?.weight ?? 1;
      }
      missed += cursor.takeMissed();
    }
    for (let number = cursor.read(); number >= 0; number = cursor.read()) read += ring.messageAt(number)?.weight ?? 1;
    expect(missed + cursor.takeMissed() + read).toBe(ring.events);
    expect(missed).toBeGreaterThan(0);
  });
});
