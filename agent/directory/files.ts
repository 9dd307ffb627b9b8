// What stands for each manifest file: its objects as they are, and of what is broken in it the last good version.
import { isDeepStrictEqual } from 'node:util';
import { messageOf } from '../errors.ts';
import { problemRow } from './problems.ts';
import { duplicate, readManifests, unreadable, writer, type ManifestFile, type ReadObject } from './reader.ts';
import { readBounded } from './scan.ts';
import type { ManifestRow, ProblemRow } from './tables.ts';

export interface StandingObject extends ReadObject {
  /** Not what the file says now, but the last good version. */
  readonly old: boolean;
}

export interface FileState {
  readonly stamp: string;
  readonly objects: readonly StandingObject[];
  readonly problems: readonly ProblemRow[];
}

/** Undefined when the file is gone. */
export function readFile(path: string, display: string, stamp: string, last: FileState | undefined): FileState | undefined {
  try {
    return { stamp, ...standing(readText(readBounded(path), display, last), last) };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    return { stamp, ...standing(unreadable(problemRow(writer, 'error', start(display), [], messageOf(error))), last) };
  }
}

const start = (file: string): ManifestRow['source'] => ({ file, line: 1, column: 1 });

/** Editors empty a file before they write it: nothing at all is not yet a wish to delete what was in it. */
function readText(text: string, display: string, last: FileState | undefined): ManifestFile {
  if (text !== '' || last === undefined || last.objects.length === 0) return readManifests(text, display);
  return unreadable(problemRow(writer, 'warning', start(display), [], 'the file is empty; what was in it keeps standing', 'delete the file to delete its objects'));
}

function standing(file: ManifestFile, last: FileState | undefined): Omit<FileState, 'stamp'> {
  const before = new Map(last?.objects.map((object) => [object.row.key, object]));
  const objects = file.objects.map((object) => ({ ...unchanged(before.get(object.row.key), object), old: false }));
  const there = new Set(objects.map(({ row }) => row.key));
  for (const [key, object] of before) {
    if (!there.has(key) && (file.unknown || file.broken.has(key))) objects.push({ ...object, old: true });
  }
  return { objects, problems: file.problems };
}

/** The row as it stands when nothing about it changed: then the table sees no change. */
function unchanged(before: ReadObject | undefined, now: ReadObject): ReadObject {
  const equal = before !== undefined && before.text === now.text
    && isDeepStrictEqual(before.row.source, now.row.source) && isDeepStrictEqual(before.row.object, now.row.object);
  return equal ? { ...now, row: before.row } : now;
}

/** All files in one: of an object in two files the one stays that is first by path; an old version yields without a word. */
export function merge(files: ReadonlyMap<string, FileState>): { rows: ManifestRow[]; problems: ProblemRow[] } {
  const sorted = [...files].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, file]) => file);
  const rows = new Map<string, ManifestRow>();
  const problems = sorted.flatMap((file) => file.problems);
  for (const old of [false, true]) {
    for (const object of sorted.flatMap((file) => file.objects)) {
      if (object.old !== old) continue;
      const first = rows.get(object.row.key);
      if (first === undefined) rows.set(object.row.key, object.row);
      else if (!old) problems.push(duplicate(object.row, first));
    }
  }
  return { rows: [...rows.values()], problems };
}
