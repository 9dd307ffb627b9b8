// What the manifest directory holds right now: every manifest file below it with a stamp that changes when the file does,
// every folder to watch, and what was refused by name. A whole scan, since it is cheap and cannot miss what a race hid.
import { closeSync, constants, fstatSync, lstatSync, openSync, readdirSync, readSync, type Dirent } from 'node:fs';
import { isUtf8 } from 'node:buffer';
import { join, relative } from 'node:path';
import { messageOf } from '../errors.ts';
import { problemRow } from './problems.ts';
import { writer } from './reader.ts';
import type { ProblemRow } from './tables.ts';
import { distrust, type Trust } from './trust.ts';
import { limits } from './yaml.ts';

const maxFiles = 5000;
const maxFolderDepth = 16;

export interface FoundFile { readonly path: string; readonly stamp: string }
export interface Scan {
  readonly folders: readonly string[];
  readonly files: readonly FoundFile[];
  /** Paths that are there but not read. */
  readonly refused: readonly string[];
  readonly problems: readonly ProblemRow[];
}

export interface ScanOptions {
  readonly dir: string;
  /** The same directory as the user typed it. */
  readonly display: string;
  readonly trust: Trust;
  /** Called before a folder is read, so that a watch set there misses nothing. */
  readonly enter: (folder: string) => void;
}

/** A path below `dir` as the user would type it. */
export const shown = (path: string, { dir, display }: Pick<ScanOptions, 'dir' | 'display'>): string => join(display, relative(dir, path));

/** `unreadable` when the directory itself cannot be read: nothing is known then, so nothing may be deleted. */
export function scan({ dir, display, trust, enter }: ScanOptions): Scan | { readonly unreadable: string } {
  const folders: string[] = [];
  const files: FoundFile[] = [];
  const refused: string[] = [];
  const problems: ProblemRow[] = [];
  const refuse = (path: string, message: string, mend?: string): void => {
    refused.push(path);
    problems.push(problemRow(writer, 'error', { file: shown(path, { dir, display }), line: 1, column: 1 }, [], message, mend));
  };
  const queue = [{ folder: dir, depth: 0 }];
  for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
    const { folder, depth } = next;
    let entries: Dirent[];
    try {
      enter(folder);
      entries = readdirSync(folder, { withFileTypes: true });
    } catch (error) {
      if (folder === dir) return { unreadable: messageOf(error) };
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') refuse(folder, messageOf(error));
      continue;
    }
    folders.push(folder);
    for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
      const path = join(folder, entry.name);
      if (entry.name.startsWith('.')) continue;
      if (!entry.isDirectory() && !/\.(ya?ml|json)$/.test(entry.name)) {
        if (entry.isSymbolicLink()) refuse(path, 'symbolic links are not followed', 'put the folder itself here');
        continue;
      }
      const stamp = stampOf(path, entry, trust, refuse);
      if (stamp === undefined) continue;
      if (!entry.isDirectory()) files.push({ path, stamp });
      else if (depth < maxFolderDepth) queue.push({ folder: path, depth: depth + 1 });
      else refuse(path, `folders are nested deeper than ${maxFolderDepth}`);
    }
  }
  if (files.length > maxFiles) refuse(dir, `${files.length} manifest files; only the first ${maxFiles} are read`, 'use several directories');
  return { folders, files: files.slice(0, maxFiles), refused, problems };
}

function stampOf(path: string, entry: Dirent, trust: Trust, refuse: (path: string, message: string, mend?: string) => void): string | undefined {
  if (!entry.isDirectory() && !entry.isFile()) {
    refuse(path, entry.isSymbolicLink() ? 'symbolic links are not followed' : 'is no regular file', 'put the file itself here');
    return undefined;
  }
  try {
    const found = lstatSync(path, { bigint: true });
    const wrong = distrust(path, { uid: Number(found.uid), gid: Number(found.gid), mode: Number(found.mode) }, trust);
    if (wrong === undefined) return [found.ino, found.size, found.mtimeNs, found.ctimeNs, ...justChanged(Number(found.mtimeMs))].join(':');
    refuse(path, wrong.message, wrong.mend);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') refuse(path, messageOf(error));
  }
  return undefined;
}

/** Two writes within one tick of the kernel's clock have the same mtime: such a file is read once more. */
const tickMs = 50;
const justChanged = (mtimeMs: number): string[] => (Math.abs(Date.now() - mtimeMs) < tickMs ? ['just changed'] : []);

/** The text of a regular file of bounded size; throws a sentence. */
export function readBounded(path: string): string {
  const fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    if (!fstatSync(fd).isFile()) throw new Error('is no regular file');
    const buffer = Buffer.alloc(limits.fileBytes + 1);
    let length = 0;
    for (let got = -1; got !== 0 && length < buffer.length; length += got) got = readSync(fd, buffer, length, buffer.length - length, null);
    if (length > limits.fileBytes) throw new Error(`larger than ${limits.fileBytes} bytes; split it`);
    const bytes = buffer.subarray(0, length);
    if (!isUtf8(bytes)) throw new Error('the text is not UTF-8');
    return bytes.toString('utf8');
  } finally {
    closeSync(fd);
  }
}
