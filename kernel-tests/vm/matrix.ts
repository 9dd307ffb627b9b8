// The feature matrix of kernel-tests/README.md: what the last run on each kernel found, kept in build/vm/results, written between two marks.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { floors, groups } from './floor.ts';
import type { Judged } from './judge.ts';
import { checkout } from './machine.ts';

type Counts = readonly [passed: number, failed: number, without: number];
export interface Found { readonly release: string; readonly checks: Readonly<Record<string, string>>; readonly groups: Readonly<Record<string, Counts>> }

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

export function countsOf(judged: Judged): Record<string, Counts> {
  const counts = groups.map(({ name, files }): [string, Counts] => [name, [judged.passed.filter((line) => files.test(line.file)).length,
    judged.failed.filter((line) => files.test(line.file)).length, judged.without.filter(({ line }) => files.test(line.file)).length]]);
  return Object.fromEntries(counts.filter(([, sums]) => sums.some((sum) => sum > 0)));
}

/** Groups that did not run this time keep what an earlier run found. */
export function keep(kernel: string, release: string, checks: Readonly<Record<string, string>>, judged: Judged): void {
  mkdirSync(folder, { recursive: true });
  const before = read(kernel);
  const found: Found = { release, checks, groups: { ...(before?.release === release ? before.groups : {}), ...countsOf(judged) } };
  writeFileSync(join(folder, `${kernel}.json`), JSON.stringify(found, null, 1));
}

const told = (counts: Counts | undefined): string => (counts === undefined ? 'not run' : [
  ...(counts[0] > 0 || counts[1] > 0 ? [`${counts[0]} of ${counts[0] + counts[1]}`] : []), ...(counts[2] > 0 ? [`${counts[2]} without`] : [])].join(', '));

export function matrix(found: ReadonlyMap<string, Found>): string {
  const names = [...found.keys()];
  const row = (name: string, cell: (one: Found) => string): string => `| ${[name, ...names.map((kernel) => cell(found.get(kernel)!))].join(' | ')} |`;
  return [
    `| ${['', ...names].join(' | ')} |`, `|${'---|'.repeat(names.length + 1)}`, row('release', (one) => one.release),
    ...shownChecks.map((check) => row(check, (one) => one.checks[check] ?? 'not asked')), ...groups.map((group) => row(group.name, (one) => told(one.groups[group.name]))),
  ].join('\n');
}

export function writeMatrix(): void {
  const found = new Map(floors.flatMap(({ kernel }) => { const one = read(kernel); return one === undefined ? [] : [[kernel, one] as const]; }));
  const [before, rest] = readFileSync(readme, 'utf8').split(marks[0]) as [string, string];
  writeFileSync(readme, `${before}${marks[0]}\n${matrix(found)}\n${marks[1]}${rest.split(marks[1])[1]}`);
}
