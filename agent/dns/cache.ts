// Which addresses answers gave for which names, as records told: so that a name or pattern that a policy names only later knows them at
// once. The kernel learns without it; it is lost with the agent, and what it does not know is learned with the next answer.
import { dns_event, type DnsRecord } from '../../bpf/types.gen.ts';
import { ticksNow, ticksOf, ticksSince } from '../datapath/ticks.ts';
import type { DnsMaps } from './maps.ts';

/** The oldest goes. */
const mostNames = 20_000;

interface Known { readonly endpoint: number; readonly name: string; readonly addresses: readonly Uint8Array[]; readonly expires: number }

export class DnsCache {
  readonly #known = new Map<string, Known>();
  readonly #maps: DnsMaps;

  constructor(maps: DnsMaps) { this.#maps = maps; }

  /** `name`: in lower case with its final dot. */
  add(record: DnsRecord, name: string, addresses: readonly Uint8Array[]): void {
    if (record.event !== dns_event.DNS_ANSWERED || addresses.length === 0) return;
    const key = `${record.endpoint} ${record.type} ${name}`;
    this.#known.delete(key);
    this.#known.set(key, { endpoint: record.endpoint, name, addresses, expires: (ticksNow() + Math.round(ticksOf(record.ttl))) >>> 0 });
    if (this.#known.size > mostNames) this.#known.delete(this.#known.keys().next().value!);
  }

  /** Names of an address, those of the last answers first; none after a restart. */
  namesOf(endpoint: number, address: string): string[] {
    const names = [...this.#known.values()].filter((one) => one.endpoint === endpoint && one.addresses.some((word) => Buffer.from(word).toString('latin1') === address)).map(({ name }) => name);
    return [...new Set(names.reverse())];
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
