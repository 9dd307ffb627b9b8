// How problems are written down: one key per writer, file, position and message; paths as users know them from kubectl.
import type { ProblemRow, Source } from './tables.ts';

export type Path = readonly (string | number)[];

/** `spec.ingress[0].toPorts`; a key that is no plain word is quoted. */
export function formatPath(path: Path): string {
  return path.reduce<string>((text, step) => {
    if (typeof step === 'number') return `${text}[${step}]`;
    if (!/^[\w$-]+$/.test(step)) return `${text}[${JSON.stringify(step)}]`;
    return text === '' ? step : `${text}.${step}`;
  }, '');
}

/** `writer` marks whose problem it is, so that each writer replaces only its own rows. */
export function problemRow(
  writer: string, severity: ProblemRow['severity'], source: Source, path: Path, message: string, mend?: string,
): ProblemRow {
  return {
    key: `${writer}:${source.file}:${source.line}:${source.column}:${formatPath(path)}:${message}`,
    severity, source, field: formatPath(path), message, ...(mend === undefined ? {} : { mend }),
  };
}

export const problemsOf = (writer: string) => (row: ProblemRow): boolean => row.key.startsWith(`${writer}:`);
