// The tables: all state that weir derives from. Reflectors write them, reconcilers follow their change feed.
// A write is one synchronous transaction; rows are readonly; a row that is equal to the old one is no change.
import { isDeepStrictEqual } from 'node:util';

export interface Change<Row> {
  readonly key: string;
  readonly old: Row | undefined;
  /** Absent when the row was deleted. */
  readonly row: Row | undefined;
}

export interface TableOptions<Row> {
  readonly name: string;
  readonly key: (row: Row) => string;
  /** Named secondary keys: a row may have none, one or several values. */
  readonly indexes?: Readonly<Record<string, (row: Row) => readonly string[]>>;
  /** What `weir db show` prints for a row; the row itself when absent. */
  readonly show?: (row: Row) => Record<string, unknown>;
}

type Listener<Row> = (changes: readonly Change<Row>[]) => void;

export class Table<Row extends object> {
  readonly name: string;
  readonly #options: TableOptions<Row>;
  readonly #rows = new Map<string, Row>();
  /** A value that one row has holds its key, one that several have a set of keys. */
  readonly #indexes = new Map<string, Map<string, string | Set<string>>>();
  readonly #listeners = new Set<Listener<Row>>();
  #revision = 0;
  /** Reflectors that have not yet delivered their first complete set. */
  readonly #pendingInitializers = new Set<string>();

  constructor(options: TableOptions<Row>) {
    this.name = options.name;
    this.#options = options;
    for (const index of Object.keys(options.indexes ?? {})) this.#indexes.set(index, new Map());
  }

  /** Grows by one with every transaction that changed something. */
  get revision(): number { return this.#revision; }
  get size(): number { return this.#rows.size; }
  /** True when every reflector of this table has delivered its first complete set: only then may anything be pruned. */
  get synced(): boolean { return this.#pendingInitializers.size === 0; }

  expect(reflector: string): () => void {
    this.#pendingInitializers.add(reflector);
    return () => {
      if (this.#pendingInitializers.delete(reflector)) this.#notify([]);
    };
  }

  get(key: string): Row | undefined { return this.#rows.get(key); }
  rows(): Row[] { return [...this.#rows.values()]; }

  by(index: string, value: string): Row[] {
    const keys = this.#index(index).get(value);
    if (keys === undefined) return [];
    return typeof keys === 'string' ? [this.#rows.get(keys)!] : Array.from(keys, (key) => this.#rows.get(key)!);
  }

  /** Upserts and deletes in one transaction; listeners see one batch. Deleting an absent key is fine. */
  write(upserts: Iterable<Row>, deletes: Iterable<string> = []): void {
    const changes: Change<Row>[] = [];
    for (const key of deletes) {
      const old = this.#rows.get(key);
      if (old === undefined) continue;
      this.#rows.delete(key);
      this.#reindex(key, old, undefined);
      changes.push({ key, old, row: undefined });
    }
    for (const row of upserts) {
      const key = this.#options.key(row);
      const old = this.#rows.get(key);
      if (old !== undefined && isDeepStrictEqual(old, row)) continue;
      this.#rows.set(key, row);
      this.#reindex(key, old, row);
      changes.push({ key, old, row });
    }
    if (changes.length > 0) this.#notify(changes);
  }

  /** Makes the rows for which `owned` holds exactly `rows`, in one transaction. */
  replace(rows: Iterable<Row>, owned: (row: Row) => boolean = () => true): void {
    const next = [...rows];
    const keep = new Set(next.map(this.#options.key));
    const gone = [...this.#rows].filter(([key, row]) => owned(row) && !keep.has(key)).map(([key]) => key);
    this.write(next, gone);
  }

  /** Calls back after every transaction (and when the table becomes synced, with no changes). Returns the way to stop. */
  subscribe(listener: Listener<Row>): () => void {
    this.#listeners.add(listener);
    return () => { this.#listeners.delete(listener); };
  }

  show(): Record<string, unknown>[] {
    const show = this.#options.show ?? ((row: Row) => row as Record<string, unknown>);
    return this.rows().map(show);
  }

  #index(name: string): Map<string, string | Set<string>> {
    const index = this.#indexes.get(name);
    if (index === undefined) throw new Error(`table ${this.name} has no index ${name}`);
    return index;
  }

  #reindex(key: string, old: Row | undefined, row: Row | undefined): void {
    for (const [name, values] of Object.entries(this.#options.indexes ?? {})) {
      const index = this.#index(name);
      for (const value of old === undefined ? [] : values(old)) {
        const keys = index.get(value);
        if (keys === key || (typeof keys === 'object' && keys.delete(key) && keys.size === 0)) index.delete(value);
      }
      for (const value of row === undefined ? [] : values(row)) {
        const keys = index.get(value);
        if (typeof keys === 'object') keys.add(key);
        else index.set(value, keys === undefined || keys === key ? key : new Set([keys, key]));
      }
    }
  }

  #notify(changes: readonly Change<Row>[]): void {
    if (changes.length > 0) this.#revision += 1;
    for (const listener of [...this.#listeners]) listener(changes);
  }
}
