// What an agent before left in the kernel's maps of services: its numbers are kept, and nothing of it is overwritten before it is replaced.
import type { Backend, Frontend, FrontendKey, SourceRangeKey } from '../../bpf/types.gen.ts';
import { textOf } from '../ipcache/address.ts';
import type { NumberAllocator } from '../store/allocator.ts';
import { keyOfBackend, keyOfFrontend, type ServiceMaps } from './maps.ts';
import type { Spread } from './spreads.ts';
import type { FrontendRow } from './tables.ts';

export interface InheritedFrontend {
  readonly kernelKey: FrontendKey;
  readonly value: Frontend;
  /** Numbers, as its slots have them. */
  readonly backends: readonly number[];
  /** Which slots and which Maglev table it has. */
  readonly place: string;
}

const placeOf = ({ first, count, maglev }: Frontend): string => `${first} ${count} ${maglev}`;

export class Inherited {
  readonly frontends = new Map<string, InheritedFrontend>();
  readonly backends = new Map<string, number>();
  readonly serviceNumbers = new Set<number>();
  /** By the text that names them in a reconciler. */
  readonly sourceRanges = new Map<string, SourceRangeKey>();
  /** Places that somebody has again. */
  readonly settled = new Set<string>();
  /** Places that are nobody's any more. */
  readonly rest: Spread[] = [];
  readonly #claimed = new Set<number>();

  readonly #numberOf: Map<string, number>;

  /** `before`: by frontend, numbers of services that are in no map here. */
  constructor(maps: ServiceMaps, backendNumbers: NumberAllocator, serviceNumbers: NumberAllocator, before: ReadonlyMap<string, number> = new Map()) {
    const byNumber = (a: readonly [number, Backend], b: readonly [number, Backend]): number => a[0] - b[0];
    for (const [number, backend] of maps.backends.entries().sort(byNumber)) if (backendNumbers.reserve(number)) this.backends.set(keyOfBackend(backend), number);
    for (const [kernelKey, value] of maps.frontends.entries()) {
      const key = keyOfFrontend(kernelKey);
      if (key !== undefined) this.frontends.set(key, { kernelKey, value, backends: maps.slots.range(value.first, value.count), place: placeOf(value) });
    }
    this.#numberOf = new Map([...before, ...[...this.frontends].map(([key, { value }]) => [key, value.service] as const)]);
    for (const number of [...new Set(this.#numberOf.values())].sort((a, b) => a - b)) if (serviceNumbers.reserve(number)) this.serviceNumbers.add(number);
    for (const [key] of maps.sourceRanges.entries()) this.sourceRanges.set(`${key.service} ${rangeText(key)}`, key);
  }

  /** The number by which the kernel knows, or knew, a service with these frontends. */
  serviceNumber(rows: readonly FrontendRow[]): number | undefined {
    for (const { key } of rows) {
      const number = this.#numberOf.get(key);
      if (number === undefined || !this.serviceNumbers.has(number) || this.#claimed.has(number)) continue;
      this.#claimed.add(number);
      return number;
    }
    return undefined;
  }

  /** Reserves the places that nobody settled in, until the frontends that point at them are replaced. */
  reserveRest(reserve: (first: number, count: number, maglev: number) => Spread | undefined): void {
    for (const { value, place } of this.frontends.values()) {
      if (this.settled.has(place)) continue;
      this.settled.add(place);
      const spread = reserve(value.first, value.count, value.maglev);
      if (spread !== undefined) this.rest.push(spread);
    }
  }
}

const rangeText = ({ prefixlen, addr }: SourceRangeKey): string => {
  const address = textOf(addr.word);
  return `${address}/${prefixlen - 32 - (address.includes(':') ? 0 : 96)}`;
};
