// One manifest file -> its objects, each with the position of every field, and what is wrong with the file. Never throws.
import { isDnsLabel, isDnsName, knownKinds } from './kinds.ts';
import { labelProblem } from './labels.ts';
import { problemRow, type Path } from './problems.ts';
import type { ManifestRow, ProblemRow } from './tables.ts';
import { limits, parseYaml, type YamlDocument } from './yaml.ts';

export const writer = 'directory';

export interface ManifestFile {
  readonly objects: readonly ReadObject[];
  readonly problems: readonly ProblemRow[];
  /** Objects that are there with an error: their last good versions stay. */
  readonly broken: ReadonlySet<string>;
  /** Some part cannot be told: what it held before may be any object of the file that is missing now. */
  readonly unknown: boolean;
}

export interface ReadObject { readonly row: ManifestRow; readonly text: string }

interface Candidate extends YamlDocument { readonly value: unknown }
type Report = (path: Path, message: string, mend?: string, severity?: ProblemRow['severity']) => void;

/** `file` is the path as the user would type it. */
export function readManifests(text: string, file: string): ManifestFile {
  const parsed = parseYaml(text, file);
  const problems: ProblemRow[] = parsed.errors.map(({ source, message }) => problemRow(writer, 'error', source, [], message));
  const candidates = parsed.documents.flatMap((document) => flatten(document, problems));
  if (candidates.length > limits.objects) {
    const source = candidates[limits.objects]!.locate([]);
    return unreadable(problemRow(writer, 'error', source, [], `more than ${limits.objects} objects in one file`, 'split the file'));
  }
  const objects = new Map<string, ReadObject>();
  const broken = new Set<string>();
  let unknown = problems.length > 0;
  for (const candidate of candidates) {
    const { row, key, wrong } = readObject(candidate, problems);
    const first = row === undefined ? undefined : objects.get(row.key);
    if (first !== undefined) problems.push(duplicate(row!, first.row));
    else if (row !== undefined) objects.set(row.key, { row, text: candidate.textAt([]) });
    else if (key !== undefined) broken.add(key);
    else if (wrong) unknown = true;
  }
  return { objects: [...objects.values()], problems, broken, unknown };
}

/** Nothing can be told about the file but this. */
export const unreadable = (problem: ProblemRow): ManifestFile =>
  ({ objects: [], problems: [problem], broken: new Set(), unknown: true });

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
  const { value, locate, textAt } = candidate;
  if (!isRecord(value) || typeof value['kind'] !== 'string' || !/^([A-Z]\w*)?List$/.test(value['kind'])) return [candidate];
  const items = value['items'];
  if (!Array.isArray(items)) {
    problems.push(problemRow(writer, 'error', locate(['items']), ['items'], `a ${value['kind']} needs items, a list of objects`));
    return [];
  }
  return items.map((value: unknown, index) => {
    const inner = (path: Path): Path => ['items', index, ...path];
    return { value, locate: (path) => locate(inner(path)), textAt: (path) => textAt(inner(path)) };
  });
}

/** The row of a sound object; of a broken one its key, if that much can be told. */
interface Reading { readonly row?: ManifestRow; readonly key?: string; readonly wrong: boolean }

function readObject({ value, locate }: Candidate, problems: ProblemRow[]): Reading {
  let wrong = false;
  const report: Report = (path, message, mend, severity = 'error') => {
    problems.push(problemRow(writer, severity, locate(path), path, message, mend));
    wrong ||= severity === 'error';
  };
  if (!isRecord(value)) {
    report([], 'expected an object with apiVersion, kind and metadata');
    return { wrong };
  }
  const { apiVersion, kind } = value;
  if (typeof kind !== 'string' || kind === '') report(['kind'], 'kind is missing', 'for example kind: Pod');
  if (typeof apiVersion !== 'string' || apiVersion === '') report(['apiVersion'], 'apiVersion is missing', 'for example apiVersion: v1');
  if (typeof kind !== 'string' || kind === '') return { wrong };
  if (!Object.hasOwn(knownKinds, kind)) {
    report(['kind'], `kind ${kind} is not handled yet`, undefined, 'warning');
    return { wrong };
  }
  const known = knownKinds[kind]!;
  if (typeof apiVersion === 'string' && apiVersion !== '' && apiVersion !== known.apiVersion && known.also?.includes(apiVersion) !== true) {
    report(['apiVersion'], `${kind} of ${apiVersion} is not handled`, `use apiVersion: ${known.apiVersion}`);
  }
  const meta = readMetadata(value['metadata'], kind, known.namespaced, report);
  if (meta === undefined) return { wrong };
  checkLabels(value['metadata'], report);
  const key = `${kind}/${meta.namespace}/${meta.name}`;
  if (wrong) return { key, wrong };
  return { row: { key, apiVersion: known.apiVersion, kind, ...meta, object: value, source: locate([]), locate }, wrong };
}

function checkLabels(metadata: unknown, report: Report): void {
  const labels = isRecord(metadata) ? metadata['labels'] : undefined;
  if (labels === undefined || labels === null) return;
  if (!isRecord(labels)) report(['metadata', 'labels'], 'labels must be a map of text to text', 'for example labels: {app: web}');
  else {
    for (const [key, value] of Object.entries(labels)) {
      const found = labelProblem(key, value);
      if (found !== undefined) report(['metadata', 'labels', key], found.message, found.mend);
    }
  }
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
