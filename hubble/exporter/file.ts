// A file that lines are appended to, in the background and with a bound on what waits: a full or slow disk costs lines, which are
// counted, and nothing else. It is rotated by size; old ones are numbered and, when asked, compressed.
import { createReadStream, createWriteStream, existsSync, renameSync, rmSync, statSync } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import { pipeline } from 'node:stream/promises';
import { createGzip } from 'node:zlib';

export interface FileOptions {
  readonly path: string;
  readonly maxBytes: number;
  /** Old ones that are kept beside the current one. */
  readonly backups: number;
  readonly compress: boolean;
}

export interface FileStats { written: number; lost: number; rotations: number; errors: number; lastError: string }

/** What waits to be written. */
const maxPendingBytes = 4 << 20;
/** After a failure nothing is tried for so long. */
const retryMs = 1_000;

export class RotatingFile {
  readonly #options: FileOptions;
  readonly stats: FileStats = { written: 0, lost: 0, rotations: 0, errors: 0, lastError: '' };
  #pending: string[] = [];
  #pendingBytes = 0;
  #handle: FileHandle | undefined;
  #size = 0;
  #retryAtMs = 0;
  #writing: Promise<void> | undefined;
  #compressing: Promise<void> = Promise.resolve();
  /** Of the lines that are being written: those that are not in the file yet. */
  #unwritten = 0;

  constructor(options: FileOptions) { this.#options = options; }

  /** Lines that are not being written yet. */
  get waiting(): number { return this.#pending.length; }

  /** `line` without its end. */
  append(line: string): void {
    if (this.#pendingBytes + line.length > maxPendingBytes) { this.stats.lost += 1; return; }
    this.#pending.push(line);
    this.#pendingBytes += line.length + 1;
    this.#writing ??= new Promise<void>((resolve) => { setImmediate(resolve); }).then(async () => this.#drain());
  }

  /** Writes what waits, tries no more, and frees the file. */
  async close(): Promise<void> {
    while (this.#writing !== undefined) await this.#writing;
    await this.#handle?.close();
    this.#handle = undefined;
    await this.#compressing;
  }

  async #drain(): Promise<void> {
    while (this.#pending.length > 0) {
      const lines = this.#pending;
      this.#pending = [];
      this.#pendingBytes = 0;
      if (Date.now() < this.#retryAtMs) { this.stats.lost += lines.length; continue; }
      try {
        for (const chunk of this.#chunks(lines)) await this.#write(chunk);
      } catch (error) {
        await this.#failed(error as Error);
      }
    }
    this.#writing = undefined;
  }

  /** So many lines at once as fit into a file. */
  * #chunks(lines: readonly string[]): Generator<readonly string[]> {
    let from = 0;
    while (from < lines.length) {
      let bytes = 0;
      let to = from;
      while (to < lines.length && (to === from || bytes + lines[to]!.length + 1 <= this.#options.maxBytes)) { bytes += lines[to]!.length + 1; to += 1; }
      this.#unwritten = lines.length - from;
      yield lines.slice(from, to);
      from = to;
    }
    this.#unwritten = 0;
  }

  async #write(lines: readonly string[]): Promise<void> {
    const data = Buffer.from(`${lines.join('\n')}\n`);
    this.#handle ??= await this.#open();
    if (this.#size > 0 && this.#size + data.length > this.#options.maxBytes) {
      await this.#rotate();
      this.#handle = await this.#open();
    }
    for (let at = 0; at < data.length;) at += (await this.#handle.write(data, at)).bytesWritten;
    this.#size += data.length;
    this.stats.written += lines.length;
  }

  async #open(): Promise<FileHandle> {
    const { path } = this.#options;
    const handle = await open(path, 'a', 0o600);
    this.#size = statSync(path).size;
    return handle;
  }

  /** The lines of the failed write, and those behind them, are lost; no half of one stays in the file. */
  async #failed(error: Error): Promise<void> {
    this.stats.lost += this.#unwritten;
    this.#unwritten = 0;
    this.stats.errors += 1;
    this.stats.lastError = error.message;
    this.#retryAtMs = Date.now() + retryMs;
    await this.#handle?.truncate(this.#size).catch((again: unknown) => { this.stats.lastError = String(again); });
    await this.#handle?.close().catch((again: unknown) => { this.stats.lastError = String(again); });
    this.#handle = undefined;
  }

  async #rotate(): Promise<void> {
    const { path, backups, compress } = this.#options;
    await this.#compressing;
    await this.#handle?.close();
    this.#handle = undefined;
    this.stats.rotations += 1;
    const ending = (number: number): string[] => [`${path}.${number}`, `${path}.${number}.gz`];
    for (const old of ending(backups)) rmSync(old, { force: true });
    for (let number = backups - 1; number >= 1; number -= 1) {
      ending(number).forEach((old, index) => { if (existsSync(old)) renameSync(old, ending(number + 1)[index]!); });
    }
    if (backups === 0) { rmSync(path, { force: true }); return; }
    renameSync(path, `${path}.1`);
    if (compress) this.#compressing = this.#compress(`${path}.1`);
  }

  async #compress(path: string): Promise<void> {
    try {
      await pipeline(createReadStream(path), createGzip(), createWriteStream(`${path}.gz`, { mode: 0o600 }));
      rmSync(path);
    } catch (error) {
      rmSync(`${path}.gz`, { force: true }); // what is not compressed is kept as it is
      this.stats.errors += 1;
      this.stats.lastError = (error as Error).message;
    }
  }
}
