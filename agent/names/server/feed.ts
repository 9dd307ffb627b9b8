// The folder that the agent writes -> the zone and the settings. Files are replaced whole by renames; one that changed is read
// again, and only the lines that differ touch the zone. Without an agent the last ones stand.
import { readdirSync, readFileSync, statSync, watch } from 'node:fs';
import { join } from 'node:path';
import { settingsFile, shardPattern, type NameRow, type Settings } from './rows.ts';

export interface FeedOptions {
  readonly folder: string;
  readonly set: (row: NameRow) => void;
  readonly drop: (key: string) => void;
  readonly settings: (settings: Settings) => void;
  readonly log: (line: string) => void;
}

/** For what the watch misses: a full inotify queue. */
const lookMs = 5_000;

export class Feed {
  readonly #options: FeedOptions;
  /** Of each file: line -> key. */
  readonly #lines = new Map<string, Map<string, string>>();
  readonly #stamps = new Map<string, string>();

  constructor(options: FeedOptions) {
    this.#options = options;
    const watcher = watch(options.folder, { persistent: false }, (_, name) => { if (name === null) this.look(); else this.#read(name); });
    watcher.on('error', (error) => { options.log(`watch ${options.folder}: ${error.message}`); });
    this.look();
    setInterval(() => { this.look(); }, lookMs).unref();
  }

  look(): void {
    // The settings name the domain: before the rows.
    for (const name of new Set([settingsFile, ...readdirSync(this.#options.folder), ...this.#lines.keys()])) this.#read(name);
  }

  #read(name: string): void {
    if (name !== settingsFile && !shardPattern.test(name)) return;
    const path = join(this.#options.folder, name);
    try {
      const found = statSync(path, { throwIfNoEntry: false });
      const stamp = found === undefined ? '' : `${found.ino} ${found.mtimeMs} ${found.size}`;
      if (stamp === (this.#stamps.get(name) ?? '')) return;
      const text = found === undefined ? '' : readFileSync(path, 'utf8');
      if (name !== settingsFile) this.#take(name, text);
      else if (text !== '') this.#options.settings(JSON.parse(text) as Settings);
      this.#stamps.set(name, stamp);
    } catch (error) {
      // What was there before stands; the file is read again with the next look.
      this.#options.log(`read ${name}: ${String(error)}`);
    }
  }

  #take(name: string, text: string): void {
    const old = this.#lines.get(name) ?? new Map<string, string>();
    const rows = new Map(text.split('\n').filter((line) => line !== '').map((line) => [line, old.has(line) ? undefined : JSON.parse(line) as NameRow]));
    const next = new Map([...rows].map(([line, row]) => [line, row?.key ?? old.get(line)!]));
    const keys = new Set(next.values());
    for (const key of old.values()) if (!keys.has(key)) this.#options.drop(key);
    for (const row of rows.values()) if (row !== undefined) this.#options.set(row);
    this.#lines.set(name, next);
  }
}
