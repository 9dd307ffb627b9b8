// The pieces of a schema: each shape checks one value and says what it found and what it expected.
// schema.ts builds the policy kinds from them; null counts as absent, as the Kubernetes API server takes it.
import { flowText, nearest } from './mend.ts';

export type Path = readonly (string | number)[];

/** Where something is written. */
export interface Place { readonly file: string; readonly line: number; readonly column: number }

export interface Problem {
  readonly path: Path;
  readonly message: string;
  /** What to write instead. */
  readonly mend?: string;
  readonly severity: 'error' | 'warning';
  /** Of a warning: what kind it is. */
  readonly name?: string;
}

export type Report = (problem: Problem) => void;
export type Shape = (value: unknown, path: Path, report: Report) => void;
/** For a field that does not belong: what to write instead. */
export type Hint = string | ((value: unknown) => string | undefined);

export const formatPath = (path: Path): string =>
  path.map((part, index) => (typeof part === 'number' ? `[${part}]` : index === 0 ? part : `.${part}`)).join('');

/** The way back. */
export const parsePath = (text: string): (string | number)[] =>
  [...text.matchAll(/\[(\d+)\]|([^.[\]]+)/g)].map(([, index, name]) => (index === undefined ? name! : Number(index)));

export const found = (value: unknown): string => {
  if (value === null || value === undefined) return 'nothing';
  if (Array.isArray(value)) return 'a list';
  if (typeof value === 'object') return `an object (${shorten(flowText(value))})`;
  return typeof value === 'string' ? shorten(JSON.stringify(value)) : `the ${typeof value} ${String(value)}`;
};

const shorten = (text: string): string => (text.length > 60 ? `${text.slice(0, 57)}...` : text);

export const fail = (report: Report, path: Path, message: string, mend?: string): void =>
  report({ path, message, severity: 'error', ...(mend === undefined ? {} : { mend }) });

export const isAbsent = (value: unknown): value is null | undefined => value === undefined || value === null;
export const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

export const anything: Shape = () => {};

export interface ObjectRules {
  readonly required?: readonly string[];
  /** Exactly one of these is there. */
  readonly oneOf?: readonly string[];
  readonly hints?: Readonly<Record<string, Hint>>;
  /** For a value that is no object at all. */
  readonly form?: Hint;
}

const hintText = (hint: Hint | undefined, value: unknown): string | undefined => (typeof hint === 'function' ? hint(value) : hint);

export function object(name: string, fields: Readonly<Record<string, Shape>>, rules: ObjectRules = {}): Shape {
  const names = Object.keys(fields);
  return (value, path, report) => {
    if (!isObject(value)) {
      fail(report, path, `${name} must be an object with the fields ${names.join(', ')}; found ${found(value)}`, hintText(rules.form, value));
      return;
    }
    for (const [field, item] of Object.entries(value)) {
      const shape = Object.hasOwn(fields, field) ? fields[field] : undefined;
      if (shape !== undefined) {
        if (!isAbsent(item)) shape(item, [...path, field], report);
        continue;
      }
      const near = nearest(field, names);
      const mend = hintText(rules.hints?.[field], item) ?? (near === undefined ? undefined : `did you mean \`${near}\`?`);
      fail(report, [...path, field], `unknown field \`${field}\`: ${name} has ${names.join(', ')}`, mend);
    }
    for (const field of rules.required ?? []) {
      if (isAbsent(value[field])) fail(report, path, `${name} needs the field \`${field}\``);
    }
    if (rules.oneOf !== undefined) exactlyOne(name, value, rules.oneOf, path, report);
  };
}

function exactlyOne(name: string, value: Record<string, unknown>, fields: readonly string[], path: Path, report: Report): void {
  const there = fields.filter((field) => !isAbsent(value[field]));
  if (there.length === 1) return;
  const what = there.length === 0 ? 'none is there' : `${there.join(' and ')} are there`;
  fail(report, path, `${name} needs exactly one of ${fields.join(', ')}; ${what}`);
}

export interface ListRules { readonly max?: number; readonly min?: number; readonly form?: Hint }

export function list(name: string, item: Shape, rules: ListRules = {}): Shape {
  return (value, path, report) => {
    if (!Array.isArray(value)) {
      fail(report, path, `${name} must be a list; found ${found(value)}`, hintText(rules.form, value) ?? `write [${flowText(value)}]`);
      return;
    }
    if (rules.max !== undefined && value.length > rules.max) {
      fail(report, path, rules.max === 0 ? `${name} is no longer supported` : `${name} holds ${value.length} items; the most is ${rules.max}`);
    }
    if (rules.min !== undefined && value.length < rules.min) fail(report, path, `${name} needs at least ${rules.min} item`);
    value.forEach((one, index) => item(one, [...path, index], report));
  };
}

export interface TextRules {
  readonly max?: number;
  /** Returns what is wrong with it. */
  readonly test?: (text: string) => string | undefined;
  readonly form?: Hint;
}

export function text(name: string, rules: TextRules = {}): Shape {
  return (value, path, report) => {
    if (typeof value !== 'string') {
      const quoted = typeof value === 'number' || typeof value === 'boolean' ? `write it in quotes: "${value}"` : undefined;
      fail(report, path, `${name} must be text; found ${found(value)}`, hintText(rules.form, value) ?? quoted);
      return;
    }
    const long = rules.max !== undefined && Buffer.byteLength(value) > rules.max;
    const wrong = long ? `is ${Buffer.byteLength(value)} bytes long; the most is ${rules.max}` : rules.test?.(value);
    if (wrong !== undefined) fail(report, path, `${name} ${wrong}; found ${found(value)}`, hintText(rules.form, value));
  };
}

export function choice(name: string, allowed: readonly string[], hints: Readonly<Record<string, string>> = {}): Shape {
  return (value, path, report) => {
    if (typeof value === 'string' && allowed.includes(value)) return;
    const near = typeof value === 'string' ? nearest(value, allowed) : undefined;
    const mend = (typeof value === 'string' ? hints[value] : undefined) ?? (near === undefined ? undefined : `did you mean \`${near}\`?`);
    fail(report, path, `${name} must be one of ${allowed.join(', ')}; found ${found(value)}`, mend);
  };
}

export function integer(name: string, min: number, max: number): Shape {
  return (value, path, report) => {
    if (typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max) return;
    const plain = typeof value === 'string' && /^[0-9]+$/.test(value) ? `write it without quotes: ${value}` : undefined;
    fail(report, path, `${name} must be a whole number from ${min} to ${max}; found ${found(value)}`, plain);
  };
}

export const flag = (name: string): Shape => (value, path, report) => {
  if (typeof value !== 'boolean') fail(report, path, `${name} must be true or false; found ${found(value)}`);
};

/** An object whose keys are free. */
export function map(name: string, item: Shape, key: (key: string) => string | undefined = () => undefined): Shape {
  return (value, path, report) => {
    if (!isObject(value)) {
      fail(report, path, `${name} must be an object; found ${found(value)}`);
      return;
    }
    for (const [field, one] of Object.entries(value)) {
      const wrong = key(field);
      if (wrong !== undefined) fail(report, [...path, field], wrong);
      item(one, [...path, field], report);
    }
  };
}
