// The generated interfaces are those of the compiled object.
import { readFileSync } from 'node:fs';
import { expect, test } from '@jest/globals';
import { Btf, elfSection } from '../agent/kernel/btf.ts';
import { buildBpf, objectPath } from './build.ts';
import { generate, generatedPath } from './generate.ts';

test('types.gen.ts is what lib/types.h says (else: node bpf/generate.ts)', () => {
  buildBpf();
  expect(readFileSync(generatedPath, 'utf8')).toBe(generate(new Btf(elfSection(readFileSync(objectPath), '.BTF'))));
});
