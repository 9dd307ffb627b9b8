// One manifest file -> its objects, each with the position of every field, and what is wrong with the file. Never throws.
import { isDnsLabel, isDnsName, knownKinds } from './kinds.ts';
import { problemRow, type Path } from './problems.ts';
import type { ManifestRow, ProblemRow, Source } from './tables.ts';
import { limits, parseYaml } from './yaml.ts';

export const writer = 'directory';

export interface ManifestFile {
  readonly rows: readonly ManifestRow[];
  /** An error refuses the file; the last good version of its objects stays. */
  readonly problems: readonly ProblemRow[];
}

interface Candidate { readonly value: unknown; readonly locate: (path: Path) => Source }
type Report = (path: Path, message: string, mend?: string, severity?: ProblemRow['severity']) => void;

/** `file` is the path as the user would type it. */
export function readManifests(text: string, file: string): ManifestFile {
  const parsed = parseYaml(text, file);
  const problems: ProblemRow[] = parsed.errors.map(({ source, message }) => problemRow(writer, 'error', source, [], message));
  const rows = new Map<string, ManifestRow>();
  const candidates = parsed.documents.flatMap((document) => flatten(document, problems));
  if (candidates.length > limits.objects) {
    const source = candidates[limits.objects]!.locate([]);
    problems.push(problemRow(writer, 'error', source, [], `more than ${limits.objects} objects in one file`, 'split the file'));
    return { rows: [], problems };
  }
  for (const candidate of candidates) {
    const row = readObject(candidate, problems);
    if (row === undefined) continue;
    const first = rows.get(row.key);
    if (first === undefined) rows.set(row.key, row);
    else problems.push(duplicate(row, first));
  }
  return { rows: [...rows.values()], problems };
}

export function duplicate(second: ManifestRow, first: ManifestRow): ProblemRow {
  const { file, line } = first.source;
  const path = ['metadata', 'name'];
  return problemRow(writer, 'error', second.locate(path), path,
    `${describe(second)} is already defined in ${file}:${line}; that one stays`, 'delete one of them or rename it');
}

const describe = ({ kind, namespace, name }: ManifestRow): string => `${kind} ${namespace === '' ? name : `${namespace}/${name}`}`;

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

function flatten(candidate: Candidate, problems: ProblemRow[]): Candidate[] {
  const { value, locate } = candidate;
  if (!isRecord(value) || typeof value['kind'] !== 'string' || !/^([A-Z]\w*)?List$/.test(value['kind'])) return [candidate];
  const items = value['items'];
  if (!Array.isArray(items)) {
    problems.push(problemRow(writer, 'error', locate(['items']), ['items'], `a ${value['kind']} needs items, a list of objects`));
    return [];
  }
  return items.map((item: unknown, index) => ({ value: item, locate: (path: Path) => locate(['items', index, ...path]) }));
}

function readObject({ value, locate }: Candidate, problems: ProblemRow[]): ManifestRow | undefined {
  let sound = true;
  const report: Report = (path, message, mend, severity = 'error') => {
    problems.push(problemRow(writer, severity, locate(path), path, message, mend));
    sound = false;
  };
  if (!isRecord(value)) {
    report([], 'expected an object with apiVersion, kind and metadata');
    return undefined;
  }
  const { apiVersion, kind } = value;
  if (typeof kind !== 'string' || kind === '') report(['kind'], 'kind is missing', 'for example kind: Pod');
  if (typeof apiVersion !== 'string' || apiVersion === '') report(['apiVersion'], 'apiVersion is missing', 'for example apiVersion: v1');
  if (typeof kind !== 'string' || typeof apiVersion !== 'string' || !sound) return undefined;
  if (!Object.hasOwn(knownKinds, kind)) {
    report(['kind'], `${apiVersion} ${kind} is not handled yet`, undefined, 'warning');
    return undefined;
  }
  const known = knownKinds[kind]!;
  if (apiVersion !== known.apiVersion) {
    report(['apiVersion'], `${kind} of ${apiVersion} is not handled`, `use apiVersion: ${known.apiVersion}`);
    return undefined;
  }
  const meta = readMetadata(value['metadata'], kind, known.namespaced, report);
  if (meta === undefined || !sound) return undefined;
  return { key: `${kind}/${meta.namespace}/${meta.name}`, apiVersion, kind, ...meta, object: value, source: locate([]), locate };
}

function readMetadata(metadata: unknown, kind: string, namespaced: boolean, report: Report): { namespace: string; name: string } | undefined {
  if (!isRecord(metadata)) {
    report(['metadata'], 'metadata is missing', 'for example metadata: {name: web}');
    return undefined;
  }
  const { name, namespace } = metadata;
  if (name === undefined && metadata['generateName'] !== undefined) {
    report(['metadata', 'generateName'], 'generateName is not handled: a file needs names that stay', 'use metadata.name');
    return undefined;
  }
  const valid = kind === 'Namespace' ? isDnsLabel : isDnsName;
  if (typeof name !== 'string' || !valid(name)) {
    const found = name === undefined ? 'is missing' : `${JSON.stringify(name)} is no DNS name`;
    report(['metadata', 'name'], `metadata.name ${found}`, 'use a-z, 0-9 and "-", at most 63 characters, for example web-1');
    return undefined;
  }
  if (!namespaced) {
    if (namespace === undefined || namespace === null || namespace === '') return { namespace: '', name };
    report(['metadata', 'namespace'], `a ${kind} belongs to no namespace`, 'delete metadata.namespace');
    return undefined;
  }
  if (namespace === undefined || namespace === null) return { namespace: 'default', name };
  if (typeof namespace === 'string' && isDnsLabel(namespace)) return { namespace, name };
  report(['metadata', 'namespace'], `metadata.namespace ${JSON.stringify(namespace)} is no DNS label`, 'use a-z, 0-9 and "-", at most 63 characters');
  return undefined;
}
