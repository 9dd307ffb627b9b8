// What is still to be written to the kernel's maps of services, in the order in which nothing points at what is not there: backends, source ranges,
// frontends; then what goes: frontends, source ranges, states of backends that end. A write that fails stays for the next try.
import type { Backend, Frontend, FrontendKey, SourceRangeKey } from '../../bpf/types.gen.ts';
import type { ServiceMaps } from './maps.ts';

export class Writes {
  readonly #maps: ServiceMaps;
  readonly backends = new Map<number, Backend>();
  readonly ranges = new Map<string, SourceRangeKey>();
  readonly frontends = new Map<string, readonly [FrontendKey, Frontend]>();
  readonly goneFrontends = new Map<string, FrontendKey>();
  readonly goneRanges = new Map<string, SourceRangeKey>();
  readonly ending = new Map<number, Backend>();

  constructor(maps: ServiceMaps) { this.#maps = maps; }

  /** Throws KernelError; what was written until then is not written again. */
  flush(): void {
    const { frontends, backends, sourceRanges } = this.#maps;
    backends.setAll([...this.backends]);
    this.backends.clear();
    each(this.ranges, (key) => { sourceRanges.set(key, 1); });
    frontends.setAll([...this.frontends.values()]);
    this.frontends.clear();
    each(this.goneFrontends, (key) => { frontends.delete(key); });
    each(this.goneRanges, (key) => { sourceRanges.delete(key); });
    backends.setAll([...this.ending]);
    this.ending.clear();
  }
}

function each<Key, Value>(map: Map<Key, Value>, write: (value: Value) => void): void {
  for (const [key, value] of map) {
    write(value);
    map.delete(key);
  }
}
