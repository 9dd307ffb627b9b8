// The verifier's words, as kernels print them, and the shipped programs within the budget on this one.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { execFileSync } from 'node:child_process';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { buildBpf, findClang, objectPath, sockmapPath } from './build.ts';
import { whyNoSockmap } from '../agent/datapath/sockmap.ts';
import { callsOf, deepestChain } from './stack.ts';
import { budget, countsOf, sourceOf, verify } from './verify.ts';

/** Instructions of 8 bytes: a call of subprogram `callee`, or one that is none. */
const code = (...callees: (number | undefined)[]): Uint8Array => Uint8Array.from(callees.flatMap((callee) => (callee === undefined ? [0xb7, 0, 0, 0, 0, 0, 0, 0] : [0x85, 0x10, 0, 0, callee, 0, 0, 0])));

describe('the stack along calls', () => {
  const rows: { name: string; starts: number[]; instructions: Uint8Array; frames: number[]; depth: number | undefined }[] = [
    { name: 'no calls', starts: [0], instructions: code(undefined), frames: [40], depth: 64 },
    { name: 'a frame of nothing takes a step', starts: [0, 1], instructions: code(1, undefined), frames: [0, 0], depth: 64 },
    { name: 'the deeper one of two', starts: [0, 2, 3], instructions: code(1, 2, undefined, undefined), frames: [32, 64, 96], depth: 128 },
    { name: 'a chain of three, found again from elsewhere', starts: [0, 2, 3], instructions: code(1, 2, 2, undefined), frames: [32, 64, 96], depth: 192 },
    { name: 'calls that the kernel does not show', starts: [0, 1], instructions: code(0, undefined), frames: [32, 32], depth: undefined },
  ];
  test.each(rows)('$name', ({ starts, instructions, frames, depth }) => {
    const calls = callsOf({ instructions, starts });
    expect(calls && deepestChain(calls, frames)).toBe(depth);
  });
});

describe('the log', () => {
  test('counts', () => {
    const log = 'verification time 323386 usec\nstack depth 32+88+64\nprocessed 32969 insns (limit 1000000) max_states_per_insn 13 total_states 1209 peak_states 693 mark_read 0\n';
    expect(countsOf(log)).toEqual({ processed: 32969, verifyMs: 323.386, largestFrame: 88 });
  });
  test('the line of C', () => { expect(sourceOf('0: R1=ctx\n; int a = 1; @ x.h:1\n1: r0 = 1\n; return *p; @ x.h:9\n2: r0 = *(r2)\nR2 invalid mem access')).toBe('return *p; @ x.h:9'); });
  test('without one', () => { expect(sourceOf('0: R1=ctx\n')).toBeUndefined(); });
});

test.each([
  { name: 'weir.o', path: objectPath, programs: ['from_workload', 'to_workload', 'from_netdev'] },
  ...(whyNoSockmap() === undefined ? [{ name: 'sockmap.o', path: sockmapPath, programs: ['sockmap_join', 'sockmap_send'] }] : []),
])('every program of $name is within the budget', ({ path, programs }) => {
  buildBpf();
  const rows = verify(path);
  if ('refused' in rows) throw new Error(rows.refused);
  expect(rows.map((row) => row.program)).toEqual(expect.arrayContaining(programs));
  for (const { processed, largestFrame, deepestChain: chain } of rows) {
    expect(processed).toBeLessThanOrEqual(budget);
    expect(chain).toBeGreaterThanOrEqual(largestFrame);
    expect(chain).toBeLessThanOrEqual(512);
  }
});

(findClang() === undefined ? test.skip : test)('a refusal names the line of C', () => {
  const folder = mkdtempSync(join(tmpdir(), 'weir-verify-'));
  try {
    writeFileSync(join(folder, 'bad.c'), 'struct __sk_buff { unsigned words[48]; };\n__attribute__((section("tc"), used))\nint from_workload(struct __sk_buff *skb)\n{\n\tlong *where = (long *)(long)skb->words[0];\n\treturn *where;\n}\n');
    execFileSync(findClang()!, ['-O2', '-g', '-target', 'bpf', '-c', join(folder, 'bad.c'), '-o', join(folder, 'bad.o')]);
    const found = verify(join(folder, 'bad.o'));
    expect(found).toEqual({ refused: expect.stringMatching(/from_workload[^]*return \*where;/) });
  } finally {
    rmSync(folder, { recursive: true });
  }
});
