// Parts of encoded flows that come again and again, remembered by the words of a record that they are made of, for as long as no
// name changes. Records from before the last change show other names: their parts are made anew each time.

/** Parts that are remembered; others with the same hash take their place. */
const slotBits = 12;
const slots = 2 ** slotBits;

export class Parts<Part> {
  readonly #offsets: Uint8Array;
  readonly #masks: Int32Array;
  readonly #keys: Int32Array;
  readonly #parts: (Part | undefined)[] = Array.from({ length: slots });
  readonly #make: (at: number, known: boolean) => Part;
  #revision = 0;

  /** `offsets`: of the words, from the record's first byte. `make`: from a record in the ring; `known` as below. `masks`: of each word, what counts; all of it. */
  constructor(offsets: readonly number[], make: (at: number, known: boolean) => Part, masks: readonly number[] = offsets.map(() => ~0)) {
    this.#offsets = Uint8Array.from(offsets, (offset) => offset >>> 2);
    this.#masks = Int32Array.from(masks);
    this.#keys = new Int32Array(slots * offsets.length);
    this.#make = make;
  }

  /** `revision`: moves with each change of a name; `known`: whether the record is as late as the last one. */
  of(words: Uint32Array, at: number, revision: number, known: boolean): Part {
    if (!known) return this.#make(at, known);
    if (revision !== this.#revision) {
      this.#parts.fill(undefined);
      this.#revision = revision;
    }
    const offsets = this.#offsets;
    const masks = this.#masks;
    const keys = this.#keys;
    const first = at >>> 2;
    const count = offsets.length;
    let hash = 0;
    for (let index = 0; index < count; index += 1) hash = Math.imul(hash ^ (words[first + offsets[index]!]! & masks[index]!), 0x9e3779b1) ^ (hash >>> 15);
    const slot = Math.imul(hash ^ (hash >>> 13), 0x85ebca6b) >>> (32 - slotBits);
    const start = slot * count;
    let part = this.#parts[slot];
    let same = part !== undefined;
    for (let index = 0; same && index < count; index += 1) same = keys[start + index] === (words[first + offsets[index]!]! & masks[index]!);
    if (same) return part!;
    part = this.#make(at, known);
    for (let index = 0; index < count; index += 1) keys[start + index] = words[first + offsets[index]!]! & masks[index]!;
    this.#parts[slot] = part;
    return part;
  }
}
