import { expect, test } from '@jest/globals';
import { naiveVerdict } from './naive.ts';
import { protocolNumber } from './icmp.ts';
import { endpointOf, identityOf, judge, judgeFlow, makeWorld, sidesOf, type CaseFlow, type World } from './offline.ts';
import { makeRandom, randomCase } from './random-cases.ts';
import { isConflict } from './rule-set.ts';
import { Verdicts } from './verdicts.ts';

const SEED = 20260701;
const SETS = 20_000;
const L7_SETS = 5_000;

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

test(`${L7_SETS} random policy sets with L7 rules: connections and requests are judged as the naive evaluator judges them`, () => {
  const counts = { allowed: 0, denied: 0, proxied: 0, refused: 0, merged: 0 };
  for (let set = 0; set < L7_SETS; set += 1) {
    const one = randomCase(makeRandom(SEED + set), `random-l7-${SEED + set}`, true);
    const world = makeWorld(one);
    for (const flow of one.flows) {
      const verdict = judgeFlow(world, flow);
      counts[verdict] += 1;
      for (const { proxied } of sidesOf(flow).map((side) => judge(world, flow, side))) {
        if (proxied !== undefined) counts[isConflict(proxied) ? 'refused' : proxied.rules.length > 1 ? 'merged' : 'proxied'] += 1;
      }
      if (verdict !== naiveVerdict(one, flow)) expect({ seed: SEED + set, flow, verdict, policies: JSON.stringify(one.policies, null, 1) }).toEqual('the naive verdict');
    }
  }
  expect(Math.min(...Object.values(counts))).toBeGreaterThan(L7_SETS / 20);
}, 300_000);

test('verdicts without rules are those with rules', () => {
  const actions = new Set<string>();
  for (let set = 0; set < 2_000; set += 1) {
    const one = randomCase(makeRandom(SEED + set), `random-${SEED + set}`, set % 2 === 1);
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
