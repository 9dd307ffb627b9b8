// What is still to be written to the kernel's maps of services, in the order in which nothing points at what is not there: backends, source ranges,
// frontends; then what goes: frontends, source ranges, states of backends that end. A write that fails stays for the next try.
import type { Backend, Frontend, FrontendKey, SourceRangeKey } from '../../bpf/types.gen.ts';
import { backendValue, frontendKeyOf, type ServiceMaps } from './maps.ts';
import type { BackendRow, FrontendRow } from './tables.ts';

/** Encoded only when it is written: there may be 100,000 of them. */
interface PendingBackend { readonly row: BackendRow; readonly connections: number }

function* backendRows(pending: ReadonlyMap<number, PendingBackend>): Generator<readonly [number, Backend]> {
  for (const [number, { row, connections }] of pending) yield [number, backendValue(row, connections)];
}

function* frontendRows(pending: Writes['frontends']): Generator<readonly [FrontendKey, Frontend]> {
  for (const { row, value } of pending.values()) yield [frontendKeyOf(row), value];
}

export class Writes {
  readonly #maps: ServiceMaps;
  readonly backends = new Map<number, PendingBackend>();
  readonly ranges = new Map<string, SourceRangeKey>();
  readonly frontends = new Map<string, { readonly row: FrontendRow; readonly value: Frontend }>();
  readonly goneFrontends = new Map<string, FrontendKey>();
  readonly goneRanges = new Map<string, SourceRangeKey>();
  readonly ending = new Map<number, PendingBackend>();

  constructor(maps: ServiceMaps) { this.#maps = maps; }

  /** Throws KernelError; what was written until then is not written again. */
  flush(): void {
    const { frontends, backends, sourceRanges } = this.#maps;
    backends.setAll(backendRows(this.backends), this.backends.size);
    this.backends.clear();
    each(this.ranges, (key) => { sourceRanges.set(key, 1); });
    frontends.setAll(frontendRows(this.frontends), this.frontends.size);
    this.frontends.clear();
    each(this.goneFrontends, (key) => { frontends.delete(key); });
    each(this.goneRanges, (key) => { sourceRanges.delete(key); });
    backends.setAll(backendRows(this.ending), this.ending.size);
    this.ending.clear();
  }
}

function each<Key, Value>(map: Map<Key, Value>, write: (value: Value) => void): void {
  for (const [key, value] of map) {
    write(value);
    map.delete(key);
  }
}
