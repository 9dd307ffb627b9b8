// What is downloaded or made once and used by every run: below the user's cache folder, each thing under the hash of what it comes from.
// What has not been used for longest goes when all of it takes more than `limitBytes`.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, statSync, utimesSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';

export const cacheFolder = join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'weir', 'vm');
/** Twice what the kernels of kernels.ts and their disks take. */
const limitBytes = 2 * 2 ** 30;
/** Nothing that another run has just taken, and not yet opened, goes. */
const safeMs = 3_600_000;

export interface Kept { readonly name: string; readonly bytes: number; readonly usedMs: number }

/** Names of what goes, so that the rest takes `limit` bytes or less. */
export function tooMany(kept: readonly Kept[], limit: number, nowMs: number): string[] {
  const byUse = kept.toSorted((a, b) => b.usedMs - a.usedMs);
  let sum = 0;
  return byUse.filter(({ bytes, usedMs }) => {
    sum += bytes;
    return sum > limit && nowMs - usedMs > safeMs;
  }).map(({ name }) => name);
}

function prune(): void {
  const names = readdirSync(cacheFolder).filter((name) => name !== 'apt' && !name.startsWith('draft-'));
  // Another run may prune at the same time: what it took is not told of.
  const lines = spawnSync('du', ['-s', '-B1', ...names], { cwd: cacheFolder, encoding: 'utf8' }).stdout.trim().split('\n').map((line) => line.split('\t') as [string, string]);
  const kept = lines.flatMap(([bytes, name]): Kept[] => {
    const usedMs = statSync(join(cacheFolder, name), { throwIfNoEntry: false })?.mtimeMs;
    return usedMs === undefined ? [] : [{ name, bytes: Number(bytes), usedMs }];
  });
  for (const name of tooMany(kept, limitBytes, Date.now())) rmSync(join(cacheFolder, name), { recursive: true, force: true });
}

export const digest = (...parts: readonly (string | Uint8Array)[]): string => {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(`${part.length} `).update(part);
  return hash.digest('hex').slice(0, 16);
};

/** Its time says when it was used last. */
const touch = (path: string): void => { utimesSync(path, new Date(), new Date()); };

/** The path of `name`, made by `make` when it is not there yet; half-made things never get the name. */
export function cached(name: string, make: (draft: string) => void): string {
  const path = join(cacheFolder, name);
  if (existsSync(path)) {
    touch(path);
    return path;
  }
  mkdirSync(cacheFolder, { recursive: true });
  const folder = mkdtempSync(join(cacheFolder, 'draft-'));
  try {
    const draft = join(folder, 'made');
    make(draft);
    renameSync(draft, path);
    touch(path);
  } finally {
    rmSync(folder, { recursive: true });
  }
  prune();
  return path;
}
