// The recorded policy cases, in the kernel: compiled and written by the agent's own code, judged by real frames.
// No difference to the offline engine, in both families; all cases follow each other in one kernel, each a new generation.
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { makeWorld, type PolicyCase } from '../agent/policy/offline.ts';
import { PolicyReconciler } from '../agent/policy/reconciler.ts';
import { Bench } from './testing/bench.ts';
import { differs, familiesOf, rowsOf } from './testing/cases.ts';

const read = (name: string): PolicyCase[] =>
  readFileSync(new URL(`../agent/policy/testdata/${name}`, import.meta.url), 'utf8').trim().split('\n').map((line) => JSON.parse(line) as PolicyCase);

const files = ['surprises.jsonl', 'cnp-l34.jsonl', 'knp.jsonl'];
/** Judged by no policy: neighbour discovery and listener reports (RFC 4861, RFC 3810). */
const discovery = new Set([130, 131, 132, 133, 134, 135, 136, 137, 143]);

let bench: Bench;
let reconciler: PolicyReconciler;
beforeAll(() => {
  bench = new Bench();
  reconciler = new PolicyReconciler(bench.datapath);
});
afterAll(() => { bench.close(); });

describe.each(files)('%s', (file) => {
  test('every flow is judged in the kernel as the case says and as the offline engine says', async () => {
    const wrong: string[] = [];
    let judged = 0;
    for (const one of read(file)) {
      const world = makeWorld(one);
      const { endpoints, prefixes } = rowsOf(world, String(reconciler.generation));
      await reconciler.apply(world.image, prefixes, endpoints);
      one.flows.forEach((flow, index) => {
        if (flow.protocol === 'ICMPv6' && discovery.has(flow.icmpType!)) return;
        for (const family of familiesOf(flow)) {
          const found = differs(bench, world, flow, family);
          judged += 1;
          if (found !== undefined) wrong.push(`${one.id} flow ${index} ${found}`);
        }
      });
    }
    expect(wrong).toEqual([]);
    expect(judged).toBeGreaterThan(100);
  }, 300_000);
});
