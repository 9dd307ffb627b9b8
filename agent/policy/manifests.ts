// Files and folders as the offline verbs are given them -> objects of any kind, each with the position of every field.
// What cannot be read is a finding, never a throw.
import { readFileSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { parseYaml, limits } from '../directory/yaml.ts';
import { messageOf } from '../errors.ts';
import { isObject, type Path, type Place } from './check.ts';

const maxFiles = 5_000;

export interface Manifest {
  readonly kind: string;
  readonly object: Readonly<Record<string, unknown>>;
  /** Position of a field; of the nearest parent when it is absent. */
  readonly locate: (path: Path) => Place;
}

export interface Finding extends Place {
  readonly severity: 'error' | 'warning';
  /** Of a warning: what kind it is, for filters and annotations. */
  readonly name?: string;
  readonly field: string;
  readonly message: string;
  readonly mend?: string;
}

export interface Manifests { readonly manifests: readonly Manifest[]; readonly findings: readonly Finding[] }

/** `shop.yaml:4:7: spec.ingress[0]: message (mend)`; warnings say so, with their name. */
export function formatFinding({ severity, name, file, line, column, field, message, mend }: Finding): string {
  const warning = name === undefined ? 'warning' : `warning ${name}`;
  const parts = [`${file}:${line}:${column}`, ...(severity === 'warning' ? [warning] : []), ...(field === '' ? [] : [field]), message];
  return `${parts.join(': ')}${mend === undefined ? '' : ` (${mend})`}`;
}

/** Files as given; folders with every .yaml, .yml and .json file below them. */
export function readManifestFiles(paths: readonly string[]): Manifests {
  const manifests: Manifest[] = [];
  const findings: Finding[] = [];
  const fail = (file: string, message: string): void => { findings.push({ severity: 'error', file, line: 1, column: 1, field: '', message }); };
  const files = paths.flatMap((path) => listFiles(path, fail));
  if (files.length > maxFiles) fail(files[maxFiles]!, `more than ${maxFiles} files`);
  for (const file of files.slice(0, maxFiles)) {
    try {
      if (statSync(file).size > limits.fileBytes) throw new Error(`the file is larger than ${limits.fileBytes} bytes; split it`);
      const { documents, errors } = parseYaml(readFileSync(file, 'utf8'), file);
      for (const { source, message } of errors) findings.push({ severity: 'error', ...source, field: '', message });
      for (const { value, locate } of documents) manifests.push(...objectsOf(value, locate));
    } catch (error) {
      fail(file, messageOf(error));
    }
  }
  return { manifests, findings };
}

function listFiles(path: string, fail: (file: string, message: string) => void): string[] {
  try {
    if (!statSync(path).isDirectory()) return [path];
    return readdirSync(path, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile() && /\.(ya?ml|json)$/.test(entry.name))
      .map((entry) => join(entry.parentPath, entry.name)).sort();
  } catch (error) {
    fail(path, messageOf(error));
    return [];
  }
}

/** A List is its items. */
function objectsOf(value: unknown, locate: (path: Path) => Place): Manifest[] {
  if (!isObject(value) || typeof value['kind'] !== 'string') return [];
  const kind = value['kind'];
  if (!/^([A-Z]\w*)?List$/.test(kind) || !Array.isArray(value['items'])) return [{ kind, object: value, locate }];
  return value['items'].flatMap((item: unknown, index) => objectsOf(item, (path) => locate(['items', index, ...path])));
}
