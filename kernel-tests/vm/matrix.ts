// The feature matrix of kernel-tests/README.md: what the last run on each kernel found, kept in build/vm/results, written between two marks.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { floors, groups, isOn, testFiles, type Group } from './floor.ts';
import type { Judged } from './judge.ts';
import { checkout } from './machine.ts';
import type { TestLine } from './reporter.ts';

type Counts = readonly [passed: number, failed: number, without: number];
export interface Run { readonly release: string; readonly checks: Readonly<Record<string, string>> }
export interface Found extends Run { readonly files: Readonly<Record<string, Counts>> }

const folder = join(checkout, 'build/vm/results');
const readme = join(checkout, 'kernel-tests/README.md');
const marks = ['<!-- matrix: written by npm run test:kernel -- --matrix -->', '<!-- end of matrix -->'] as const;
/** Rows of `weir check` that differ between kernels. */
const shownChecks = ['BTF of the kernel', 'programs load', 'TCX links'];

interface CheckRow { readonly name: string; readonly ok: boolean }

export function checksOf(text: string): Record<string, string> {
  return Object.fromEntries((JSON.parse(text) as CheckRow[]).map((row) => [row.name, row.ok ? 'yes' : 'no']));
}

const read = (kernel: string): Found | undefined => {
  const path = join(folder, `${kernel}.json`);
  return existsSync(path) ? JSON.parse(readFileSync(path, 'utf8')) as Found : undefined;
};

function countsOf(judged: Judged): Record<string, Counts> {
  const all = [...judged.passed, ...judged.failed, ...judged.without.map(({ line }) => line)];
  const of = (lines: readonly TestLine[], file: string): number => lines.filter((line) => line.file === file).length;
  return Object.fromEntries([...new Set(all.map((line) => line.file))].map((file) =>
    [file, [of(judged.passed, file), of(judged.failed, file), of(judged.without.map(({ line }) => line), file)]]));
}

/** Files that did not run this time keep what an earlier run found. */
export function keep(kernel: string, run: Run, judged: Judged): void {
  mkdirSync(folder, { recursive: true });
  const before = read(kernel);
  const found: Found = { ...run, files: { ...(before?.release === run.release ? before.files : {}), ...countsOf(judged) } };
  writeFileSync(join(folder, `${kernel}.json`), JSON.stringify(found, null, 1));
}

/** Passed of all that count; how many files of the group, when it were not all of them. */
export function told(group: Group, kernel: string, found: Found, files: readonly string[]): string {
  const wanted = files.filter((file) => group.files.test(file));
  const ran = wanted.flatMap((file) => { const counts = found.files[file]; return counts === undefined ? [] : [counts]; });
  if (ran.length === 0) return isOn(group, kernel) ? 'not run' : '-';
  const [passed, failed, without] = [0, 1, 2].map((index) => ran.reduce((sum, counts) => sum + counts[index]!, 0)) as [number, number, number];
  return [...(passed + failed > 0 ? [`${passed} of ${passed + failed}`] : []), ...(without > 0 ? [`${without} without`] : []), ...(ran.length < wanted.length ? [`${ran.length} of ${wanted.length} files`] : [])].join(', ');
}

function matrix(found: ReadonlyMap<string, Found>): string {
  const files = testFiles();
  const names = [...found.keys()];
  const row = (name: string, cell: (one: Found, kernel: string) => string): string => `| ${[name, ...names.map((kernel) => cell(found.get(kernel)!, kernel))].join(' | ')} |`;
  return [
    `| ${['', ...names].join(' | ')} |`, `|${'---|'.repeat(names.length + 1)}`, row('release', (one) => one.release),
    ...shownChecks.map((check) => row(check, (one) => one.checks[check] ?? 'not asked')), ...groups.map((group) => row(group.name, (one, kernel) => told(group, kernel, one, files))),
  ].join('\n');
}

export function writeMatrix(): void {
  const found = new Map(floors.filter(({ kernel }) => kernel !== 'host').flatMap(({ kernel }) => { const one = read(kernel); return one === undefined ? [] : [[kernel, one] as const]; }));
  const [before, rest] = readFileSync(readme, 'utf8').split(marks[0]) as [string, string];
  writeFileSync(readme, `${before}${marks[0]}\n${matrix(found)}\n${marks[1]}${rest.split(marks[1])[1]}`);
}
