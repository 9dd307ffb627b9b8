// L7 rules in the kernel's verdict: what a record says of a redirected connection is the very key under which its port was written.
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { identityOf, judge, makeWorld, sidesOf } from '../agent/policy/offline.ts';
import { makeRandom, randomCase } from '../agent/policy/random-cases.ts';
import { PolicyReconciler } from '../agent/policy/reconciler.ts';
import { isConflict } from '../agent/policy/rule-set.ts';
import { RuleSets } from '../agent/policy/rule-sets.ts';
import { Bench } from './testing/bench.ts';
import { familiesOf, rowsOf, send } from './testing/cases.ts';
import { action } from './types.gen.ts';

const CASES = 300;

let bench: Bench;
let reconciler: PolicyReconciler;
beforeAll(() => {
  bench = new Bench();
  reconciler = new PolicyReconciler(bench.datapath);
});
afterAll(() => { bench.close(); });

test(`${CASES} random policy sets: every redirect has the port of its rule set, what cannot be served has none`, async () => {
  const counts = { redirected: 0, refused: 0, other: 0 };
  for (let seed = 0; seed < CASES; seed += 1) {
    const one = { ...randomCase(makeRandom(seed), `l7-${seed}`, true), ipv6: true };
    const world = makeWorld(one);
    const { sets, rows } = new RuleSets().derive(world.image);
    const portOf = new Map([...sets.keys()].map((key, index) => [key, 20_000 + index]));
    const { endpoints, prefixes } = rowsOf(world, String(reconciler.generation));
    await reconciler.apply(world.image, prefixes, endpoints, rows.map(({ set, ...row }) => ({ ...row, port: portOf.get(set)! })));
    expect(bench.datapath.proxyPorts.entries()).toHaveLength(rows.length);
    // One end is judged: what the other end makes of a redirected connection comes later.
    for (const flow of one.flows.filter(({ from, to }) => typeof from !== 'string' || typeof to !== 'string')) {
      const side = sidesOf(flow)[0]!;
      const { proxied } = judge(world, flow, side);
      const peers = world.image.classOfIdentity.get(identityOf(world, side === 'ingress' ? flow.from : flow.to))!;
      for (const family of familiesOf(flow)) {
        const { [side]: { action: did, bits, policy, interval } } = send(bench, world, flow, family);
        const port = did === action.ACTION_PROXY ? bench.datapath.proxyPorts.get({ bits, policy, interval, class_id: reconciler.numbers.classId(peers) }) : undefined;
        const wanted = { proxy: proxied !== undefined, port: proxied === undefined || isConflict(proxied) ? undefined : portOf.get(proxied.key) };
        expect({ seed, flow, family, proxy: did === action.ACTION_PROXY, port }).toEqual({ seed, flow, family, ...wanted });
        counts[wanted.port !== undefined ? 'redirected' : wanted.proxy ? 'refused' : 'other'] += 1;
      }
    }
  }
  expect(Math.min(...Object.values(counts))).toBeGreaterThan(3);
}, 120_000);
