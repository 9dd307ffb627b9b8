// The bits of merged policies in the rows of classes, written where the kernel reads: bits of other policies in the same words
// stay as they are, and nobody reads those that change. Layout: bpf/lib/types.h, struct class_line.
import type { Datapath } from '../datapath/maps.ts';
import { withMemory } from '../kernel/map.ts';
import { limit } from '../../bpf/types.gen.ts';
import type { MergedPolicy, PeerClass } from './image.ts';

const bitsPerWord = 32;
const wordsPerLine = (limit.LINE_WORDS * 64) / bitsPerWord;

export interface PlacedBits { readonly policy: MergedPolicy; readonly firstBit: number }

/** Some policies' bits in any class's row. */
export class ClassRows {
  readonly #anybody: number[] = [];
  readonly #ofSet = new Map<number, number[]>();
  /** By word of a row: the bits of these policies. */
  readonly #masks = new Map<number, number>();
  readonly #lines: number;
  readonly #datapath: Datapath;

  constructor(datapath: Datapath, placed: Iterable<PlacedBits>) {
    this.#datapath = datapath;
    let last = -1;
    for (const { policy, firstBit } of placed) {
      policy.peerSets.forEach((set, index) => {
        const bit = firstBit + index;
        const word = Math.floor(bit / bitsPerWord);
        this.#masks.set(word, (this.#masks.get(word) ?? 0) | (1 << (bit % bitsPerWord)));
        last = Math.max(last, word);
        if (set === 'any') this.#anybody.push(bit);
        else if (this.#ofSet.has(set)) this.#ofSet.get(set)!.push(bit);
        else this.#ofSet.set(set, [bit]);
      });
    }
    this.#lines = Math.floor(last / wordsPerLine) + 1;
  }

  write(classes: Iterable<readonly [id: number, peers: PeerClass]>): void {
    this.#each(classes, (memory, at, mask, value) => { memory[at] = (memory[at]! & ~mask) | value; });
  }

  /** Whether `write` would change nothing. */
  holds(id: number, peers: PeerClass): boolean {
    let same = true;
    this.#each([[id, peers]], (memory, at, mask, value) => { same &&= (memory[at]! & mask) === (value | 0); });
    return same;
  }

  #each(classes: Iterable<readonly [id: number, peers: PeerClass]>, visit: (memory: Uint32Array, at: number, mask: number, value: number) => void): void {
    if (this.#lines === 0) return;
    const values = new Uint32Array(this.#lines * wordsPerLine);
    withMemory(this.#datapath.classRows, this.#lines * limit.MAX_CLASSES, (buffer) => {
      const memory = new Uint32Array(buffer);
      for (const [id, { sets }] of classes) {
        for (const bit of this.#anybody) values[Math.floor(bit / bitsPerWord)]! |= 1 << (bit % bitsPerWord);
        for (const set of sets) for (const bit of this.#ofSet.get(set) ?? []) values[Math.floor(bit / bitsPerWord)]! |= 1 << (bit % bitsPerWord);
        for (const [word, mask] of this.#masks) {
          visit(memory, (Math.floor(word / wordsPerLine) * limit.MAX_CLASSES + id) * wordsPerLine + (word % wordsPerLine), mask, values[word]!);
          values[word] = 0;
        }
      }
    });
  }
}
