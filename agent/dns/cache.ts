// Which addresses answers gave for which names, as records told: so that a name or pattern that a policy names only later knows them at
// once. The kernel learns without it. Kept on disk for the next agent: what is new is appended, and the file begun again when it is full.
import { appendFileSync, existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dns_event, type DnsRecord } from '../../bpf/types.gen.ts';
import { ticksNow, ticksOf, ticksSince } from '../datapath/ticks.ts';
import { messageOf } from '../errors.ts';
import type { DnsMaps } from './maps.ts';

/** The oldest goes. */
const mostNames = 20_000;
/** Of the file. */
const mostLines = 2 * mostNames;

const latin1 = (word: Uint8Array): string => Buffer.from(word.buffer, word.byteOffset, word.byteLength).toString('latin1');

interface Known { readonly endpoint: number; readonly type: number; readonly name: string; readonly addresses: readonly Uint8Array[]; readonly expires: number }
type Line = readonly [endpoint: number, type: number, name: string, addresses: readonly string[], expires: number];

const lineOf = ({ endpoint, type, name, addresses, expires }: Known): string => `${JSON.stringify([endpoint, type, name, addresses.map((word) => Buffer.from(word).toString('hex')), expires] satisfies Line)}\n`;

/** The last line of an agent that was killed may be half a line. */
function* linesIn(path: string): Generator<Known> {
  for (const text of readFileSync(path, 'utf8').split('\n')) {
    if (!text.endsWith(']')) continue;
    const [endpoint, type, name, addresses, expires] = JSON.parse(text) as Line;
    yield { endpoint, type, name, addresses: addresses.map((word) => Buffer.from(word, 'hex')), expires };
  }
}

export class DnsCache {
  readonly #known = new Map<string, Known>();
  /** By endpoint and address: names, those of the last answers last. */
  readonly #names = new Map<string, Set<string>>();
  #revision = 0;
  readonly #maps: DnsMaps;
  readonly #path: string;
  readonly #log: (line: string) => void;
  #unsaved: Known[] = [];
  #lines = 0;

  /** `path`: where it is kept for the next agent; what is there is taken. */
  constructor(maps: DnsMaps, path: string, log: (line: string) => void) {
    this.#maps = maps;
    this.#path = path;
    this.#log = log;
    if (!existsSync(path)) return;
    for (const one of linesIn(path)) {
      this.#keep(one);
      this.#lines += 1;
    }
  }

  /** Moves when an address has another set of names; 0: none has any. */
  get revision(): number { return this.#revision; }

  /** `name`: in lower case with its final dot. */
  add(record: DnsRecord, name: string, addresses: readonly Uint8Array[]): void {
    if (record.event !== dns_event.DNS_ANSWERED || addresses.length === 0) return;
    const one = { endpoint: record.endpoint, type: record.type, name, addresses, expires: (ticksNow() + Math.round(ticksOf(record.ttl))) >>> 0 };
    this.#keep(one);
    this.#unsaved.push(one);
  }

  #keep(one: Known): void {
    const key = `${one.endpoint} ${one.type} ${one.name}`;
    const before = this.#known.get(key);
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

  /** What came since the last time. A disk that takes nothing costs the next agent these names and nobody else anything. */
  save(): void {
    if (this.#unsaved.length === 0) return;
    const lines = this.#unsaved;
    this.#unsaved = [];
    try {
      if (this.#lines + lines.length > mostLines) {
        const whole = [...this.#known.values()];
        writeFileSync(`${this.#path}.draft`, whole.map(lineOf).join(''), { mode: 0o600 });
        renameSync(`${this.#path}.draft`, this.#path);
        this.#lines = whole.length;
      } else {
        appendFileSync(this.#path, lines.map(lineOf).join(''), { mode: 0o600 });
        this.#lines += lines.length;
      }
    } catch (error) {
      this.#log(`dns: names are not kept for the next agent: ${messageOf(error)}`);
    }
  }

  /** Names of an address, those of the last answers first. */
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
