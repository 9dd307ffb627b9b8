// What is downloaded or made once and used by every run: below the user's cache folder, each thing under the hash of what it comes from.
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';

export const cacheFolder = join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'weir', 'vm');

export const digest = (...parts: readonly (string | Uint8Array)[]): string => {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(`${part.length} `).update(part);
  return hash.digest('hex').slice(0, 16);
};

/** The path of `name`, made by `make` when it is not there yet; half-made things never get the name. */
export function cached(name: string, make: (draft: string) => void): string {
  const path = join(cacheFolder, name);
  if (existsSync(path)) return path;
  mkdirSync(cacheFolder, { recursive: true });
  const folder = mkdtempSync(join(cacheFolder, 'draft-'));
  try {
    const draft = join(folder, 'made');
    make(draft);
    renameSync(draft, path);
  } finally {
    rmSync(folder, { recursive: true });
  }
  return path;
}
