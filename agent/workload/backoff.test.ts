// When a lost pod is started again, on a clock that the test turns.
import { afterEach, beforeEach, expect, jest, test } from '@jest/globals';
import { Backoff } from './backoff.ts';

beforeEach(() => { jest.useFakeTimers(); });
afterEach(() => { jest.useRealTimers(); });

test.each([
  { name: 'first failure', ranMs: [0], delaysMs: [1_000] },
  { name: 'doubles to a minute', ranMs: [0, 0, 0, 0, 0, 0, 0, 0], delaysMs: [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000] },
  { name: 'anew after a steady minute', ranMs: [0, 0, 60_000, 0], delaysMs: [1_000, 2_000, 1_000, 2_000] },
])('$name', ({ ranMs, delaysMs }) => {
  const due: number[] = [];
  const backoff = new Backoff(() => { due.push(performance.now()); });
  for (const [index, ran] of ranMs.entries()) {
    backoff.started('a');
    jest.advanceTimersByTime(ran);
    const failedAt = performance.now();
    backoff.failed('a');
    expect(backoff.waits('a')).toBe(true);
    jest.advanceTimersByTime(60_000);
    expect(due[index]! - failedAt).toBe(delaysMs[index]);
    expect(backoff.waits('a')).toBe(false);
  }
});

test('forgotten: not due any more, and begins anew', () => {
  const due: string[] = [];
  const backoff = new Backoff((key) => { due.push(key); });
  backoff.failed('a');
  backoff.failed('b');
  backoff.forget('a');
  jest.advanceTimersByTime(60_000);
  expect(due).toEqual(['b']);
});
