// What a bench says: rows of text for people, the same as JSON for programs.

/** `target`: of the issue, absent where none is named; `held` then says whether the figure is within it. */
export interface Figure { readonly name: string; readonly value: number; readonly unit: string; readonly base?: number; readonly ratio?: number; readonly target?: string; readonly held?: boolean }

export const atMost = (limit: number, value: number, unit = ''): Pick<Figure, 'target' | 'held'> => ({ target: `at most ${limit}${unit}`, held: value <= limit });
export const atLeast = (limit: number, value: number, unit = ''): Pick<Figure, 'target' | 'held'> => ({ target: `at least ${limit}${unit}`, held: value >= limit });

const digits = (value: number): string => (Math.abs(value) >= 100 ? Math.round(value).toString() : value.toFixed(Math.abs(value) >= 10 ? 1 : 2));

export function print(title: string, figures: readonly Figure[]): void {
  const rows = figures.map(({ name, value, unit, base, ratio, target, held }) => [
    name, `${digits(value)} ${unit}`, base === undefined ? '' : `${digits(base)} ${unit}`, ratio === undefined ? '' : `${ratio.toFixed(2)}x`,
    target ?? '', held === undefined ? '' : held ? 'held' : 'behind',
  ]);
  const head = ['figure', 'weir', 'against', 'ratio', 'target', ''];
  const widths = head.map((text, column) => Math.max(text.length, ...rows.map((row) => row[column]!.length)));
  const line = (row: readonly string[]): string => row.map((text, column) => text.padEnd(widths[column]!)).join('  ').trimEnd();
  process.stdout.write(`\n${title}\n${[head, ...rows].map(line).join('\n')}\n`);
}
