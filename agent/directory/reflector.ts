// The manifest directory -> the manifests and problems tables, now and whenever a file changes. A file with an error keeps its
// last good version; an object defined twice stays where it was first.
import { watch, type FSWatcher } from 'node:fs';
import { isDeepStrictEqual } from 'node:util';
import { messageOf } from '../errors.ts';
import type { Table } from '../store/table.ts';
import { problemRow, problemsOf } from './problems.ts';
import { duplicate, readManifests, writer, type ManifestFile } from './reader.ts';
import { readBounded, scan } from './scan.ts';
import type { ManifestRow, ProblemRow } from './tables.ts';
import { checkTrusted, trustOf, type Trust } from './trust.ts';

export interface DirectoryOptions {
  /** As the user typed it: problems name files by it. */
  readonly dir: string;
  readonly manifests: Table<ManifestRow>;
  readonly problems: Table<ProblemRow>;
  readonly trust?: Trust;
  readonly debounceMs?: number;
  /** How often the directory is read when a watch cannot be set. */
  readonly pollMs?: number;
}

export interface DirectoryReflector {
  /** Reads what changed at once, without waiting for the kernel to tell. */
  readonly refresh: () => void;
  readonly close: () => void;
}

interface FileState { readonly stamp: string; readonly rows: readonly ManifestRow[]; readonly problems: readonly ProblemRow[] }

/** Throws a ConfigError when the directory is missing or others could write to it. The first scan is done on return. */
export function reflectDirectory(options: DirectoryOptions): DirectoryReflector {
  const trust = options.trust ?? trustOf();
  checkTrusted(options.dir, trust);
  const reflector = new Reflector(options, trust);
  const synced = options.manifests.expect(writer);
  reflector.refresh();
  synced();
  return { refresh: () => { reflector.refresh(); }, close: () => { reflector.close(); } };
}

class Reflector {
  readonly #options: DirectoryOptions;
  readonly #trust: Trust;
  readonly #watchers = new Map<string, FSWatcher>();
  #files = new Map<string, FileState>();
  #timer: NodeJS.Timeout | undefined;
  #watchError: string | undefined;
  #closed = false;

  constructor(options: DirectoryOptions, trust: Trust) {
    this.#options = options;
    this.#trust = trust;
  }

  refresh(): void {
    const { dir } = this.#options;
    this.#watchError = undefined;
    const found = scan({ dir, trust: this.#trust, enter: (folder) => { this.#watch(folder); } });
    const problems: ProblemRow[] = [];
    const report = (severity: ProblemRow['severity'], message: string, mend?: string): void => {
      problems.push(problemRow(writer, severity, { file: dir, line: 1, column: 1 }, [], message, mend));
    };
    if ('unreadable' in found) {
      report('error', `${found.unreadable}; what was read before keeps running`);
      this.#forget([]);
    } else {
      this.#forget(found.folders);
      problems.push(...found.problems);
      const refused = new Set(found.problems.map(({ source }) => source.file));
      this.#files = this.#read(found.files, refused);
    }
    if (this.#watchError !== undefined) report('warning', `${this.#watchError}; changes are looked for every second`, 'sysctl -w fs.inotify.max_user_watches=524288 fs.inotify.max_user_instances=1024');
    this.#publish(problems);
    if (this.#watchError !== undefined || 'unreadable' in found) this.#schedule(this.#options.pollMs ?? 1000);
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#forget([]);
  }

  #schedule(delayMs: number): void {
    if (this.#closed || this.#timer !== undefined) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.refresh();
    }, delayMs);
  }

  #watch(folder: string): void {
    if (this.#watchers.has(folder) || this.#closed) return;
    try {
      const watcher = watch(folder, { persistent: true }, () => { this.#schedule(this.#options.debounceMs ?? 15); });
      watcher.on('error', () => { this.#unwatch(folder); });
      this.#watchers.set(folder, watcher);
    } catch (error) {
      // Gone again, or unreadable: reading it says so. Anything else is a limit of the kernel's.
      if (!['ENOENT', 'EACCES', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '')) this.#watchError = messageOf(error);
    }
  }

  #unwatch(folder: string): void {
    this.#watchers.get(folder)?.close();
    this.#watchers.delete(folder);
  }

  #forget(keep: readonly string[]): void {
    const kept = new Set(keep);
    for (const folder of [...this.#watchers.keys()]) if (!kept.has(folder)) this.#unwatch(folder);
  }

  /** A file that is refused as a whole (a link now, writable by others) keeps its last good objects like any other. */
  #read(files: readonly { path: string; stamp: string }[], refused: ReadonlySet<string>): Map<string, FileState> {
    const next = new Map<string, FileState>();
    for (const path of refused) {
      const last = this.#files.get(path);
      if (last !== undefined) next.set(path, { ...last, stamp: '', problems: [] });
    }
    for (const { path, stamp } of files) {
      const last = this.#files.get(path);
      if (last?.stamp === stamp) next.set(path, last);
      else {
        const state = readFile(path, stamp, last);
        if (state !== undefined) next.set(path, state);
      }
    }
    return next;
  }

  #publish(problems: ProblemRow[]): void {
    const { manifests } = this.#options;
    const merged = new Map<string, ManifestRow>();
    const rows = [...this.#files].sort(([a], [b]) => (a < b ? -1 : 1)).flatMap(([, file]) => file.rows);
    const holder = (row: ManifestRow): boolean => manifests.get(row.key)?.source.file === row.source.file;
    for (const row of rows.filter(holder)) merged.set(row.key, row);
    for (const row of rows) {
      const first = merged.get(row.key);
      if (first === undefined) merged.set(row.key, row);
      else if (first !== row) problems.push(duplicate(row, first));
    }
    for (const file of this.#files.values()) problems.push(...file.problems);
    manifests.replace([...merged.values()].map((row) => same(manifests.get(row.key), row)));
    this.#options.problems.replace(problems, problemsOf(writer));
  }
}

/** The row as it stands when nothing but the file's stamp changed: then the table sees no change. */
function same(old: ManifestRow | undefined, row: ManifestRow): ManifestRow {
  const equal = old !== undefined && isDeepStrictEqual(old.source, row.source) && isDeepStrictEqual(old.object, row.object);
  return equal ? old : row;
}

function readFile(path: string, stamp: string, last: FileState | undefined): FileState | undefined {
  let file: ManifestFile;
  try {
    file = readManifests(readBounded(path), path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    file = { rows: [], problems: [problemRow(writer, 'error', { file: path, line: 1, column: 1 }, [], messageOf(error))] };
  }
  const refused = file.problems.some(({ severity }) => severity === 'error');
  if (!refused || last === undefined) return { stamp, ...file };
  return { stamp, rows: last.rows, problems: file.problems };
}
