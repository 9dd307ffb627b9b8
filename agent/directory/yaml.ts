// YAML text -> documents as plain JSON values with the position of every field. Bounded in aliases and depth: a YAML bomb
// is an error with its position like any other mistake, never a throw.
import { LineCounter, isAlias, isMap, isScalar, isSeq, parseAllDocuments, visit, type Document, type Node } from 'yaml';
import { messageOf } from '../errors.ts';
import type { Path } from './problems.ts';
import type { Source } from './tables.ts';

export const limits = { fileBytes: 1024 * 1024, depth: 64, aliases: 64, objects: 5000, keys: 1000 } as const;

export interface YamlDocument {
  /** Undefined when `error` says why there is none. */
  readonly value: unknown;
  readonly locate: (path: Path) => Source;
  /** The text of a part, to tell whether it changed. */
  readonly textAt: (path: Path) => string;
}

export interface YamlError { readonly source: Source; readonly message: string }

export interface YamlFile { readonly documents: readonly YamlDocument[]; readonly errors: readonly YamlError[] }

export function parseYaml(text: string, file: string): YamlFile {
  const deep = tooDeepAt(text);
  if (deep !== undefined) return failure(file, deep, `nested deeper than ${limits.depth} levels`);
  const lines = new LineCounter();
  const at = (offset: number): Source => {
    const { line, col } = lines.linePos(offset);
    return { file, line: Math.max(line, 1), column: Math.max(col, 1) };
  };
  const documents: YamlDocument[] = [];
  const errors: YamlError[] = [];
  try {
    for (const document of parseAllDocuments(text, { lineCounter: lines, prettyErrors: false, merge: true, uniqueKeys: false })) {
      // What follows the first error in a document is mostly its echo.
      const first = document.errors[0] ?? document.warnings[0];
      const wrong = first === undefined ? wrongKey(document) : { offset: first.pos[0], message: sentence(first.message) };
      if (wrong !== undefined) {
        errors.push({ source: at(wrong.offset), message: wrong.message });
        continue;
      }
      const locate = (path: Path): Source => at(nodeAt(document, path).offset);
      const value = plainValue(document);
      if ('error' in value) errors.push({ source: locate(value.path), message: value.error });
      else if (value.json !== null && value.json !== undefined) {
        const textAt = (path: Path): string => text.slice(...(nodeAt(document, path).node?.range?.slice(0, 2) ?? [0, 0]));
        documents.push({ value: value.json, locate, textAt });
      }
    }
  } catch (error) {
    return failure(file, { line: 1, column: 1 }, error instanceof RangeError ? 'nested too deeply' : messageOf(error));
  }
  return { documents, errors };
}

const failure = (file: string, at: { line: number; column: number }, message: string): YamlFile =>
  ({ documents: [], errors: [{ source: { file, ...at }, message }] });

const sentence = (message: string): string =>
  (message.includes('call stack') ? `nested deeper than ${limits.depth} levels` : message.split('\n')[0]!.trim());

/** The parser's own test for keys that stand twice takes time with their number squared. */
function wrongKey(document: Document): { offset: number; message: string } | undefined {
  let wrong: { offset: number; message: string } | undefined;
  visit(document, {
    Map: (_, map) => {
      const seen = new Set<string>();
      for (const { key } of map.items) {
        const offset = (key as Node | null)?.range?.[0] ?? map.range?.[0] ?? 0;
        const name = isScalar(key) ? String(key.value) : '';
        if (!isScalar(key) || (typeof key.value === 'object' && key.value !== null)) wrong = { offset, message: 'the key of a map must be text' };
        else if (seen.has(name) && name !== '<<') wrong = { offset, message: `the key ${name} stands twice in one map` };
        else if (seen.size >= limits.keys) wrong = { offset: map.range?.[0] ?? 0, message: `more than ${limits.keys} keys in one map` };
        if (wrong !== undefined) return visit.BREAK;
        seen.add(name);
      }
      return undefined;
    },
  });
  return wrong;
}

function plainValue(document: Document): { json: unknown } | { error: string; path: Path } {
  try {
    const json: unknown = document.toJS({ maxAliasCount: limits.aliases });
    const wrong = notJson(json, 0);
    return wrong === undefined ? { json } : { error: wrong.message, path: wrong.path.reverse() };
  } catch (error) {
    const message = error instanceof ReferenceError ? `too many aliases: at most ${limits.aliases} are expanded` : messageOf(error);
    return { error: message, path: [] };
  }
}

/** Aliases can nest what the text does not, and YAML knows values that JSON lacks. The path is inside out. */
function notJson(value: unknown, depth: number): { message: string; path: (string | number)[] } | undefined {
  const wrong = (message: string): { message: string; path: (string | number)[] } => ({ message, path: [] });
  if (depth > limits.depth) return wrong(`nested deeper than ${limits.depth} levels`);
  if (typeof value === 'number' && !Number.isFinite(value)) return wrong(`${value} is no JSON number`);
  if (typeof value === 'bigint' || value instanceof Uint8Array || value instanceof Date) return wrong('only strings, numbers, booleans, lists and maps are allowed');
  if (typeof value !== 'object' || value === null) return undefined;
  for (const [key, item] of Object.entries(value)) {
    const inner = notJson(item, depth + 1);
    if (inner === undefined) continue;
    inner.path.push(key);
    return inner;
  }
  return undefined;
}

/** The parser recurses and slows down with depth: brackets and indentation are counted before it sees the text. */
function tooDeepAt(text: string): { line: number; column: number } | undefined {
  let brackets = 0;
  let line = 1;
  let lineStart = 0;
  let dashes = 0;
  let indent = true;
  for (let index = 0; index < text.length; index += 1) {
    const char = text.charCodeAt(index);
    if (char === 0x0a) { line += 1; lineStart = index + 1; dashes = 0; indent = true; }
    else if (char === 0x5b || char === 0x7b) brackets += 1;
    else if (char === 0x5d || char === 0x7d) brackets = Math.max(0, brackets - 1);
    else if ((char === 0x2d || char === 0x3f) && text.charCodeAt(index + 1) === 0x20) dashes += 1;
    if (char > 0x20) indent = false;
    if (indent && index - lineStart > limits.depth * 8) return { line, column: 1 };
    if (brackets > limits.depth * 4 || dashes > limits.depth * 4) return { line, column: index - lineStart + 1 };
  }
  return undefined;
}

/** A value and the offset of its key or list item; of the nearest parent when the path leads nowhere. */
function nodeAt(document: Document, path: Path): { node: Node | null; offset: number } {
  let node = document.contents as Node | null;
  let offset = node?.range?.[0] ?? document.range?.[0] ?? 0;
  for (const step of path) {
    if (isAlias(node)) node = node.resolve(document) as Node | null ?? null;
    if (isMap(node)) {
      const pair = node.items.find((item) => isScalar(item.key) && String(item.key.value) === String(step));
      if (pair === undefined) break;
      offset = (pair.key as Node).range?.[0] ?? offset;
      node = pair.value as Node | null;
    } else if (isSeq(node)) {
      const item = node.items[Number(step)] as Node | undefined;
      if (item === undefined) break;
      offset = item.range?.[0] ?? offset;
      node = item;
    } else break;
  }
  return { node, offset };
}
