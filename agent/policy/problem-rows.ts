// What is wrong with one object of the policy kinds, as rows of the problems table; the key of each begins with the object's.
import type { ManifestRow, ProblemRow } from '../directory/tables.ts';
import type { Table } from '../store/table.ts';
import { formatPath, type Path } from './check.ts';

interface ReportedProblem { readonly path: Path; readonly message: string; readonly mend?: string; readonly severity?: 'error' | 'warning' }

export function reportProblems(table: Table<ProblemRow>, row: ManifestRow, problems: readonly ReportedProblem[]): void {
  table.write(problems.map(({ path, message, mend, severity }): ProblemRow => ({
    key: `${row.key} ${formatPath(path)} ${message}`, severity: severity ?? 'error', source: row.locate(path), field: formatPath(path),
    message: `${row.kind} ${row.name}: ${message}`, ...(mend === undefined ? {} : { mend }),
  })));
}

/** All of the object, or those of no field whose message begins so. */
export function clearProblems(table: Table<ProblemRow>, row: ManifestRow, message?: string): void {
  const start = message === undefined ? `${row.key} ` : `${row.key}  ${message}`;
  table.write([], table.rows().filter(({ key }) => key.startsWith(start)).map(({ key }) => key));
}
