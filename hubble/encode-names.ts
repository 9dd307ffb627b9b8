// DNS names at one end of a record, as bytes of its flow: remembered by both addresses until names or endpoints change.
import { ipText } from './address.ts';
import { namesFields, type Lookups } from './flow.ts';
import { Parts } from './parts.ts';
import { encode, flowMessage } from './proto.ts';
import { field, timeAt } from './record.ts';
import type { Ring } from './ring.ts';

const nothing = new Uint8Array(0);
const addressWords = [field.saddr, field.daddr].flatMap((at) => [at, at + 4, at + 8, at + 12]);

export class EncodedNames {
  readonly #words: Uint32Array;
  readonly #lookups: Lookups;
  readonly #parts: Parts<Uint8Array>;
  #changedNs = 0;
  #revision = 0;
  /** Moves with either. */
  #both = 0;

  constructor({ bytes, words }: Ring, lookups: Lookups) {
    this.#words = words;
    this.#lookups = lookups;
    const text = (at: number): string => ipText(bytes.subarray(at, at + 16)).text;
    this.#parts = new Parts(addressWords, (at) => encode(flowMessage, namesFields(text(at + field.saddr), text(at + field.daddr), timeAt(words, at), lookups)));
  }

  /** Of the record at `at`; `known`: whether it is as late as the last change of an endpoint. Empty where none is known. */
  of(at: number, changedNs: number, known: boolean): Uint8Array {
    const revision = this.#lookups.names?.revision() ?? 0;
    if (revision === 0) return nothing;
    if (revision !== this.#revision || changedNs !== this.#changedNs) {
      this.#both += 1;
      [this.#revision, this.#changedNs] = [revision, changedNs];
    }
    return this.#parts.of(this.#words, at, this.#both, known);
  }
}
