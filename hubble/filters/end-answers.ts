// What a filter says of an end of a flow, remembered by its address and identity for as long as no name changes. Records from
// before the last change are asked one by one: they show other names.
import { ipText } from '../address.ts';
import type { Entries } from '../entries.ts';
import { endpointOf } from '../flow.ts';
import { field, timeAt } from '../record.ts';
import type { Endpoint } from '../types.ts';
import type { RawPredicate } from './raw.ts';

/** Ends that are remembered; others with the same hash take their place. */
const slots = 512;
const keyWords = 5;

export class EndAnswers {
  readonly #entries: Entries;
  readonly #address: number;
  readonly #identity: number;
  readonly #ask: (end: Endpoint) => boolean;
  readonly #keys = new Uint32Array(slots * keyWords);
  /** 0: nothing is known, 1: no, 2: yes. */
  readonly #answers = new Uint8Array(slots);
  #changedNs = 0;

  constructor(entries: Entries, end: 'source' | 'destination', ask: (end: Endpoint) => boolean) {
    this.#entries = entries;
    this.#address = end === 'source' ? field.saddr : field.daddr;
    this.#identity = end === 'source' ? field.sourceIdentity : field.destinationIdentity;
    this.#ask = ask;
  }

  predicate: RawPredicate = (at) => {
    const { ring: { words }, lookups } = this.#entries;
    const changedNs = lookups.changedNs();
    if (timeAt(words, at) < changedNs) return this.#answer(at);
    if (changedNs !== this.#changedNs) {
      this.#answers.fill(0);
      this.#changedNs = changedNs;
    }
    const address = (at + this.#address) >>> 2;
    const a = words[address]!;
    const b = words[address + 1]!;
    const c = words[address + 2]!;
    const d = words[address + 3]!;
    const identity = words[(at + this.#identity) >>> 2]!;
    const slot = (Math.imul(d ^ b, 0x9e3779b1) ^ Math.imul(identity ^ c ^ a, 0x85ebca6b)) >>> 23;
    const key = slot * keyWords;
    const keys = this.#keys;
    if (keys[key + 3] !== d || keys[key + 4] !== identity || keys[key + 2] !== c || keys[key + 1] !== b || keys[key] !== a) {
      this.#answers[slot] = 0;
      keys.set([a, b, c, d, identity], key);
    }
    if (this.#answers[slot] === 0) this.#answers[slot] = this.#answer(at) ? 2 : 1;
    return this.#answers[slot] === 2;
  };

  #answer(at: number): boolean {
    const { ring: { words, bytes }, lookups } = this.#entries;
    const address = ipText(bytes.subarray(at + this.#address, at + this.#address + 16)).text;
    return this.#ask(endpointOf(address, words[(at + this.#identity) >>> 2]!, timeAt(words, at), lookups));
  }
}
