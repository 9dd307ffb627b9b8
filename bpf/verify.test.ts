// The verifier's words, as kernels print them, and the shipped programs within the budget on this one.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { execFileSync } from 'node:child_process';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { buildBpf, findClang, objectPath } from './build.ts';
import { budget, countsOf, sourceOf, verify } from './verify.ts';

describe('the log', () => {
  test('counts', () => {
    const log = 'verification time 323386 usec\nstack depth 32+88+64\nprocessed 32969 insns (limit 1000000) max_states_per_insn 13 total_states 1209 peak_states 693 mark_read 0\n';
    expect(countsOf(log)).toEqual({ processed: 32969, verifyMs: 323.386, largestFrame: 88 });
  });
  test('the line of C', () => { expect(sourceOf('0: R1=ctx\n; int a = 1; @ x.h:1\n1: r0 = 1\n; return *p; @ x.h:9\n2: r0 = *(r2)\nR2 invalid mem access')).toBe('return *p; @ x.h:9'); });
  test('without one', () => { expect(sourceOf('0: R1=ctx\n')).toBeUndefined(); });
});

test('every program is within the budget', () => {
  buildBpf();
  const rows = verify(objectPath);
  if ('refused' in rows) throw new Error(rows.refused);
  expect(rows.map((row) => row.program)).toEqual(expect.arrayContaining(['from_workload', 'to_workload', 'from_netdev']));
  for (const row of rows) expect(row.processed).toBeLessThanOrEqual(budget);
});

test('a refusal names the line of C', () => {
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
