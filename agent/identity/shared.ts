// Numbers that all nodes of a cluster agree on, without anybody who hands them out: a folder with one file per number, made whole and only where
// none stands (link(2)). A label set begins its search at a number of its own hash and takes the first that is free or its own; since no
// number is given back while the cluster lives, everybody who looks for it ends at the same one.
import { createHash } from 'node:crypto';
import { linkSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { FIRST_WORKLOAD_IDENTITY as first, LAST_WORKLOAD_IDENTITY as last } from './reserved.ts';

const count = last - first + 1;

export class SharedNumbers {
  readonly #folder: string;
  readonly #draft: string;
  readonly #known = new Map<string, number>();

  /** `writer`: the node's name, so that no two write one draft. */
  constructor(folder: string, writer: string) {
    this.#folder = folder;
    this.#draft = join(folder, `${writer}.draft`);
    mkdirSync(folder, { recursive: true, mode: 0o700 });
  }

  /** The number of a sorted label set. Undefined when all are taken. */
  numberOf(labels: readonly string[]): number | undefined {
    const text = labels.join('\n');
    const known = this.#known.get(text);
    if (known !== undefined) return known;
    const start = createHash('sha256').update(text).digest().readUInt32BE() % count;
    for (let tried = 0; tried < count; tried += 1) {
      const number = first + ((start + tried) % count);
      if (!this.#take(number, text)) continue;
      this.#known.set(text, number);
      return number;
    }
    return undefined;
  }

  /** True when the number is that of these labels, now or before. */
  #take(number: number, text: string): boolean {
    const path = join(this.#folder, String(number));
    rmSync(this.#draft, { force: true });
    writeFileSync(this.#draft, text, { mode: 0o600 });
    try {
      linkSync(this.#draft, path);
      return true;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
      return readFileSync(path, 'utf8') === text;
    } finally {
      rmSync(this.#draft, { force: true });
    }
  }
}
