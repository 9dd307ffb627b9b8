// Names -> the folder that the name server watches: rows spread over 256 files by their key, so that a change writes a few
// dozen of 10,000. A file is replaced by a rename: who reads meets one version of it.
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { settingsFile, shardPattern, type NameRow, type Settings } from './server/rows.ts';

const shardOf = (key: string): string => `${createHash('sha256').update(key).digest('hex').slice(0, 2)}.jsonl`;

/** Another user reads it: the name server's. Drafts are no shard to it. */
function replaceFile(path: string, text: string): void {
  writeFileSync(`${path}.draft`, text, { mode: 0o644 });
  renameSync(`${path}.draft`, path);
}

export class NamesFolder {
  readonly path: string;
  /** File -> key -> line. */
  readonly #shards = new Map<string, Map<string, string>>();
  #settings = '';

  constructor(path: string) {
    this.path = path;
    mkdirSync(path, { recursive: true, mode: 0o755 });
  }

  settings(settings: Settings): void {
    const text = JSON.stringify(settings);
    if (text === this.#settings) return;
    replaceFile(join(this.path, settingsFile), text);
    this.#settings = text;
  }

  /** Undefined: nothing has this name any more. */
  write(rows: Iterable<readonly [key: string, row: NameRow | undefined]>): void {
    const touched = new Set<string>();
    for (const [key, row] of rows) {
      const name = shardOf(key);
      const shard = this.#shards.get(name) ?? new Map<string, string>();
      const line = row === undefined ? undefined : JSON.stringify(row);
      if (shard.get(key) === line) continue;
      if (line === undefined) shard.delete(key);
      else shard.set(key, line);
      this.#shards.set(name, shard);
      touched.add(name);
    }
    for (const name of touched) this.#flush(name);
  }

  /** What an agent before left and nobody has any more. */
  prune(): void {
    for (const name of readdirSync(this.path)) if (!this.#shards.has(name) && shardPattern.test(name)) rmSync(join(this.path, name));
  }

  #flush(name: string): void {
    const path = join(this.path, name);
    const lines = [...this.#shards.get(name)!.values()];
    if (lines.length > 0) replaceFile(path, `${lines.join('\n')}\n`);
    else {
      this.#shards.delete(name);
      if (existsSync(path)) rmSync(path);
    }
  }
}
