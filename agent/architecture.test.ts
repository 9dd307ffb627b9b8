// The house rules of DESIGN that a machine can check: who may import whom, and how long a file may be.
import { readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from '@jest/globals';

const root = fileURLToPath(new URL('..', import.meta.url));
const tracked = execFileSync('git', ['ls-files', '-co', '--exclude-standard', '*.ts', '*.c', '*.h'], { cwd: root, encoding: 'utf8' }).trim().split('\n');
const sources = tracked.filter((file) => !/\.gen\.|testdata/.test(file));
const imports = (file: string): string[] => [...readFileSync(join(root, file), 'utf8').matchAll(/from '(\.[^']+)'/g)]
  .map((match) => relative(root, join(root, dirname(file), match[1]!)));

interface Rule { readonly name: string; readonly from: RegExp; readonly allowed: RegExp }
const rules: readonly Rule[] = [
  { name: 'kernel imports nothing of ours', from: /^agent\/kernel\//, allowed: /^agent\/kernel\// },
  { name: 'store imports nothing of ours', from: /^agent\/store\//, allowed: /^agent\/store\// },
  { name: 'the name server runs without the rest', from: /^agent\/names\/server\//, allowed: /^agent\/names\/server\// },
  { name: 'hubble never imports the agent', from: /^hubble\//, allowed: /^(hubble|bpf\/types\.gen)/ },
  { name: 'the policy compiler knows no kernel', from: /^agent\/policy\/(compile|merge|rules|validate|explain|suggest|offline|verdict|selector)\.ts$/, allowed: /^agent\/(policy|identity|errors)/ },
];

describe('imports', () => {
  test.each(rules)('$name', ({ from, allowed }) => {
    const files = sources.filter((file) => from.test(file) && file.endsWith('.ts') && !file.endsWith('.test.ts'));
    const wrong = files.flatMap((file) => imports(file).filter((target) => !allowed.test(target)).map((target) => `${file} -> ${target}`));
    expect(wrong).toEqual([]);
    expect(files.length).toBeGreaterThan(0);
  });
});

describe('files', () => {
  test('none is longer than 400 lines', () => {
    expect(sources.filter((file) => readFileSync(join(root, file), 'utf8').split('\n').length > 401)).toEqual([]);
  });
  test('each begins by saying what it is', () => {
    expect(sources.filter((file) => !file.endsWith('.test.ts') && !/^(\/\/|\/\*)/.test(readFileSync(join(root, file), 'utf8')))).toEqual([]);
  });
});
