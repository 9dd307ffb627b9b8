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

export function clearProblems(table: Table<ProblemRow>, row: ManifestRow): void {
  table.write([], table.rows().filter(({ key }) => key.startsWith(`${row.key} `)).map(({ key }) => key));
}
