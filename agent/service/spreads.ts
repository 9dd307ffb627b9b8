// Lists of backends as the kernel has them: a range of `service_slots`, and a Maglev table where a frontend asks for one. Frontends of one service with
// the same list share them; what none uses any more is free a grace period later.
import { NumberAllocator, RangeAllocator } from '../store/allocator.ts';
import { closeSync } from 'node:fs';
import { deleteMaglev, maglevNumbers, makeMaglev, putMaglev, type ServiceMaps } from './maps.ts';
import type { FrontendRow } from './tables.ts';

export interface Spread {
  readonly backends: readonly string[];
  /** One for each, where they are not all the same. */
  readonly weights?: readonly number[];
  readonly first: number;
  /** Of its Maglev table; 0: it has none. */
  readonly maglev: number;
  users: number;
}

export interface SpreadOptions {
  readonly maps: Pick<ServiceMaps, 'slots' | 'maglevTables'>;
  readonly numberOf: (backend: string) => number;
  readonly maglevTable: (backends: readonly string[], weights: readonly number[] | undefined) => Uint32Array;
  /** Calls back a grace period later. */
  readonly retire: (free: () => void) => void;
}

/** A list of backends as a frontend wants it. */
export type Wanted = Pick<FrontendRow, 'backends' | 'weights' | 'maglev'>;

/** Each holds a descriptor. */
const mostMade = 256;

const sameList = <Item>(a: readonly Item[], b: readonly Item[]): boolean => a === b || (a.length === b.length && a.every((one, index) => one === b[index]));

export class Spreads {
  readonly #options: SpreadOptions;
  readonly #slots: RangeAllocator;
  readonly #tables: NumberAllocator;
  readonly #mostTables: number;
  readonly #byService = new Map<string, Spread[]>();
  #tablesUsed = 0;
  /** Made, and not yet to be found: descriptors by number. */
  readonly #made = new Map<number, number>();
  readonly #gone: number[] = [];

  constructor(options: SpreadOptions) {
    const { slots, maglevTables } = options.maps;
    this.#options = options;
    this.#mostTables = maglevTables.maxEntries - 1; // 0 is no table
    this.#slots = new RangeAllocator(slots.count);
    this.#tables = new NumberAllocator(1, this.#mostTables);
  }

  get slotsFree(): number { return this.#slots.available; }
  get tablesFree(): number { return this.#mostTables - this.#tablesUsed + this.#gone.length; }

  find(service: string, { backends, weights = [], maglev }: Wanted): Spread | undefined {
    return this.#byService.get(service)?.find((one) => sameList(one.backends, backends) && sameList(one.weights ?? [], weights) && (one.maglev !== 0) === maglev);
  }

  /** Of an agent before: reserves what it has. Undefined: a part of it is somebody else's. */
  adopt(service: string, backends: readonly string[], first: number, maglev: number): Spread | undefined {
    const standing = this.find(service, { backends, maglev: maglev !== 0 });
    if (standing?.first === first && standing.maglev === maglev) return standing;
    if (!this.#slots.reserve(first, backends.length)) return undefined;
    if (maglev !== 0 && !this.#tables.reserve(maglev)) {
      this.#slots.giveBack(first, backends.length);
      return undefined;
    }
    return this.#keep(service, { backends, first, maglev, users: 0 });
  }

  /** The one that stands, or a new one, written; undefined when there is no room. It has a user more. */
  use(service: string, { maglev, ...list }: Wanted): Spread | undefined {
    const wants = { ...list, maglev: maglev && list.backends.length > 0 };
    const spread = this.find(service, wants) ?? this.#make(service, wants);
    if (spread !== undefined) spread.users += 1;
    return spread;
  }

  drop(service: string, spread: Spread): void {
    if (!this.#leave(service, spread)) return;
    this.#options.retire(() => {
      this.#slots.giveBack(spread.first, spread.backends.length);
      if (spread.maglev !== 0) this.#gone.push(spread.maglev);
    });
  }

  /** As if `use` had not been called: where it made the spread, nobody has seen that. */
  undo(service: string, spread: Spread): void {
    if (!this.#leave(service, spread)) return;
    this.#slots.giveBack(spread.first, spread.backends.length);
    if (spread.maglev !== 0) this.#gone.push(spread.maglev);
  }

  /** True when nobody uses it any more. */
  #leave(service: string, spread: Spread): boolean {
    spread.users -= 1;
    if (spread.users > 0) return false;
    const rest = (this.#byService.get(service) ?? []).filter((one) => one !== spread);
    if (rest.length > 0) this.#byService.set(service, rest);
    else this.#byService.delete(service);
    return true;
  }

  /** Maglev tables that were made are there on return, and those that were freed are gone. */
  flush(): void {
    const { maglevTables } = this.#options.maps;
    for (const id of this.#gone) this.#unmake(id);
    deleteMaglev(maglevTables, this.#gone);
    this.#tablesUsed -= this.#gone.length;
    for (const id of this.#gone.splice(0)) this.#tables.giveBack(id);
    putMaglev(maglevTables, this.#made);
    for (const inner of this.#made.values()) closeSync(inner);
    this.#made.clear();
  }

  #unmake(id: number): void {
    const inner = this.#made.get(id);
    if (inner !== undefined) closeSync(inner);
    this.#made.delete(id);
  }

  /** Takes away Maglev tables that an agent before left and nobody uses. */
  prune(): void {
    const used = new Set([...this.#byService.values()].flat().map(({ maglev }) => maglev));
    const { maglevTables } = this.#options.maps;
    deleteMaglev(maglevTables, maglevNumbers(maglevTables).filter((id) => !used.has(id) && !this.#made.has(id)));
  }

  #make(service: string, { backends, weights, maglev }: Wanted): Spread | undefined {
    const { maps, numberOf, maglevTable } = this.#options;
    const first = this.#slots.take(backends.length);
    if (first === undefined) return undefined;
    const table = maglev ? this.#tables.take() : 0;
    if (table === undefined) {
      this.#slots.giveBack(first, backends.length);
      return undefined;
    }
    backends.forEach((backend, index) => { maps.slots.set(first + index, numberOf(backend)); });
    if (table !== 0) this.#made.set(table, makeMaglev(maglevTable(backends, weights)));
    if (this.#made.size >= mostMade) this.flush();
    return this.#keep(service, { backends, ...(weights === undefined ? {} : { weights }), first, maglev: table, users: 0 });
  }

  #keep(service: string, spread: Spread): Spread {
    const list = this.#byService.get(service);
    if (list === undefined) this.#byService.set(service, [spread]);
    else list.push(spread);
    if (spread.maglev !== 0) this.#tablesUsed += 1;
    return spread;
  }
}
