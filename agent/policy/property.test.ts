import { expect, test } from '@jest/globals';
import { naiveVerdict } from './naive.ts';
import { judgeFlow, makeWorld } from './offline.ts';
import { makeRandom, randomCase } from './random-cases.ts';

const SEED = 20260701;
const SETS = 20_000;

test(`${SETS} random policy sets: the compiled image and the naive evaluator agree`, () => {
  const counts = { allowed: 0, denied: 0 };
  for (let set = 0; set < SETS; set += 1) {
    const one = randomCase(makeRandom(SEED + set), `random-${SEED + set}`);
    const world = makeWorld(one);
    for (const flow of one.flows) {
      const verdict = judgeFlow(world, flow);
      counts[verdict] += 1;
      if (verdict !== naiveVerdict(one, flow)) expect({ seed: SEED + set, flow, verdict, policies: one.policies }).toEqual('the naive verdict');
    }
  }
  expect(Math.min(counts.allowed, counts.denied)).toBeGreaterThan(SETS);
}, 300_000);
