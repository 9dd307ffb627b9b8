import { expect, test } from '@jest/globals';
import { naiveVerdict } from './naive.ts';
import { protocolNumber } from './icmp.ts';
import { endpointOf, identityOf, judge, judgeFlow, makeWorld, sidesOf, type CaseFlow, type World } from './offline.ts';
import { makeRandom, randomCase } from './random-cases.ts';
import { Verdicts } from './verdicts.ts';

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

test('verdicts without rules are those with rules', () => {
  const actions = new Set<string>();
  for (let set = 0; set < 2_000; set += 1) {
    const one = randomCase(makeRandom(SEED + set), `random-${SEED + set}`);
    const world = makeWorld(one);
    const verdicts = new Verdicts(world.image);
    for (const flow of one.flows) for (const side of sidesOf(flow)) {
      const action = fastAction(verdicts, world, flow, side);
      actions.add(action);
      if (action !== judge(world, flow, side).action) expect({ seed: SEED + set, flow, side, action }).toEqual('the verdict with rules');
    }
  }
  expect([...actions].sort()).toEqual(['allow', 'default-deny', 'deny', 'none']);
}, 60_000);

function fastAction(verdicts: Verdicts, { image, ...world }: World, flow: CaseFlow, side: 'ingress' | 'egress'): string {
  const [subject, peer] = side === 'ingress' ? [flow.to, flow.from] : [flow.from, flow.to];
  const endpoint = endpointOf({ image, ...world }, subject);
  const policy = endpoint === undefined ? undefined : image.ofEndpoint.get(endpoint.id)![side];
  return verdicts.action(policy, image.classOfIdentity.get(identityOf({ image, ...world }, peer))!, protocolNumber(flow.protocol)!, flow.port ?? flow.icmpType ?? 0);
}
