// 100,000 backends of one service, in the kernel's maps as they are: taken whole, and one of them changed.
import { expect, test } from '@jest/globals';
import { serviceWorld } from './fixture.ts';

const { maps, agent, backend, frontend, set, inKernel } = serviceWorld();
const count = 100_000;

test('100,000 backends of one service', async () => {
  const one = agent();
  const ends = Array.from({ length: count }, (_, index) => backend(index + 1));
  const row = frontend('large', '10.218.0.2', ends.map(({ key }) => key));
  set(one, [row], ends);
  expect([one.log, inKernel()[row.key]!.length, maps.backends.entries().length]).toEqual([[], count, count]);
  one.backends.write([], [ends[0]!.key]);
  one.frontends.write([{ ...row, backends: row.backends.slice(1) }]);
  one.reconciler.apply();
  await one.pass();
  expect([one.log, inKernel()[row.key]!.length, maps.backends.entries().length]).toEqual([[], count - 1, count - 1]);
  await one.end();
}, 120_000);
