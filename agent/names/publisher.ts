// The tables of services and endpoints -> the folder of names, name by name. Nothing is written before all of them have been
// read: what an agent before left stands until then, so that no name is gone while agents change.
import type { ManifestRow } from '../directory/tables.ts';
import type { EndpointRow } from '../endpoint/tables.ts';
import type { RemoteEndpointRow } from '../node/tables.ts';
import type { ServiceRow, SliceRow } from '../service/tables.ts';
import type { Change, Table } from '../store/table.ts';
import { keysOf, nameOf, type Named } from './derive.ts';
import type { NamesFolder } from './folder.ts';

export interface NameTables {
  readonly services: Table<ServiceRow>;
  readonly 'endpoint-slices': Table<SliceRow>;
  readonly endpoints: Table<EndpointRow>;
  readonly 'remote-endpoints': Table<RemoteEndpointRow>;
  /** Names wait until it is read. */
  readonly manifests: Table<ManifestRow>;
}

/** A burst of changes is one write of each file. */
const gatherMs = 20;

export function publishNames(tables: NameTables, folder: NamesFolder): () => void {
  const { services, 'endpoint-slices': slices, endpoints, 'remote-endpoints': remote, manifests } = tables;
  /** Name -> table and key -> endpoint. */
  const named = new Map<string, Map<string, Named>>();
  const dirty = new Set<string>();
  let timer: NodeJS.Timeout | undefined;
  let pruned = false;

  const write = (): void => {
    timer = undefined;
    if (![services, slices, manifests].every((table) => table.synced)) return;
    const keys = [...dirty];
    dirty.clear();
    folder.write(keys.map((key) => [key, nameOf(key, services.get(key), slices.by('service', key), [...named.get(key)?.values() ?? []])] as const));
    if (!pruned) folder.prune();
    pruned = true;
  };
  const touch = (keys: Iterable<string>): void => {
    for (const key of keys) dirty.add(key);
    timer ??= setTimeout(write, gatherMs).unref();
  };
  const place = (table: string) => (changes: readonly Change<EndpointRow | RemoteEndpointRow>[]): void => {
    for (const { key, old, row } of changes) {
      for (const name of old === undefined ? [] : keysOf(old)) {
        named.get(name)?.delete(`${table} ${key}`);
        if (named.get(name)?.size === 0) named.delete(name);
      }
      for (const name of row === undefined ? [] : keysOf(row)) named.set(name, (named.get(name) ?? new Map<string, Named>()).set(`${table} ${key}`, row!));
      touch([...(old === undefined ? [] : keysOf(old)), ...(row === undefined ? [] : keysOf(row))]);
    }
  };
  const all = <Row>(rows: readonly Row[], key: (row: Row) => string): Change<Row>[] => rows.map((row) => ({ key: key(row), old: undefined, row }));
  place('endpoints')(all(endpoints.rows(), (row) => row.key));
  place('remote')(all(remote.rows(), (row) => `${row.node}/${row.key}`));
  touch([...services.rows().map(({ key }) => key)]);
  const stops = [
    endpoints.subscribe(place('endpoints')), remote.subscribe(place('remote')),
    services.subscribe((changes) => { touch(changes.map(({ key }) => key)); }),
    slices.subscribe((changes) => { touch(changes.flatMap(({ old, row }) => [old, row].flatMap((one) => (one === undefined ? [] : [`${one.namespace}/${one.service}`])))); }),
    manifests.subscribe((changes) => { if (changes.length === 0) touch([]); }),
  ];
  return () => {
    clearTimeout(timer);
    for (const stop of stops) stop();
  };
}
