// The reorder window of the relay, and what it reads of a response.
import { describe, expect, test } from '@jest/globals';
import { encode, getFlowsResponseMessage } from '../proto.ts';
import { Merge } from './merge.ts';
import { peek } from './peek.ts';

/** `push a 5`: node a says something of time 5; `open a`, `close a`, `wait 300` (ms). What comes out is noted after each step. */
const rows: { name: string; holds: boolean; window?: number; steps: string[]; out: string[] }[] = [
  { name: 'one node passes at once', holds: false, steps: ['open a', 'push a 5', 'push a 6'], out: ['a5', 'a6'] },
  { name: 'two nodes in order', holds: false, steps: ['open a', 'open b', 'push a 5', 'push a 7', 'push b 6', 'push b 8'], out: ['a5', 'b6', 'a7'] },
  { name: 'a node that says nothing is waited for', holds: false, steps: ['open a', 'open b', 'push a 5', 'wait 999'], out: [] },
  { name: 'but not longer than a second', holds: false, steps: ['open a', 'open b', 'push a 5', 'wait 1000'], out: ['a5'] },
  { name: 'nor after it has gone', holds: false, steps: ['open a', 'open b', 'push a 5', 'close b'], out: ['a5'] },
  { name: 'a late one goes out before those that waited', holds: false, steps: ['open a', 'open b', 'open c', 'push a 5', 'wait 900', 'push b 3', 'wait 100'], out: ['b3', 'a5'] },
  { name: 'a full window lets the oldest out', holds: false, window: 3, steps: ['open a', 'open b', ...[1, 2, 3, 4, 5, 6, 7, 8].map((time) => `push a ${time}`)], out: ['a1', 'a2'] },
  { name: 'a finite question waits with a full window', holds: true, window: 3, steps: ['open a', 'open b', 'push a 2', 'push a 3', 'push a 4', 'push a 5', 'push b 1', 'close b'], out: ['b1', 'a2', 'a3', 'a4', 'a5'] },
  { name: 'equal times in the order of arrival', holds: false, steps: ['open a', 'open b', 'push b 5', 'push a 5', 'close a', 'close b'], out: ['b5', 'a5'] },
];

describe('merge', () => {
  test.each(rows)('$name', ({ holds, window = 100, steps, out }) => {
    let nowMs = 0;
    const merge = new Merge<string>({ window, drainMs: 1_000, holds, now: () => nowMs });
    const got: string[] = [];
    for (const step of steps) {
      const [verb, node = '', time = ''] = step.split(' ');
      if (verb === 'open') merge.open(node);
      else if (verb === 'close') merge.close(node);
      else if (verb === 'wait') nowMs += Number(node);
      else merge.push(`${node}${time}`, Number(time), node);
      for (let next = merge.shift(); next !== undefined; next = merge.shift()) got.push(next.item);
    }
    expect(got).toEqual(out);
  });

  test('10 nodes with 1,000 random times each come out sorted', () => {
    const merge = new Merge<number>({ window: 100, drainMs: 1_000, holds: true, now: () => 0 });
    const nodes = Array.from({ length: 10 }, (_, index) => ({ name: `n${index}`, times: Array.from({ length: 1_000 }, () => Math.floor(Math.random() * 1e6)).sort((a, b) => a - b) }));
    for (const { name } of nodes) merge.open(name);
    const got: number[] = [];
    while (nodes.some(({ times }) => times.length > 0)) {
      for (const { name, times } of nodes) {
        if (!merge.lacks(name)) continue;
        const time = times.shift();
        if (time === undefined) merge.close(name);
        else merge.push(time, time, name);
      }
      for (let next = merge.shift(); next !== undefined; next = merge.shift()) got.push(next.item);
    }
    for (const { name } of nodes) merge.close(name);
    for (let next = merge.shift(); next !== undefined; next = merge.shift()) got.push(next.item);
    expect(got).toHaveLength(10_000);
    expect(got).toEqual([...got].sort((a, b) => a - b));
  });
});

describe('peek', () => {
  const time = { seconds: 1_700_000_000, nanos: 123_456_789 };
  test.each<{ name: string; response: object; isFlow: boolean; timeMs: number }>([
    { name: 'a flow', response: { flow: { uuid: 'x', verdict: 1, time: { seconds: 5 } }, node_name: 'n', time }, isFlow: true, timeMs: 1_700_000_000_123.456_8 },
    { name: 'a loss', response: { lost_events: { num_events_lost: 3 }, time }, isFlow: false, timeMs: 1_700_000_000_123.456_8 },
    { name: 'a status', response: { node_status: { state_change: 1 } }, isFlow: false, timeMs: NaN },
    { name: 'nothing', response: {}, isFlow: false, timeMs: NaN },
  ])('$name', ({ response, isFlow, timeMs }) => {
    const got = peek(encode(getFlowsResponseMessage, response));
    expect(got.isFlow).toBe(isFlow);
    if (Number.isNaN(timeMs)) expect(got.timeMs).toBeNaN();
    else expect(got.timeMs).toBeCloseTo(timeMs, 3);
  });

  test('no bytes make it run on or throw', () => {
    for (let turn = 0; turn < 2_000; turn += 1) peek(Uint8Array.from({ length: turn % 40 }, () => Math.floor(Math.random() * 256)));
  });
});
