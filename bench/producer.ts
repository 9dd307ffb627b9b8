// The other thread of bench/drain.ts: writes flow records at a steady rate by running a program on a packet that it drops.
import { workerData } from 'node:worker_threads';
import { testRun } from '../agent/kernel/bpf.ts';
import { packet, type Shared } from './drain.ts';

const { program, perSecond, words } = workerData as Shared;
const state = new Int32Array(words);
/** At most so many records in one call, at most so far behind: a machine that is busy gets less, never a burst. */
const most = 5_000;
const pauseMs = 1;

let owed = 0;
let before = performance.now();
while (Atomics.load(state, 0) === 0) {
  const now = performance.now();
  owed = Math.min(most, owed + (now - before) * perSecond / 1000);
  before = now;
  const count = Math.floor(owed);
  if (count > 0) testRun(program, packet, 1, count);
  owed -= count;
  Atomics.add(state, 1, count);
  Atomics.wait(state, 0, 0, pauseMs);
}
