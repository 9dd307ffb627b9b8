// Test lines of one kernel against the floor table: what passed, what failed, what is without by name.
import type { Floor, Without } from './floor.ts';
import type { TestLine } from './reporter.ts';

export interface Judged {
  readonly passed: readonly TestLine[];
  readonly failed: readonly TestLine[];
  readonly without: readonly { readonly line: TestLine; readonly why: string }[];
}

const reasonOf = (line: TestLine, rows: readonly Without[]): string | undefined => rows.find((row) => row.status === line.status && row.test.test(`${line.file} ${line.name}`))?.why;

const missing = (file: string, why: string): TestLine => ({ file, name: '', status: 'failed', ms: 0, why });

/** `files`: those that had to run; one that told nothing is a failure. `count`: of tests, as jest says at its end; undefined when it did not come to it. */
export function judge(floor: Floor, files: readonly string[], lines: readonly TestLine[], count: number | undefined): Judged {
  const passed = lines.filter((line) => line.status === 'passed');
  const others = lines.filter((line) => line.status !== 'passed').map((line) => ({ line, why: reasonOf(line, floor.without) }));
  const silent = files.filter((file) => !lines.some((line) => line.file === file)).map((file) => missing(file, 'no test of this file came to its end'));
  const told = lines.filter((line) => line.name !== '').length;
  const lost = count === told ? [] : [missing('', count === undefined ? 'jest did not come to its end' : `jest ran ${count} tests and ${told} told of themselves`)];
  const failed = others.filter((one) => one.why === undefined).map(({ line }) => (line.status === 'skipped' ? { ...line, why: `skipped, and the floor table wants it on ${floor.kernel}` } : line));
  return { passed, failed: [...failed, ...silent, ...lost], without: others.flatMap(({ line, why }) => (why === undefined ? [] : [{ line, why }])) };
}
