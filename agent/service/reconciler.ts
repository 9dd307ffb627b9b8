// The tables of frontends and backends -> the kernel's maps. A frontend's row is replaced as a whole, after everything that it points at is there; so no
// half-written service can be met. What does not fit is refused whole, and what stood before stays.
import type { Frontend } from '../../bpf/types.gen.ts';
import { messageOf } from '../errors.ts';
import { gracePeriod } from '../kernel/bpf.ts';
import { NumberAllocator } from '../store/allocator.ts';
import type { Table } from '../store/table.ts';
import { Inherited } from './inherited.ts';
import { defaultSeed, maglevTable, seedOf } from './maglev.ts';
import { flagsOf, frontendKeyOf, stateOfBackend, sourceRangeKey, type ServiceMaps } from './maps.ts';
import type { GoneBackend } from './resets.ts';
import { Spreads, type Spread } from './spreads.ts';
import type { BackendRow, FrontendRow } from './tables.ts';
import { defaultWeight } from './words.ts';
import { Writes } from './writes.ts';

export interface ReconcilerOptions {
  readonly maps: ServiceMaps;
  readonly frontends: Table<FrontendRow>;
  readonly backends: Table<BackendRow>;
  readonly maglevSize: number;
  readonly log: (line: string) => void;
  /** Told of backends that nobody is sent to any more, once no program knows them. */
  readonly gone?: (backends: readonly GoneBackend[]) => void;
  /** By frontend, in other maps than these: the number of its service, which rows of affinities name. */
  readonly numbers?: ReadonlyMap<string, number>;
  /** Waits until no program that runs now runs any more. */
  readonly grace?: () => Promise<void>;
}

/** A frontend as the kernel has it, or is about to. */
interface Standing { readonly service: string; readonly spread: Spread; readonly row: FrontendRow; readonly value: Frontend }

/** Rows of affinities may name a backend for so long after it went. */
const backendRestMs = 900_000;
const serviceRestMs = 60_000;
const retryMs = 1_000;

export class ServiceReconciler {
  readonly #options: ReconcilerOptions;
  readonly #spreads: Spreads;
  readonly #writes: Writes;
  readonly #backendNumbers: NumberAllocator;
  readonly #serviceNumbers = new NumberAllocator(1, 0xfffffff, serviceRestMs);
  readonly #backends = new Map<string, number>();
  readonly #services = new Map<string, number>();
  readonly #standing = new Map<string, Standing>();
  readonly #keysOf = new Map<string, Set<string>>();
  readonly #rangesOf = new Map<string, readonly string[]>();
  readonly #refused = new Map<string, string>();
  readonly #changedServices = new Set<string>();
  readonly #changedBackends = new Set<string>();
  readonly #retiring: (() => void)[] = [];
  readonly #grace: () => Promise<void>;
  readonly #stops: (() => void)[];
  #inherited: Inherited | undefined;
  #waiting: Promise<void> | undefined;
  #retry: NodeJS.Timeout | undefined;
  #sourceRanges = 0;
  #stopped = false;

  constructor(options: ReconcilerOptions) {
    const { maps, frontends, backends } = options;
    const seed = seedOf(defaultSeed);
    this.#options = options;
    this.#grace = options.grace ?? gracePeriod();
    this.#writes = new Writes(maps);
    this.#backendNumbers = new NumberAllocator(1, maps.backends.maxEntries - 1, backendRestMs);
    this.#spreads = new Spreads({
      maps, numberOf: (backend) => this.#backends.get(backend)!, retire: (free) => { this.#retire(free); },
      maglevTable: (keys, weights) => maglevTable(keys.map((key, index) => ({ hashString: `[${key},State:active]`, weight: weights?.[index] ?? defaultWeight })), options.maglevSize, seed),
    });
    this.#inherited = new Inherited(maps, this.#backendNumbers, this.#serviceNumbers, options.numbers);
    for (const [key, backend] of this.#inherited.backends) this.#backends.set(key, backend);
    this.#stops = [
      frontends.subscribe((changes) => { for (const { old, row } of changes) for (const one of [old, row]) if (one !== undefined) this.#changedServices.add(one.service); }),
      backends.subscribe((changes) => { for (const { key } of changes) this.#changedBackends.add(key); }),
    ];
    for (const row of frontends.rows()) this.#changedServices.add(row.service);
    for (const row of backends.rows()) this.#changedBackends.add(row.key);
  }

  /** Why a service is not in the kernel as it should be. */
  refusal(service: string): string | undefined { return this.#refused.get(service); }
  numberOf(service: string): number | undefined { return this.#services.get(service); }
  backendNumber(key: string): number | undefined { return this.#backends.get(key); }
  get usage() {
    return { frontends: this.#standing.size, backends: this.#backends.size, slotsFree: this.#spreads.slotsFree, maglevFree: this.#spreads.tablesFree, refused: this.#refused.size };
  }

  async stop(): Promise<void> {
    for (const stop of this.#stops) stop();
    clearTimeout(this.#retry);
    this.#stopped = true;
    await this.#waiting;
  }

  /** Resolves when nothing waits for a grace period. */
  async idle(): Promise<void> { await this.#waiting; }

  /** Makes the kernel have what the tables say; done on return. Nothing goes before the tables are complete. */
  apply(): void {
    const { frontends, backends, maps, maglevSize, log } = this.#options;
    if (!frontends.synced || !backends.synced) return;
    const inherited = this.#inherited;
    this.#inherited = undefined;
    if (inherited !== undefined) {
      const sameSize = maps.control.get(0)?.maglev_size === maglevSize;
      maps.control.set(0, { maglev_size: maglevSize });
      this.#takeOver(inherited, sameSize);
    }
    const gone = this.#numberBackends();
    const services = new Set([...this.#changedServices, ...this.#refused.keys()]);
    this.#changedServices.clear();
    for (const service of services) this.#program(service, inherited);
    if (inherited !== undefined) this.#prune(inherited);
    try {
      this.#spreads.flush();
      this.#writes.flush();
    } catch (error) {
      log(`services: ${messageOf(error)}; it is tried again`);
      clearTimeout(this.#retry);
      this.#retry = setTimeout(() => { this.apply(); }, retryMs);
    }
    for (const one of gone) this.#forgetBackend(one);
  }

  #forgetBackend([key, number]: readonly [string, number]): void {
    this.#backends.delete(key);
    this.#writes.backends.delete(number);
    this.#writes.ending.delete(number);
    this.#retire(() => {
      const { maps, gone } = this.#options;
      const value = maps.backends.get(number);
      maps.backends.delete(number);
      this.#backendNumbers.giveBack(number);
      if (value !== undefined) gone?.([{ number, address: value.addr.word, port: value.port }]);
    });
  }

  /** Numbers for those that came, new states for those that stay; returns those that went. */
  #numberBackends(): [string, number][] {
    const { backends, maps } = this.#options;
    const gone: [string, number][] = [];
    for (const key of this.#changedBackends) {
      const row = backends.get(key);
      const number = this.#backends.get(key);
      if (row === undefined) {
        if (number !== undefined) gone.push([key, number]);
        continue;
      }
      const value = number === undefined ? undefined : maps.backends.get(number);
      const own = number ?? this.#backendNumbers.take();
      if (own === undefined) continue; // who uses it is refused
      this.#backends.set(key, own);
      const pending = { row, connections: value?.connections ?? 0 };
      // A new one is there before anybody is sent to it; one that gets no new connections stops after nobody is.
      if (value === undefined || (stateOfBackend(value) !== row.state && row.state === 'active')) this.#writes.backends.set(own, pending);
      else if (stateOfBackend(value) !== row.state) this.#writes.ending.set(own, pending);
    }
    this.#changedBackends.clear();
    return gone;
  }

  #program(service: string, inherited: Inherited | undefined): void {
    const rows = this.#options.frontends.by('service', service);
    const before = this.#keysOf.get(service) ?? new Set<string>();
    if (rows.length === 0 && before.size === 0) {
      this.#refused.delete(service);
      return;
    }
    const refusal = this.#whyNot(rows, before);
    if (refusal !== undefined) {
      this.#refuse(service, refusal);
      return;
    }
    const number = this.#services.get(service) ?? inherited?.serviceNumber(rows) ?? this.#serviceNumbers.take()!;
    const spreads: Spread[] = [];
    for (const row of rows) {
      const spread = this.#spreads.use(service, row);
      if (spread === undefined) {
        for (const one of spreads) this.#spreads.undo(service, one);
        if (!this.#services.has(service)) this.#serviceNumbers.untake(number);
        this.#refuse(service, `no room for its ${rows.length} frontends: ${this.#spreads.slotsFree} places for backends and ${this.#spreads.tablesFree} Maglev tables are left`);
        return;
      }
      spreads.push(spread);
    }
    this.#refused.delete(service);
    const keys = new Set<string>();
    this.#writeRanges(service, number, rows);
    rows.forEach((row, index) => {
      keys.add(row.key);
      this.#setFrontend(row, number, spreads[index]!, inherited);
    });
    for (const key of before) if (!keys.has(key)) this.#removeFrontend(key, service);
    if (keys.size > 0) {
      this.#services.set(service, number);
      this.#keysOf.set(service, keys);
    } else {
      this.#keysOf.delete(service);
      this.#services.delete(service);
      this.#retire(() => { this.#serviceNumbers.giveBack(number); });
    }
  }

  #setFrontend(row: FrontendRow, number: number, spread: Spread, inherited: Inherited | undefined): void {
    const value: Frontend = { service: number, first: spread.first, count: spread.backends.length, maglev: spread.maglev, affinity_seconds: row.affinitySeconds, flags: flagsOf(row) };
    const old = this.#standing.get(row.key);
    this.#standing.set(row.key, { service: row.service, spread, row, value });
    if (old !== undefined) this.#spreads.drop(old.service, old.spread);
    if (sameValue(old?.value ?? inherited?.frontends.get(row.key)?.value, value)) return;
    this.#writes.goneFrontends.delete(row.key);
    this.#writes.frontends.set(row.key, { row, value });
  }

  #removeFrontend(key: string, service: string): void {
    const standing = this.#standing.get(key);
    // Another service may have it by now.
    if (standing?.service !== service) return;
    this.#standing.delete(key);
    this.#spreads.drop(service, standing.spread);
    this.#writes.frontends.delete(key);
    this.#writes.goneFrontends.set(key, frontendKeyOf(standing.row));
  }

  #writeRanges(service: string, number: number, rows: readonly FrontendRow[]): void {
    const wanted = [...new Set(rows.flatMap(({ sourceRanges }) => sourceRanges))];
    const before = this.#rangesOf.get(service) ?? [];
    for (const range of wanted) if (!before.includes(range)) this.#writes.ranges.set(`${number} ${range}`, sourceRangeKey(number, range));
    for (const range of before) if (!wanted.includes(range)) this.#writes.goneRanges.set(`${number} ${range}`, sourceRangeKey(number, range));
    this.#sourceRanges += wanted.length - before.length;
    if (wanted.length > 0) this.#rangesOf.set(service, wanted);
    else this.#rangesOf.delete(service);
  }

  #whyNot(rows: readonly FrontendRow[], before: ReadonlySet<string>): string | undefined {
    // What goes is taken away after what comes is there.
    const total = this.#standing.size + this.#writes.goneFrontends.size + rows.filter(({ key }) => !before.has(key)).length;
    const { maps } = this.#options;
    if (total > maps.frontends.maxEntries) return `${total} frontends, at most ${maps.frontends.maxEntries} fit`;
    const ranges = this.#sourceRanges + new Set(rows.flatMap(({ sourceRanges }) => sourceRanges)).size;
    if (ranges > maps.sourceRanges.maxEntries) return `${ranges} source ranges, at most ${maps.sourceRanges.maxEntries} fit`;
    if (rows.some(({ backends }) => backends.some((key) => !this.#backends.has(key)))) return `more than ${maps.backends.maxEntries - 1} backends`;
    return undefined;
  }

  #refuse(service: string, message: string): void {
    if (this.#refused.get(service) !== message) this.#options.log(`Service ${service} is not programmed: ${message}`);
    this.#refused.set(service, message);
  }

  /** What stands as it should keeps its place; nothing that the kernel reads is given to somebody else before it is replaced. */
  #takeOver(inherited: Inherited, sameSize: boolean): void {
    for (const row of this.#options.frontends.rows()) {
      const standing = inherited.frontends.get(row.key);
      if (standing === undefined || standing.value.count !== row.backends.length || (standing.value.maglev !== 0) !== (row.maglev && row.backends.length > 0)) continue;
      // Which weights, and of another size which slots, a table was made for is not known.
      if (row.maglev && (!sameSize || row.weights !== undefined)) continue;
      const same = row.backends.every((key, index) => this.#backends.get(key) === standing.backends[index]);
      if (same && this.#spreads.adopt(row.service, row.backends, standing.value.first, standing.value.maglev) !== undefined) inherited.settled.add(standing.place);
    }
    inherited.reserveRest((first, count, maglev) => this.#spreads.adopt(nobodys(first), Array.from({ length: count }, (_, index) => `${first + index}`), first, maglev));
  }

  /** What an agent before left and nobody wants. */
  #prune(inherited: Inherited): void {
    for (const [key, { kernelKey }] of inherited.frontends) if (!this.#standing.has(key)) this.#writes.goneFrontends.set(key, kernelKey);
    const wanted = new Set([...this.#rangesOf].flatMap(([service, ranges]) => ranges.map((range) => `${this.#services.get(service)} ${range}`)));
    for (const [text, key] of inherited.sourceRanges) if (!wanted.has(text)) this.#writes.goneRanges.set(text, key);
    for (const [key] of inherited.backends) if (this.#options.backends.get(key) === undefined) this.#changedBackends.add(key);
    const used = new Set(this.#services.values());
    for (const number of inherited.serviceNumbers) if (!used.has(number)) this.#serviceNumbers.giveBack(number);
    for (const spread of inherited.rest) {
      spread.users += 1;
      this.#spreads.drop(nobodys(spread.first), spread);
    }
    this.#retire(() => { this.#spreads.prune(); });
    for (const one of this.#numberBackends()) this.#forgetBackend(one);
  }

  #retire(free: () => void): void {
    this.#retiring.push(free);
    this.#waiting ??= this.#free().finally(() => { this.#waiting = undefined; });
  }

  async #free(): Promise<void> {
    await new Promise(setImmediate); // what this turn retires goes together, after its writes
    while (this.#retiring.length > 0) {
      const batch = this.#retiring.splice(0);
      await this.#grace();
      if (this.#stopped) return; // what is left is the next agent's
      for (const free of batch) free();
      this.#spreads.flush();
      if (this.#refused.size > 0) this.apply();
    }
  }
}

/** In place of a service, for slots that an agent before left and nobody wants. */
const nobodys = (first: number): string => `slots from ${first}`;

const sameValue = (a: Frontend | undefined, b: Frontend): boolean => a !== undefined && a.service === b.service && a.first === b.first && a.count === b.count && a.maglev === b.maglev
  && a.affinity_seconds === b.affinity_seconds && a.flags === b.flags;
