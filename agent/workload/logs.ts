// Reads what the shim wrote of a container's output: `2026-01-02T03:04:05.123456789Z stdout TEXT`, newest file first
// CONTAINER.log, before it CONTAINER.log.1. Control characters are as the workload wrote them: the printer escapes them.
import { closeSync, existsSync, fstatSync, openSync, readFileSync, readSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const pollMs = 100;
const chunkBytes = 64 << 10;

const logPath = (podFolder: string, container: string): string => join(podFolder, `${container}.log`);

function linesOf(path: string): string[] {
  if (!existsSync(path)) return [];
  const lines = readFileSync(path, 'utf8').split('\n');
  lines.pop();
  return lines;
}

/** The last `tail` lines, over the one rotation that is kept. */
export function readLog(podFolder: string, container: string, { tail }: { readonly tail: number }): string[] {
  if (tail <= 0) return [];
  const path = logPath(podFolder, container);
  const lines = linesOf(path);
  const older = lines.length < tail ? linesOf(`${path}.1`) : [];
  return [...older, ...lines].slice(-tail);
}

/** Cuts what it reads into lines; what has not ended yet waits for the next read. */
class LineReader {
  readonly #file: number;
  #offset: number;
  #rest = Buffer.alloc(0);

  constructor(path: string, atEnd: boolean) {
    this.#file = openSync(path, 'r');
    this.#offset = atEnd ? fstatSync(this.#file).size : 0;
  }

  get inode(): number { return fstatSync(this.#file).ino; }

  read(): string[] {
    const chunk = Buffer.alloc(chunkBytes);
    const got = readSync(this.#file, chunk, 0, chunkBytes, this.#offset);
    if (got === 0) return [];
    this.#offset += got;
    const bytes = Buffer.concat([this.#rest, chunk.subarray(0, got)]);
    const end = bytes.lastIndexOf(0x0a);
    this.#rest = bytes.subarray(end + 1);
    return end < 0 ? [] : bytes.toString('utf8', 0, end).split('\n');
  }

  close(): void { closeSync(this.#file); }
}

const inodeOf = (path: string): number | undefined => statSync(path, { throwIfNoEntry: false })?.ino;

/** Lines written from now on, also after a rotation; ends when the pod's folder is gone or `signal` fires. */
export async function* followLog(podFolder: string, container: string, options: { readonly signal?: AbortSignal } = {}): AsyncGenerator<string> {
  const path = logPath(podFolder, container);
  let reader = inodeOf(path) === undefined ? undefined : new LineReader(path, true);
  try {
    while (options.signal?.aborted !== true) {
      const inode = inodeOf(path);
      const lines = reader?.read() ?? [];
      yield* lines;
      if (lines.length > 0) continue;
      if (inode !== undefined && inode !== reader?.inode) {
        reader?.close();
        reader = new LineReader(path, false);
        continue;
      }
      if (!existsSync(podFolder)) return;
      await sleep(pollMs);
    }
  } finally {
    reader?.close();
  }
}
