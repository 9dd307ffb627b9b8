// The table of flags in hubble/README.md against the command and against the tests it names: every flag of observe stands in one row, every
// row names tests that are there, and every flag is in one of them.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from '@jest/globals';
import { Command } from 'commander';
import { register } from './observe.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const readme = readFileSync(join(root, 'hubble/README.md'), 'utf8');
const section = readme.slice(readme.indexOf('## Flags of `observe`'));

const files: Readonly<Record<string, readonly string[]>> = {
  R: ['hubble/testdata/observe.jsonl'], N: ['cli/observe-naive.test.ts'], O: ['cli/observe.test.ts'], C: ['cli/connection.test.ts'], H: ['cli/hubble.test.ts'], F: ['cli/recording.test.ts'], L: ['cli/observe-http.test.ts'],
  V: ['kernel-tests/verbs.e2e.test.ts'], E: ['kernel-tests/hubble.e2e.test.ts'], Y: ['kernel-tests/relay.e2e.test.ts'],
};
const text = (file: string): string => readFileSync(join(root, file), 'utf8');

const rows = section.split('\n').filter((line) => /^\| --/.test(line)).map((line) => {
  const [, flags = '', tests = ''] = line.split('|');
  return { line, flags: [...flags.replaceAll(/\([^)]*\)/g, '').matchAll(/--[a-z0-9-]+/g)].map(([flag]) => flag), tests: tests.trim().split(' ') };
});

const program = new Command();
register(program);
const options = program.commands[0]!.options.filter(({ hidden, long }) => !hidden && long != null);

/** In short, in a table of names by flag (the naive one leaves the direction out), in an argument with its value. */
function isIn(flag: string, content: string): boolean {
  const name = flag.slice(2);
  const option = options.find(({ long }) => long === flag)!;
  const plain = name.replace(/^(from|to)-/, '');
  const word = (one: string): RegExp => new RegExp(`(?<![a-z-])${one}(?![a-z-])`);
  return word(flag).test(content) || (option.short !== undefined && new RegExp(`['"]${option.short}['"]`).test(content)) || new RegExp(`['"]?(?<![a-z-])${plain}['"]?: \\[`).test(content) || content.includes(`HUBBLE_${name.toUpperCase().replaceAll('-', '_')}`)
    || content.includes(`flag: '${name}'`) || new RegExp(`\\$\\{direction\\}${plain}['\`]`).test(content);
}

describe('the table', () => {
  test('every flag of observe stands in exactly one row, and nothing else', () => {
    const listed = rows.flatMap(({ flags }) => flags);
    expect(listed.filter((flag, index) => listed.indexOf(flag) !== index)).toEqual([]);
    expect(listed.sort()).toEqual(options.map(({ long }) => long!).sort());
  });

  test.each(rows)('$line', ({ flags, tests }) => {
    expect(tests.filter((letter) => !(letter in files))).toEqual([]);
    const named = [...new Set(tests.flatMap((letter) => files[letter]!))];
    expect(named.filter((file) => !existsSync(join(root, file)))).toEqual([]);
    expect(flags.filter((flag) => !named.some((file) => isIn(flag, text(file))))).toEqual([]);
    // No test is named for nothing.
    expect(tests.filter((letter) => !flags.some((flag) => files[letter]!.some((file) => isIn(flag, text(file)))))).toEqual([]);
  });

  test('and the legend says which file each letter is', () => {
    for (const file of Object.values(files).flat()) expect(section).toContain(file.startsWith('kernel-tests/') ? '`kernel-tests/`' : file.replace(/^hubble\//, ''));
  });
});
