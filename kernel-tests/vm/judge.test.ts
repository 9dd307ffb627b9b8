// What a run's lines mean under a floor.
import { describe, expect, test } from '@jest/globals';
import { judge } from './judge.ts';
import type { TestLine } from './reporter.ts';

const floor = { kernel: '1.0', without: [{ test: /by TCX/, status: 'failed', why: 'no TCX' }, { test: /by SCTP/, status: 'skipped', why: 'no SCTP' }] } as const;
const line = (name: string, status: TestLine['status']): TestLine => ({ file: 'a.test.ts', name, status, ms: 1 });

const rows = [
  { name: 'passed', lines: [line('one', 'passed')], counts: [1, 0, 0] },
  { name: 'one whose line got lost', lines: [line('one', 'passed')], counts: [1, 1, 0], count: 2 },
  { name: 'jest did not come to its end', lines: [line('one', 'passed')], counts: [1, 1, 0], count: undefined },
  { name: 'failed', lines: [line('one', 'failed')], counts: [0, 1, 0] },
  { name: 'skipped where it is wanted', lines: [line('one', 'skipped')], counts: [0, 1, 0] },
  { name: 'failed by name', lines: [line('hangs by TCX', 'failed')], counts: [0, 0, 1] },
  { name: 'skipped by name', lines: [line('talks by SCTP', 'skipped')], counts: [0, 0, 1] },
  { name: 'failed where only skipping is excused', lines: [line('talks by SCTP', 'failed')], counts: [0, 1, 0] },
  { name: 'passed though it need not', lines: [line('hangs by TCX', 'passed')], counts: [1, 0, 0] },
  { name: 'a file that says nothing', lines: [], counts: [0, 1, 0] },
  { name: 'a file that could not run', lines: [line('', 'failed')], counts: [0, 1, 0] },
] as const;

describe('judge', () => {
  test.each(rows)('$name', (row) => {
    const { lines, counts } = row;
    const count = 'count' in row ? row.count : lines.filter((one) => one.name !== '').length;
    const { passed, failed, without } = judge(floor, ['a.test.ts'], lines, count);
    expect([passed.length, failed.length, without.length]).toEqual(counts);
  });
});
