// The last good version of every manifest file, on disk: an agent that follows one that died knows what stood, when it meets a
// file that turned bad or is being written just then. Without it such a file would take its policies out of force.
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { readJson, writeJson } from '../store/file.ts';
import type { FileState, StandingObject } from './files.ts';
import { readManifests } from './reader.ts';

interface Kept { readonly path: string; readonly objects: readonly unknown[] }

const nameOf = (path: string): string => `${createHash('sha256').update(path).digest('hex').slice(0, 32)}.json`;

export class KeptFiles {
  readonly #folder: string;
  readonly #stamps = new Map<string, string>();

  constructor(folder: string) {
    this.#folder = folder;
    mkdirSync(folder, { recursive: true, mode: 0o700 });
  }

  /** What stood when the agent before died, of the files that are still there. */
  read(display: (path: string) => string): Map<string, FileState> {
    const files = readdirSync(this.#folder).filter((name) => name.endsWith('.json')).map((name) => readJson(join(this.#folder, name)) as Kept);
    return new Map(files.map(({ path, objects }): [string, FileState] => {
      this.#stamps.set(path, '');
      const text = objects.map((object) => JSON.stringify(object)).join('\n---\n');
      const standing = readManifests(text, display(path)).objects.map((object): StandingObject => ({ ...object, old: true }));
      return [path, { stamp: '', objects: standing, problems: [] }];
    }).filter(([path]) => existsSync(path)));
  }

  /** Called when every follower has judged the files; what one of them found wrong keeps its version from before. */
  write(files: ReadonlyMap<string, FileState>, isBad: (path: string) => boolean): void {
    for (const path of [...this.#stamps.keys()]) {
      if (files.has(path)) continue;
      rmSync(join(this.#folder, nameOf(path)), { force: true });
      this.#stamps.delete(path);
    }
    for (const [path, { stamp, objects }] of files) {
      if (this.#stamps.get(path) === stamp || objects.some(({ old }) => old) || isBad(path)) continue;
      writeJson(join(this.#folder, nameOf(path)), { path, objects: objects.map(({ row }) => row.object) } satisfies Kept);
      this.#stamps.set(path, stamp);
    }
  }
}
