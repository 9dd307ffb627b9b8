// The file that `weir record` writes, beside its place until it is whole; its size may be bounded.
import { closeSync, openSync, renameSync, rmSync, writeSync } from 'node:fs';
import { ConfigError } from '../agent/errors.ts';
import { beginning, blockBytes, blockOf, entryOf, type RecordingForm } from '../hubble/recording.ts';
import type { GetFlowsResponse } from '../hubble/types.ts';

export interface RecordingOptions {
  readonly form: RecordingForm;
  /** Also over a file that is there. */
  readonly force?: boolean;
  readonly maxBytes?: number;
}

/** Who is killed loses at most what came in this time. */
const writeMs = 1_000;

export class Recording {
  readonly #path: string;
  readonly #form: RecordingForm;
  readonly #maxBytes: number;
  readonly #fd: number;
  readonly #made: boolean;
  #waiting: Buffer[] = [];
  #waitingBytes = 0;
  #bytes = 0;
  #writtenMs = Date.now();
  #flows = 0;
  #lost = 0;
  #isFull = false;

  constructor(path: string, { form, force = false, maxBytes = Infinity }: RecordingOptions) {
    this.#path = path;
    this.#form = form;
    this.#maxBytes = maxBytes;
    this.#made = !force;
    try {
      if (!force) closeSync(openSync(path, 'wx', 0o600));
      this.#fd = openSync(this.#part, 'w', 0o600);
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      throw code === 'EEXIST' ? new ConfigError(`${path} is there already`, 'choose another file, or add --force') : new ConfigError(`write ${path}: ${message}`);
    }
    this.#write(beginning(form));
  }

  get #part(): string { return `${this.#path}.part`; }

  /** False when it found no place: the file is as large as it may be. Throws ConfigError when the disk is full. */
  add(response: GetFlowsResponse): boolean {
    if (this.#isFull) return false;
    const entry = entryOf(this.#form, response);
    // What waits may become smaller, never larger: it is written before it is known whether the next one fits.
    if (this.#bytes + this.#waitingBytes + entry.length > this.#maxBytes) this.#flush();
    if (this.#bytes + this.#waitingBytes + entry.length > this.#maxBytes) {
      this.#isFull = true;
      return false;
    }
    if (response.flow != null) this.#flows += 1;
    this.#lost += Number(response.lost_events?.num_events_lost ?? 0);
    this.#waiting.push(entry);
    this.#waitingBytes += entry.length;
    if (this.#waitingBytes >= blockBytes || Date.now() - this.#writtenMs >= writeMs) this.#flush();
    return true;
  }

  /** What it holds, in words. */
  finish(): string {
    this.#flush();
    closeSync(this.#fd);
    renameSync(this.#part, this.#path);
    return `${this.#flows} ${this.#flows === 1 ? 'flow' : 'flows'} in ${this.#path}${this.#isFull ? ', which is as large as it may be' : ''}${this.#lost > 0 ? `; ${this.#lost} events were lost, which the file tells in their place` : ''}`;
  }

  #flush(): void {
    if (this.#waiting.length > 0) this.#write(blockOf(this.#form, this.#waiting));
    this.#waiting = [];
    this.#waitingBytes = 0;
    this.#writtenMs = Date.now();
  }

  #write(data: Buffer): void {
    try {
      for (let at = 0; at < data.length;) at += writeSync(this.#fd, data, at);
      this.#bytes += data.length;
    } catch (error) {
      closeSync(this.#fd);
      if (this.#made) rmSync(this.#path, { force: true });
      throw new ConfigError(`write ${this.#path}: ${(error as Error).message}`, `what was written until then is in ${this.#part}`);
    }
  }
}
