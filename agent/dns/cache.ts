// Which addresses answers gave for which names, as records told: so that a name or pattern that a policy names only later knows them at
// once. The kernel learns without it; it is lost with the agent, and what it does not know is learned with the next answer.
import { dns_event, type DnsRecord } from '../../bpf/types.gen.ts';
import { ticksNow, ticksOf, ticksSince } from '../datapath/ticks.ts';
import type { DnsMaps } from './maps.ts';

/** The oldest goes. */
const mostNames = 20_000;

const latin1 = (word: Uint8Array): string => Buffer.from(word.buffer, word.byteOffset, word.byteLength).toString('latin1');

interface Known { readonly endpoint: number; readonly name: string; readonly addresses: readonly Uint8Array[]; readonly expires: number }

export class DnsCache {
  readonly #known = new Map<string, Known>();
  /** By endpoint and address: names, those of the last answers last. */
  readonly #names = new Map<string, Set<string>>();
  #revision = 0;
  readonly #maps: DnsMaps;

  constructor(maps: DnsMaps) { this.#maps = maps; }

  /** Moves when an address has another set of names; 0: none has any. */
  get revision(): number { return this.#revision; }

  /** `name`: in lower case with its final dot. */
  add(record: DnsRecord, name: string, addresses: readonly Uint8Array[]): void {
    if (record.event !== dns_event.DNS_ANSWERED || addresses.length === 0) return;
    const key = `${record.endpoint} ${record.type} ${name}`;
    const [before, one] = [this.#known.get(key), { endpoint: record.endpoint, name, addresses, expires: (ticksNow() + Math.round(ticksOf(record.ttl))) >>> 0 }] as const;
    this.#known.delete(key);
    this.#known.set(key, one);
    this.#name(before, one);
    if (this.#known.size <= mostNames) return;
    const [oldest, gone] = this.#known.entries().next().value!;
    this.#known.delete(oldest);
    this.#name(gone, undefined);
  }

  #name(before: Known | undefined, after: Known | undefined): void {
    const places = (one: Known | undefined): Set<string> => new Set(one?.addresses.map((word) => `${one.endpoint} ${latin1(word)}`));
    const [old, fresh] = [places(before), places(after)];
    for (const place of old) {
      const names = this.#names.get(place); // gone, where two types of query gave the same address
      names?.delete(before!.name);
      if (names?.size === 0) this.#names.delete(place);
    }
    for (const place of fresh) this.#names.set(place, (this.#names.get(place) ?? new Set<string>()).add(after!.name));
    if (old.size !== fresh.size || [...fresh].some((place) => !old.has(place))) this.#revision += 1;
  }

  /** Names of an address, those of the last answers first; none after a restart. */
  namesOf(endpoint: number, address: string): string[] {
    return [...this.#names.get(`${endpoint} ${address}`) ?? []].reverse();
  }

  /** Gives addresses that the kernel has to selectors that are new. What it never took (a quota, an address inside the cluster) stays unknown. */
  teach(matching: (name: string) => readonly number[], fresh: ReadonlySet<number>): number {
    let taught = 0;
    const now = ticksNow();
    for (const { endpoint, name, addresses, expires } of this.#known.values()) {
      if (ticksSince(expires, now) > 0) continue;
      const numbers = matching(name).filter((number) => fresh.has(number));
      if (numbers.length === 0) continue;
      for (const word of addresses) taught += this.#give({ endpoint, addr: { word } }, numbers, expires) ? 1 : 0;
    }
    return taught;
  }

  #give(key: { endpoint: number; addr: { word: Uint8Array } }, numbers: readonly number[], expires: number): boolean {
    const row = this.#maps.addresses.get(key);
    if (row === undefined) return false;
    const source = [...row.source];
    for (const number of numbers) {
      const at = source.findIndex(({ selector }) => selector === number || selector === 0);
      if (at < 0) return false;
      source[at] = { selector: number, expires };
    }
    this.#maps.addresses.set(key, { source });
    return true;
  }
}
