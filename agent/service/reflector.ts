// Manifests of Services and EndpointSlices -> the tables of both, each object on its own: one that is refused keeps its last good version and never
// harms another.
import type { ManifestRow, ProblemRow } from '../directory/tables.ts';
import { type Problem, type Report } from '../policy/check.ts';
import { clearProblems, reportProblems } from '../policy/problem-rows.ts';
import type { Change, Table } from '../store/table.ts';
import type { Allocations } from './allocations.ts';
import { draftOf, sliceOf, type ServiceDraft } from './draft.ts';
import { endpointSlice, service } from './schema.ts';
import { checkService, checkSlice } from './semantics.ts';
import type { ServiceRow, SliceRow } from './tables.ts';

export interface ServiceTables { readonly manifests: Table<ManifestRow>; readonly problems: Table<ProblemRow>; readonly services: Table<ServiceRow>; readonly slices: Table<SliceRow> }

export const SERVICE = 'Service';
export const SLICE = 'EndpointSlice';
const keyOf = (manifestKey: string): string => manifestKey.slice(manifestKey.indexOf('/') + 1);

/** Everything that is wrong with one object of these kinds; without an error it is safe to read. */
export function checkObject(kind: string, object: Readonly<Record<string, unknown>>): Problem[] {
  const problems: Problem[] = [];
  const report: Report = (problem) => { problems.push(problem); };
  (kind === SERVICE ? service : endpointSlice)(object, [], report);
  if (!hasError(problems)) (kind === SERVICE ? checkService : checkSlice)(object, report);
  return problems;
}

const hasError = (problems: readonly Problem[]): boolean => problems.some(({ severity }) => severity === 'error');

export class ServiceReflector {
  readonly #tables: ServiceTables;
  readonly #allocations: Allocations;
  /** Sound ones for which there was nothing left, or what they asked for was somebody else's: asked again with every change. */
  readonly #waiting = new Map<string, { readonly row: ManifestRow; readonly draft: ServiceDraft }>();
  /** Objects with problems. */
  readonly #reported = new Set<string>();
  readonly #synced: (() => void)[];
  readonly #stop: () => void;
  #wasSynced = false;

  constructor(tables: ServiceTables, allocations: Allocations) {
    this.#tables = tables;
    this.#allocations = allocations;
    this.#synced = [tables.services.expect('manifests'), tables.slices.expect('manifests')];
    this.#stop = tables.manifests.subscribe((changes) => { this.#follow(changes); });
    this.#follow([SERVICE, SLICE].flatMap((kind) => tables.manifests.by('kind', kind)).map((row) => ({ key: row.key, old: undefined, row })));
  }

  stop(): void { this.#stop(); }

  #follow(changes: readonly Change<ManifestRow>[]): void {
    const { manifests } = this.#tables;
    const of = (kind: string): Change<ManifestRow>[] => changes.filter(({ old, row }) => (row ?? old)!.kind === kind);
    const first = manifests.synced && !this.#wasSynced;
    const [services, slices] = [of(SERVICE), of(SLICE)];
    if (services.length > 0 || first) this.#followServices(services);
    if (slices.length > 0) this.#followSlices(slices);
    if (!first) return;
    this.#wasSynced = true;
    for (const done of this.#synced) done();
  }

  #followServices(changes: readonly Change<ManifestRow>[]): void {
    const { manifests, services } = this.#tables;
    const drafts = new Map(this.#waiting);
    this.#waiting.clear();
    const gone: string[] = [];
    for (const { key, row } of changes) {
      drafts.delete(keyOf(key));
      this.#clear(key, row);
      if (row === undefined) gone.push(keyOf(key));
      else if (this.#isSound(row)) drafts.set(keyOf(key), { row, draft: draftOf(row) });
    }
    const present = manifests.synced ? new Set(manifests.by('kind', SERVICE).map(({ key }) => keyOf(key))) : undefined;
    const results = this.#allocations.allocate([...drafts.values()].map(({ draft }) => draft), present);
    const rows: ServiceRow[] = [];
    for (const [key, result] of results) {
      if ('row' in result) rows.push(result.row);
      else {
        const waiting = drafts.get(key)!;
        this.#waiting.set(key, waiting);
        this.#report(waiting.row, [result.refused]);
      }
    }
    services.write(rows, gone);
  }

  #followSlices(changes: readonly Change<ManifestRow>[]): void {
    const gone: string[] = [];
    const rows: SliceRow[] = [];
    for (const { key, row } of changes) {
      this.#clear(key, row);
      if (row === undefined) gone.push(keyOf(key));
      else if (this.#isSound(row)) rows.push(sliceOf(row));
    }
    this.#tables.slices.write(rows, gone);
  }

  #isSound(row: ManifestRow): boolean {
    const problems = checkObject(row.kind, row.object);
    if (problems.length > 0) this.#report(row, problems);
    return !hasError(problems);
  }

  #report(row: ManifestRow, problems: Parameters<typeof reportProblems>[2]): void {
    this.#reported.add(row.key);
    clearProblems(this.#tables.problems, row);
    reportProblems(this.#tables.problems, row, problems);
  }

  #clear(key: string, row: ManifestRow | undefined): void {
    if (!this.#reported.delete(key)) return;
    clearProblems(this.#tables.problems, row ?? { key } as ManifestRow);
  }
}
