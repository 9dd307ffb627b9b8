// The policy compiler against the naive evaluator, one random policy set for each seed; every other one with L7 rules and requests.
import { naiveVerdict } from '../agent/policy/naive.ts';
import { judgeFlow, makeWorld, type CaseFlow, type PolicyCase } from '../agent/policy/offline.ts';
import { makeRandom, randomCase } from '../agent/policy/random-cases.ts';
import { smallest } from './smallest.ts';

export function policy(seed: number): string | undefined {
  const one = randomCase(makeRandom(seed), `random-${seed}`, seed % 2 === 1);
  const flow = differing(one);
  if (flow === undefined) return undefined;
  const small = smallest({ ...one, flows: [flow] }, (candidate) => {
    try {
      return differing(candidate) !== undefined;
    } catch (error) {
      // A case that lost a part that it cannot do without is no smaller case of this.
      if (error instanceof Error) return false;
      throw error;
    }
  });
  return `the compiled image says ${judgeFlow(makeWorld(small), small.flows[0]!)}, the naive evaluator ${naiveVerdict(small, small.flows[0]!)}:\n${JSON.stringify(small, undefined, 1)}`;
}

function differing(one: PolicyCase): CaseFlow | undefined {
  const world = makeWorld(one);
  return one.flows.find((flow) => judgeFlow(world, flow) !== naiveVerdict(one, flow));
}
