// What part of a core Envoy's worker gets, from what the scheduler counts.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { partOf, workerTimes } from './capacity.ts';

const pauseNs = 500e6;
const none = { ranNs: 0, waitedNs: 0 };
const rows = [
  { name: 'it never waited', was: 1, now: { ranNs: 400e6, waitedNs: 0 }, part: 1 },
  { name: 'it waited as long as it ran', was: 1, now: { ranNs: 200e6, waitedNs: 200e6 }, part: 0.75 },
  { name: 'again', was: 0.75, now: { ranNs: 200e6, waitedNs: 200e6 }, part: 0.625 },
  { name: 'idle: back to all of it', was: 0.5, now: { ranNs: 1e6, waitedNs: 9e6 }, part: 0.75 },
  { name: 'hardly ever', was: 0.1, now: { ranNs: 1e6, waitedNs: 499e6 }, part: 0.1 },
  { name: 'another thread by the same number', was: 0.5, before: { ranNs: 1e9, waitedNs: 1e9 }, now: { ranNs: 100e6, waitedNs: 100e6 }, part: 0.75 },
];

test.each(rows)('$name', ({ was, before = none, now, part }) => { expect(partOf(was, before, now, pauseNs)).toBeCloseTo(part, 5); });

describe('threads', () => {
  test('workers alone count; a process that is gone has none', () => {
    const root = mkdtempSync(join(tmpdir(), 'weir-capacity-'));
    try {
      for (const [task, comm, schedstat] of [['7', 'envoy', '900 900 1'], ['8', 'wrk:worker_0', '10 20 3'], ['9', 'wrk:worker_1', '1 2 3']] as const) {
        mkdirSync(join(root, '7/task', task), { recursive: true });
        writeFileSync(join(root, '7/task', task, 'comm'), `${comm}\n`);
        writeFileSync(join(root, '7/task', task, 'schedstat'), `${schedstat}\n`);
      }
      expect([workerTimes(7, root), workerTimes(8, root)]).toEqual([{ ranNs: 11, waitedNs: 22 }, undefined]);
    } finally {
      rmSync(root, { recursive: true });
    }
  });
});
