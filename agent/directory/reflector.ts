// The manifest directory -> the manifests and problems tables, now and whenever a file changes. What turns bad in a file keeps
// its last good version (files.ts). Watches tell when to look; each look is a whole scan, so a lost event heals.
import { statSync, watch, type FSWatcher } from 'node:fs';
import { resolve } from 'node:path';
import { messageOf } from '../errors.ts';
import type { Table } from '../store/table.ts';
import { merge, readFile, type FileState } from './files.ts';
import { KeptFiles } from './kept.ts';
import { problemRow, problemsOf } from './problems.ts';
import { writer } from './reader.ts';
import { scan, shown, type Scan } from './scan.ts';
import type { ManifestRow, ProblemRow } from './tables.ts';
import { checkTrusted, trustOf, type Trust } from './trust.ts';

export { checkTrusted } from './trust.ts';

export interface DirectoryOptions {
  readonly dir: string;
  /** The directory as the user typed it: problems name files by it. */
  readonly display: string;
  readonly manifests: Table<ManifestRow>;
  readonly problems: Table<ProblemRow>;
  readonly trust?: Trust;
  /** Folder for the last good versions, over the life of an agent. */
  readonly keep?: string;
  readonly debounceMs?: number;
  /** How often the directory is looked at when no watch says a word. */
  readonly rescanMs?: number;
}

export interface DirectoryReflector {
  /** Reads what changed at once, without waiting for the kernel to tell. */
  readonly refresh: () => void;
  readonly stop: () => void;
}

interface Watched { readonly watcher: FSWatcher; readonly inode: bigint }

const defaultDebounceMs = 15;
const maxDelayMs = 25;
const defaultRescanMs = 2000;

/** Throws a ConfigError when the directory is missing or others could write to it. The first scan is done on return. */
export async function reflectDirectory(options: DirectoryOptions): Promise<DirectoryReflector> {
  const trust = options.trust ?? trustOf();
  checkTrusted(options.dir, trust);
  const synced = options.manifests.expect(writer);
  const reflector = new Reflector(options, trust);
  reflector.recall();
  reflector.refresh();
  synced();
  return { refresh: () => { reflector.refresh(); }, stop: () => { reflector.stop(); } };
}

class Reflector {
  readonly #options: DirectoryOptions;
  readonly #dir: string;
  readonly #trust: Trust;
  readonly #watched = new Map<string, Watched>();
  readonly #kept: KeptFiles | undefined;
  readonly #rescan: NodeJS.Timeout;
  #files = new Map<string, FileState>();
  /** Of the objects in the table that came from here. */
  #keys = new Set<string>();
  #timer: NodeJS.Timeout | undefined;
  #firstEventAt = 0;
  #watchError: string | undefined;
  #stopped = false;

  constructor(options: DirectoryOptions, trust: Trust) {
    this.#options = options;
    this.#dir = resolve(options.dir);
    this.#trust = trust;
    this.#kept = options.keep === undefined ? undefined : new KeptFiles(options.keep);
    this.#rescan = setInterval(() => { this.refresh(); }, options.rescanMs ?? defaultRescanMs);
  }

  /** What an agent before took for good comes first, as if it had been read before: so it stays where a file is bad now. */
  recall(): void {
    this.#files = this.#kept?.read((path) => this.#shown(path)) ?? new Map();
    this.#write(merge(this.#files).rows);
  }

  refresh(): void {
    if (this.#stopped) return;
    const { display } = this.#options;
    this.#watchError = undefined;
    const found = this.#scan();
    const problems: ProblemRow[] = [];
    const report = (severity: ProblemRow['severity'], message: string, mend?: string): void => {
      problems.push(problemRow(writer, severity, { file: display, line: 1, column: 1 }, [], message, mend));
    };
    if ('unreadable' in found) {
      report('error', `${found.unreadable}; what was read before keeps standing`);
      this.#forget([]);
    } else {
      this.#forget(found.folders);
      problems.push(...found.problems);
      this.#files = this.#read(found);
    }
    if (this.#watchError !== undefined) {
      report('warning', `${this.#watchError}; changes are found later`, 'sysctl -w fs.inotify.max_user_watches=524288 fs.inotify.max_user_instances=1024');
    }
    const merged = merge(this.#files);
    this.#options.problems.replace([...problems, ...merged.problems], problemsOf(writer));
    this.#write(merged.rows);
    const bad = new Set(this.#options.problems.rows().filter(({ severity }) => severity === 'error').map(({ source }) => source.file));
    this.#kept?.write(this.#files, (path) => bad.has(this.#shown(path)));
  }

  #write(rows: readonly ManifestRow[]): void {
    this.#options.manifests.replace(rows, ({ key }) => this.#keys.has(key));
    this.#keys = new Set(rows.map(({ key }) => key));
  }

  #shown(path: string): string { return shown(path, { dir: this.#dir, display: this.#options.display }); }

  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
    clearInterval(this.#rescan);
    this.#forget([]);
  }

  #scan(): ReturnType<typeof scan> {
    try {
      checkTrusted(this.#dir, this.#trust);
    } catch (error) {
      return { unreadable: messageOf(error) };
    }
    return scan({ dir: this.#dir, display: this.#options.display, trust: this.#trust, enter: (folder) => { this.#watch(folder); } });
  }

  /** Waits for a file that is being written to come to rest, but not for long: what is written shall count within 50 ms. */
  #schedule(): void {
    if (this.#stopped) return;
    const now = performance.now();
    if (this.#timer === undefined) this.#firstEventAt = now;
    else if (now - this.#firstEventAt > maxDelayMs) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.refresh();
    }, this.#options.debounceMs ?? defaultDebounceMs);
  }

  /** Set before the folder is read. A folder that was replaced has another inode: the old watch says nothing about it. */
  #watch(folder: string): void {
    try {
      const { ino: inode } = statSync(folder, { bigint: true });
      if (this.#watched.get(folder)?.inode === inode) return;
      this.#unwatch(folder);
      const watcher = watch(folder, () => { this.#schedule(); });
      watcher.on('error', () => { this.#unwatch(folder); });
      this.#watched.set(folder, { watcher, inode });
    } catch (error) {
      // Gone again, or unreadable: reading it says so. Anything else is a limit of the kernel's.
      if (!['ENOENT', 'EACCES', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '')) this.#watchError = messageOf(error);
    }
  }

  #unwatch(folder: string): void {
    this.#watched.get(folder)?.watcher.close();
    this.#watched.delete(folder);
  }

  #forget(keep: readonly string[]): void {
    const kept = new Set(keep);
    for (const folder of [...this.#watched.keys()]) if (!kept.has(folder)) this.#unwatch(folder);
  }

  /** A file that is refused as a whole (a link now, writable by others), or whose folder is, keeps its last good objects. */
  #read({ files, refused }: Scan): Map<string, FileState> {
    const next = new Map<string, FileState>();
    for (const [path, last] of this.#files) {
      if (!refused.some((one) => one === path || path.startsWith(`${one}/`))) continue;
      next.set(path, { stamp: '', objects: last.objects.map((object) => ({ ...object, old: true })), problems: [] });
    }
    for (const { path, stamp } of files) {
      const last = this.#files.get(path);
      const state = last?.stamp === stamp ? last : readFile(path, this.#shown(path), stamp, last);
      if (state !== undefined) next.set(path, state);
    }
    return next;
  }
}
