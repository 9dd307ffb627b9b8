// `weir bpf policy` from real maps: every interval with its bounds, however deep the tree of them is.
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { Bench } from '../../bpf/testing/bench.ts';
import { action } from '../../bpf/types.gen.ts';
import { endpointTable } from '../endpoint/tables.ts';
import type { Agent } from '../agent.ts';
import { bpfPolicy } from './bpf-policy.ts';

let bench: Bench;
beforeAll(() => { bench = new Bench(); });
afterAll(() => { bench.close(); });

const tcp = 6 * 65_536;
const end = { ifindex: 7, ipv4: '10.0.0.1', ipv6: 'fd00::1', mac: '02:00:00:00:00:01' };
const listed = () => bpfPolicy({ datapath: bench.datapath, tables: { endpoints: endpointTable() }, policy: { numbers: { policyOf: () => undefined } } } as unknown as Agent)
  .filter((row) => row.direction === 'ingress');

test.each([1, 2, 11, 12, 17, 18, 187, 188, 289, 1_000, 3_179, 3_180, 10_000])('%i intervals', (count) => {
  const steps = (index: number) => (index % 3 === 0 ? [] : [{ mask: 1n, action: action.ACTION_ALLOW }, { mask: 6n, word: 2, action: action.ACTION_DENY }].slice(0, index % 3));
  const lower = (index: number): number => (index === 0 ? 0 : tcp + index * 3);
  bench.policy(1, { defaultAction: action.ACTION_DEFAULT_DENY, intervals: Array.from({ length: count }, (_, index) => ({ lower: lower(index), steps: steps(index) })) });
  bench.endpoint({ ...end, ingress: 1 });
  expect(listed()).toEqual(Array.from({ length: count }, (_, index) => ({
    endpoint: 'interface 7', direction: 'ingress', policy: 1,
    from: index === 0 ? 'the first' : `TCP/${index * 3}`, to: index === count - 1 ? 'the last' : `TCP/${index === 0 ? 2 : index * 3 + 2}`,
    rules: ['default deny', 'allow bits 1 of word 0', 'allow bits 1 of word 0; deny bits 6 of word 2'][index % 3],
  })));
});
