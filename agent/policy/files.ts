// Policy files for the offline verbs: YAML documents with the position of every field, each object checked on its own.
import { readFileSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { LineCounter, isMap, isScalar, isSeq, parseAllDocuments, type Document, type Node } from 'yaml';
import { messageOf } from '../errors.ts';
import { formatPath, type Path } from './check.ts';
import { policyRef } from './rules.ts';
import { check, isPolicyKind } from './validate.ts';

const MAX_FILE_BYTES = 8 * 1024 * 1024;
const MAX_ALIASES = 100;

export interface Finding {
  readonly severity: 'error' | 'warning';
  readonly file: string;
  readonly line: number;
  readonly column: number;
  readonly field: string;
  readonly message: string;
  readonly mend?: string;
}

export interface Lint {
  readonly policies: number;
  readonly findings: readonly Finding[];
}

type Position = Pick<Finding, 'file' | 'line' | 'column'>;

/** `shop.yaml:4:7: spec.ingress[0]: message (mend)`; warnings say so. */
export function formatFinding({ severity, file, line, column, field, message, mend }: Finding): string {
  const parts = [`${file}:${line}:${column}`, ...(severity === 'warning' ? ['warning'] : []), ...(field === '' ? [] : [field]), message];
  return `${parts.join(': ')}${mend === undefined ? '' : ` (${mend})`}`;
}

/** Files as given; folders with every .yaml, .yml and .json file below them. */
export function lintPolicies(paths: readonly string[]): Lint {
  const findings: Finding[] = [];
  const seen = new Map<string, Position>();
  for (const file of paths.flatMap((path) => listFiles(path, findings))) {
    try {
      if (statSync(file).size > MAX_FILE_BYTES) throw new Error(`the file is larger than ${MAX_FILE_BYTES} bytes`);
      lintText(readFileSync(file, 'utf8'), file, findings, seen);
    } catch (error) {
      findings.push({ severity: 'error', file, line: 1, column: 1, field: '', message: messageOf(error) });
    }
  }
  return { policies: seen.size, findings };
}

function listFiles(path: string, findings: Finding[]): string[] {
  try {
    if (!statSync(path).isDirectory()) return [path];
    return readdirSync(path, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile() && /\.(ya?ml|json)$/.test(entry.name))
      .map((entry) => join(entry.parentPath, entry.name)).sort();
  } catch (error) {
    findings.push({ severity: 'error', file: path, line: 1, column: 1, field: '', message: messageOf(error) });
    return [];
  }
}

function lintText(text: string, file: string, findings: Finding[], seen: Map<string, Position>): void {
  const lines = new LineCounter();
  const position = (offset: number): Position => {
    const { line, col } = lines.linePos(offset);
    return { file, line: Math.max(line, 1), column: Math.max(col, 1) };
  };
  for (const document of parseAllDocuments(text, { lineCounter: lines, prettyErrors: false })) {
    for (const error of document.errors) findings.push({ severity: 'error', ...position(error.pos[0]), field: '', message: error.message });
    if (document.errors.length > 0) continue;
    const object: unknown = document.toJS({ maxAliasCount: MAX_ALIASES });
    const kind = (object as { kind?: unknown } | null)?.kind;
    if (!isPolicyKind(kind)) continue;
    const locate = (path: Path): Position => position(offsetOf(document, path));
    lintObject(object as Record<string, unknown>, locate, findings, seen);
  }
}

function lintObject(object: Record<string, unknown>, locate: (path: Path) => Position, findings: Finding[], seen: Map<string, Position>): void {
  const { problems, unsupported } = check(object);
  for (const { path, message, mend, severity } of problems) {
    findings.push({ severity, ...locate(path), field: formatPath(path), message, ...(mend === undefined ? {} : { mend }) });
  }
  for (const { path, message } of unsupported) findings.push({ severity: 'warning', ...locate(path), field: formatPath(path), message });
  const { kind, namespace, name } = policyRef(object);
  const key = `${kind}/${namespace}/${name}`;
  const first = seen.get(key);
  if (first === undefined) seen.set(key, locate(['metadata', 'name']));
  else {
    findings.push({ severity: 'error', ...locate(['metadata', 'name']), field: 'metadata.name', message: `${key} is also in ${first.file}:${first.line}` });
  }
}

/** Where a field stands, or its nearest parent that is there. */
function offsetOf(document: Document.Parsed, path: Path): number {
  let node: Node | null = document.contents;
  let offset = node?.range?.[0] ?? 0;
  for (const part of path) {
    if (isMap(node)) {
      const pair = node.items.find((item) => isScalar(item.key) && String(item.key.value) === String(part));
      if (pair === undefined) break;
      offset = (pair.key as Node).range?.[0] ?? offset;
      node = pair.value as Node | null;
    } else if (isSeq(node)) {
      node = (node.items[Number(part)] ?? null) as Node | null;
      offset = node?.range?.[0] ?? offset;
    } else break;
  }
  return offset;
}
