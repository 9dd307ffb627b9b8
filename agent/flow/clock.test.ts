// Record times as wall-clock time, when the clock is set between.
import { expect, test } from '@jest/globals';
import { WallClock } from './clock.ts';

const second = 1_000_000_000n;

test.each([
  { name: 'a clock that stands still', moveMs: 0, before: 1_010n, after: 1_030n },
  { name: 'what is only how finely the clock tells', moveMs: 1, before: 1_010n, after: 1_030n },
  { name: 'a clock that was set: flows from before keep their time', moveMs: 3_600_000, before: 1_010n, after: 1_030n + 3_600n },
  { name: 'set back', moveMs: -100_000, before: 1_010n, after: 930n },
])('$name', ({ moveMs, before, after }) => {
  let uptimeNs = 0n;
  let wallMs = 1_000_000;
  const clock = new WallClock(() => wallMs, () => uptimeNs);
  uptimeNs = 20n * second;
  wallMs += 20_000 + moveMs;
  clock.measure();
  expect([clock.toUnixNs(10n * second), clock.toUnixNs(30n * second)]).toEqual([before * second, after * second]);
});
