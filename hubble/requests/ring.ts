// Requests of the last ten minutes, counted as they come: a ring of slices of time, in each the pairs that talked, with a route and a
// histogram. A request costs one look-up; names are asked for once per pair and slice.
import type { ProxyAccess } from '../access.ts';
import { routeOf } from './route.ts';
import { countRequest, noCounts, RequestTable, type EndName, type RequestCounts, type RequestGrouping, type RequestKind, type RequestReport } from './table.ts';

const sliceMs = 5_000;
const slices = 121;
export const reachMs = (slices - 1) * sliceMs;
/** In all slices; about 0.7 KB each. What finds no place is counted. */
const mostCells = 16_384;
/** Paths whose route is remembered. */
const mostPaths = 2_048;

interface Cell { readonly kind: RequestKind; readonly counts: RequestCounts }
interface Slice { number: number; others: number; readonly cells: Map<string, Cell> }

export class RequestRing {
  readonly #slices: Slice[] = Array.from({ length: slices }, () => ({ number: -1, others: 0, cells: new Map() }));
  readonly #routes = new Map<string, string>();
  readonly #now: () => number;
  readonly #startedMs: number;
  readonly #nameOf: (address: string) => EndName;
  #cells = 0;
  #uncounted = 0;

  /** `nameOf`: of an address, now. */
  constructor(now: () => number, nameOf: (address: string) => EndName) {
    this.#now = now;
    this.#startedMs = now();
    this.#nameOf = nameOf;
  }

  /** Requests that found no place. */
  get uncounted(): number { return this.#uncounted; }

  /** By the time at which it is told: logs come seconds late at most. */
  add({ http, source, destination, durationNs }: ProxyAccess): void {
    if (http === undefined) return;
    const slice = this.#slice(Math.floor(this.#now() / sliceMs));
    const route = this.#route(http.path);
    const key = `${source.address} ${destination.address} ${http.method} ${route}`;
    let cell = slice.cells.get(key);
    if (cell === undefined) {
      if (this.#cells >= mostCells) {
        slice.others += 1;
        this.#uncounted += 1;
        return;
      }
      this.#cells += 1;
      cell = { kind: { source: this.#nameOf(source.address), destination: this.#nameOf(destination.address), method: http.method.slice(0, 32), route }, counts: noCounts() };
      slice.cells.set(key, cell);
    }
    countRequest(cell.counts, http.code, Number(durationNs));
  }

  /** At most `reachMs` back, in whole slices. */
  report(by: RequestGrouping, sinceMs: number): RequestReport {
    const now = this.#now();
    const last = Math.floor(now / sliceMs);
    const first = Math.max(last - slices + 1, Math.floor((now - sinceMs) / sliceMs));
    const table = new RequestTable(by);
    let others = 0;
    for (const { number, others: more, cells } of this.#slices) {
      if (number < first) continue;
      others += more;
      for (const { kind, counts } of cells.values()) table.add(kind, counts);
    }
    const report = table.report(Math.max(1, (now - Math.max(this.#startedMs, first * sliceMs)) / 1_000));
    return { ...report, others: report.others + others };
  }

  #slice(number: number): Slice {
    const slice = this.#slices[number % slices]!;
    if (slice.number === number) return slice;
    // All that is over goes, also slices in which nothing came since.
    for (const old of this.#slices) {
      if (old.number > number - slices && old !== slice) continue;
      this.#cells -= old.cells.size;
      old.cells.clear();
      old.others = 0;
    }
    slice.number = number;
    return slice;
  }

  #route(path: string): string {
    const known = this.#routes.get(path);
    if (known !== undefined) return known;
    if (this.#routes.size >= mostPaths) this.#routes.clear();
    const route = routeOf(path);
    this.#routes.set(path, route);
    return route;
  }
}
