// How every verb prints: tables for people, JSON and YAML for programs, errors with what to do next.
import Table from 'cli-table3';
import { stringify } from 'yaml';
import { ConfigError, messageOf } from '../agent/errors.ts';
import { escape, escapeJson } from '../hubble/print/escape.ts';

export type Output = 'table' | 'json' | 'yaml';
export const outputs: readonly Output[] = ['table', 'json', 'yaml'];

/** What comes from workloads, labels or packets must not reach the terminal as commands. Lines and tabs of our own text stay. */
export const printable = (text: string): string => text.replaceAll(/[^\n\t]+/g, escape);

/** The same in strings of JSON, and of YAML in double quotes: what is read back is what was there. */
const escaped = (text: string): string => text.replaceAll(/[^\n\t]+/g, escapeJson);

export type Row = Readonly<Record<string, unknown>>;

const isObject = (value: unknown): value is object => typeof value === 'object' && value !== null;

const cell = (value: unknown): string => {
  if (value === undefined || value === null) return '';
  if (Array.isArray(value)) return value.map(cell).join('\n');
  if (!isObject(value)) return printable(String(value));
  return Object.entries(value).filter(([, part]) => part !== undefined && part !== null)
    .map(([key, part]) => `${printable(key)}:${isObject(part) ? `\n${cell(part).replace(/^/gm, '  ')}` : ` ${cell(part)}`}`).join('\n');
};

const isNumber = (value: unknown): boolean => typeof value === 'number' || (typeof value === 'string' && /^\d+(\.\d+)?$/.test(value));

export function tableText(rows: readonly Row[], columns: readonly string[]): string {
  const table = new Table({
    head: columns.map((column) => column.replace(/([A-Z])/g, ' $1').toUpperCase()),
    chars: { top: '', 'top-mid': '', 'top-left': '', 'top-right': '', bottom: '', 'bottom-mid': '', 'bottom-left': '', 'bottom-right': '', left: '', 'left-mid': '', mid: '', 'mid-mid': '', right: '', 'right-mid': '', middle: '  ' },
    style: { head: [], border: [], 'padding-left': 0, 'padding-right': 0 },
    colAligns: columns.map((column) => (rows.length > 0 && rows.every((row) => isNumber(row[column])) ? 'right' : 'left')),
  });
  for (const row of rows) table.push(columns.map((column) => cell(row[column])));
  return table.toString().split('\n').map((line) => line.trimEnd()).join('\n');
}

const briefLength = 40;

/** A value on one line, cut: for tables of rows that are larger than a screen. */
export function brief(value: unknown): string {
  const flat = (part: unknown): string => (Array.isArray(part) ? part.map(flat).join(', ')
    : isObject(part) ? Object.entries(part).map(([key, inner]) => `${key}=${flat(inner)}`).join(', ') : String(part ?? ''));
  const text = flat(value).replaceAll(/\s+/g, ' ');
  return text.length > briefLength ? `${text.slice(0, briefLength - 1)}…` : text;
}

function yamlOf(value: object): string {
  const text = stringify(value, { blockQuote: 'literal', lineWidth: 0 });
  return text === escaped(text) ? text : escaped(stringify(value, { lineWidth: 0, defaultStringType: 'QUOTE_DOUBLE', defaultKeyType: 'QUOTE_DOUBLE' }));
}

const jsonOf = (value: object): string => `${escaped(JSON.stringify(value, null, 2))}\n`;

/** Rows as the user asked for; `columns` are those of the table, the other forms have all fields. */
export function printRows(rows: readonly Row[], columns: readonly string[], output: Output): void {
  if (output === 'json') process.stdout.write(jsonOf(rows));
  else if (output === 'yaml') process.stdout.write(yamlOf(rows));
  else process.stdout.write(`${rows.length === 0 ? 'nothing yet' : tableText(rows, columns)}\n`);
}

export function printObject(object: Row, output: Output): void {
  if (output === 'json') process.stdout.write(jsonOf(object));
  else if (output === 'yaml') process.stdout.write(yamlOf(object));
  else process.stdout.write(`${tableText(Object.entries(object).map(([field, value]) => ({ field, value })), ['field', 'value'])}\n`);
}

/** For people: what went wrong and what to do. Anything but a ConfigError is a bug and keeps its stack. */
export function printError(error: unknown): void {
  if (!(error instanceof ConfigError)) {
    process.stderr.write(`weir: ${error instanceof Error ? error.stack ?? error.message : messageOf(error)}\n`);
    return;
  }
  process.stderr.write(`weir: ${printable(error.message)}\n`);
  if (error.mend !== undefined) process.stderr.write(`  ${printable(error.mend)}\n`);
}
