// The exporter: follows the observer for every log of the configuration, which is read again when the file changes. What does not
// change goes on; a configuration with an error is told and the last good one stays.
import { readFileSync, statSync } from 'node:fs';
import { isDeepStrictEqual } from 'node:util';
import { RequestError } from '../errors.ts';
import { follow } from '../follow.ts';
import { toJson } from '../json.ts';
import type { Observer } from '../observer.ts';
import { getFlowsResponseMessage } from '../proto.ts';
import { verdict } from '../types.ts';
import { parseExport, type DropLogConfig, type ExportConfig, type FlowLogConfig } from './config.ts';
import { DropLog } from './drops.ts';
import { RotatingFile, type FileStats } from './file.ts';

interface Log { readonly config: FlowLogConfig | DropLogConfig; readonly file: RotatingFile; readonly stop: () => void }

const checkMs = 1_000;

export class Exporter {
  readonly #path: string;
  readonly #observer: Observer;
  readonly #log: (line: string) => void;
  #running: Log[] = [];
  #stamp: string;
  #closing: Promise<void>[] = [];
  readonly #timer: NodeJS.Timeout;

  /** Throws RequestError when the first configuration is none. */
  constructor(path: string, observer: Observer, log: (line: string) => void, intervalMs = checkMs) {
    this.#path = path;
    this.#observer = observer;
    this.#log = log;
    this.#stamp = this.#stampOf();
    this.#apply(this.#read());
    this.#timer = setInterval(() => { this.#check(); }, intervalMs);
    this.#timer.unref();
  }

  get stats(): { readonly name: string; readonly path: string; readonly stats: FileStats; readonly waiting: number }[] {
    return this.#running.map(({ config: { name, file: { path } }, file }) => ({ name, path, stats: file.stats, waiting: file.waiting }));
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    this.#apply({ flowLogs: [], dropLogs: [] });
    await Promise.all(this.#closing);
  }

  #stampOf(): string {
    const stat = statSync(this.#path, { throwIfNoEntry: false });
    return stat === undefined ? '' : `${stat.ino} ${stat.size} ${stat.mtimeMs}`;
  }

  #read(): ExportConfig {
    try {
      return parseExport(readFileSync(this.#path, 'utf8'));
    } catch (error) {
      throw error instanceof RequestError ? new RequestError(`${this.#path}: ${error.message}`) : new RequestError(`read ${this.#path}: ${(error as Error).message}`);
    }
  }

  #check(): void {
    const stamp = this.#stampOf();
    if (stamp === this.#stamp) return;
    this.#stamp = stamp;
    try {
      this.#apply(this.#read());
      this.#log(`${this.#path}: read again`);
    } catch (error) {
      if (!(error instanceof RequestError)) throw error;
      this.#log(`${error.message}; the configuration read before stays`);
    }
  }

  #apply({ flowLogs, dropLogs }: ExportConfig): void {
    const wanted = [...flowLogs, ...dropLogs];
    const kept = this.#running.filter(({ config }) => wanted.some((one) => isDeepStrictEqual(one, config)));
    for (const log of this.#running) {
      if (kept.includes(log)) continue;
      log.stop();
      this.#closing.push(log.file.close());
    }
    const isNew = (config: object): boolean => !kept.some((log) => isDeepStrictEqual(log.config, config));
    this.#running = [...kept, ...flowLogs.filter(isNew).map((config) => this.#startFlows(config)), ...dropLogs.filter(isNew).map((config) => this.#startDrops(config))];
  }

  #startFlows(config: FlowLogConfig): Log {
    const file = new RotatingFile(config.file);
    const stop = follow(this.#observer, config, (response) => {
      if (config.endMs !== undefined && this.#observer.now() >= config.endMs) return;
      file.append(JSON.stringify(toJson(getFlowsResponseMessage, response)));
    });
    return { config, file, stop };
  }

  #startDrops(config: DropLogConfig): Log {
    const file = new RotatingFile(config.file);
    const drops = new DropLog(config, (line) => { file.append(JSON.stringify(line)); }, this.#observer.now);
    const stop = follow(this.#observer, { whitelist: [{ verdict: [verdict.dropped] }] }, (response) => { drops.see(response); });
    return { config, file, stop: () => { stop(); drops.stop(); } };
  }
}
