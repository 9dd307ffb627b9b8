// Services, slices, pods and node addresses -> computed slices, frontends and backends. Only the services that a change concerns are derived anew;
// changes within a few milliseconds go together.
import type { EndpointRow } from '../endpoint/tables.ts';
import type { NodeAddressRow, RemoteEndpointRow } from '../node/tables.ts';
import type { Change, Table } from '../store/table.ts';
import type { WorkloadRow } from '../workload/tables.ts';
import { deriveService, type Derived, type NodeView } from './derive.ts';
import { localPod, remotePod, Selection } from './pods.ts';
import { slicesOf } from './slices.ts';
import type { BackendRow, FrontendRow, ServiceRow, SliceRow } from './tables.ts';

export interface FollowTables {
  readonly services: Table<ServiceRow>;
  readonly slices: Table<SliceRow>;
  readonly frontends: Table<FrontendRow>;
  readonly backends: Table<BackendRow>;
  readonly endpoints: Table<EndpointRow>;
  readonly workloads: Table<WorkloadRow>;
  readonly remoteEndpoints: Table<RemoteEndpointRow>;
  readonly nodeAddresses: Table<NodeAddressRow>;
}

/** Services that have a backend, by its key. `revision` grows with each change of them. */
export interface BackendUsers { readonly revision: number; readonly usersOf: (backend: string) => readonly string[] }

/** So many are derived before their rows are written: what they leave behind is collected meanwhile. */
const servicesAtOnce = 256;
const nothing: Derived = { frontends: [], backends: [] };
/** Backends that flap are derived this often at most. */
const pauseMs = 10;

export const isNodePortAddress = ({ address }: NodeAddressRow): boolean => !/^fe[89ab]/i.test(address);

export class ServiceFollower implements BackendUsers {
  readonly #tables: FollowTables;
  readonly #view: Omit<NodeView, 'addresses'>;
  readonly #flushed: () => void;
  readonly #selection = new Selection();
  /** Whose slices, and whose frontends are to be derived again. */
  readonly #reselect = new Set<string>();
  readonly #rederive = new Set<string>();
  readonly #derived = new Map<string, Derived>();
  /** Keys of the slices that stand for a service's selector. */
  readonly #computed = new Map<string, ReadonlySet<string>>();
  /** Services by backend; mostly one. */
  readonly #users = new Map<string, string | readonly string[]>();
  #revision = 0;
  readonly #stops: (() => void)[];
  readonly #synced: (() => void)[];
  #addresses: readonly string[];
  #timer: NodeJS.Immediate | NodeJS.Timeout | undefined;
  #flushedAtMs = -Infinity;

  /** `flushed`: the tables of frontends and backends stand for what is known now. */
  constructor(tables: FollowTables, view: Omit<NodeView, 'addresses'>, flushed: () => void) {
    this.#tables = tables;
    this.#view = view;
    this.#flushed = flushed;
    const { services, slices, frontends, backends, endpoints, workloads, remoteEndpoints, nodeAddresses } = tables;
    this.#synced = [frontends.expect('derive'), backends.expect('derive')];
    this.#addresses = this.#nodeAddresses();
    const local = (changes: readonly Change<object>[]): void => { for (const { key } of changes) this.#setPod(`local/${key}`, localPod(endpoints.get(key), workloads.get(key), view.node)); };
    const each = <Row extends object>(table: Table<Row>, follow: (changes: readonly Change<Row>[]) => void): (() => void) => {
      follow(table.rows().map((row): Change<Row> => ({ key: (row as { key?: string }).key ?? '', old: undefined, row })));
      return table.subscribe((changes) => {
        follow(changes);
        this.#later();
      });
    };
    this.#stops = [
      each(workloads, local), each(endpoints, local),
      each(remoteEndpoints, (changes) => { for (const { old, row } of changes) this.#setPod(`${(row ?? old)!.node}/${(row ?? old)!.key}`, row && remotePod(row)); }),
      each(services, (changes) => { for (const { key, row } of changes) this.#setService(key, row); }),
      each(slices, (changes) => { for (const { old, row } of changes) for (const one of [old, row]) if (one !== undefined) this.#rederive.add(`${one.namespace}/${one.service}`); }),
      each(nodeAddresses, () => { this.#followAddresses(); }),
    ];
    this.#later();
  }

  stop(): void {
    for (const stop of this.#stops) stop();
    if (this.#timer !== undefined) {
      clearTimeout(this.#timer as NodeJS.Timeout);
      clearImmediate(this.#timer as NodeJS.Immediate);
    }
  }

  /** Whether a pod of this node stands behind a service. */
  isBackend(pod: string): boolean { return this.#selection.isSelected(`local/${pod}`); }

  /** What is known now is in the tables of frontends and backends, and in the kernel, on return. */
  flush(): void {
    const { services, slices } = this.#tables;
    this.#flushedAtMs = performance.now();
    this.#writeSlices();
    const dirty = [...this.#rederive];
    this.#rederive.clear();
    for (let at = 0; at < dirty.length; at += servicesAtOnce) this.#derive(dirty.slice(at, at + servicesAtOnce));
    if (services.synced && slices.synced) for (const done of this.#synced) done();
    this.#flushed();
  }

  #derive(keys: readonly string[]): void {
    const { services, slices, frontends, backends } = this.#tables;
    const fresh: FrontendRow[] = [];
    const gone: string[] = [];
    const touched = new Set<string>();
    for (const key of keys) {
      const service = services.get(key);
      const old = this.#derived.get(key);
      const next = service === undefined ? nothing : deriveService(service, slices.by('service', key), { ...this.#view, addresses: this.#addresses });
      const wanted = new Set(next.frontends.map((row) => row.key));
      fresh.push(...next.frontends);
      gone.push(...(old?.frontends ?? []).filter((row) => !wanted.has(row.key)).map((row) => row.key));
      for (const one of [...old?.backends ?? [], ...next.backends]) touched.add(one.key);
      this.#setUsers(key, old?.backends ?? [], next.backends);
      if (service === undefined) this.#derived.delete(key);
      else this.#derived.set(key, next);
    }
    const rows = [...touched].map((key) => [key, this.#backend(key)] as const);
    backends.write(rows.flatMap(([, row]) => row ?? []), rows.filter(([, row]) => row === undefined).map(([key]) => key));
    const keep = new Set(fresh.map((row) => row.key));
    // An address that another service has got is that one's.
    frontends.write(fresh, gone.filter((key) => !keep.has(key) && keys.includes(frontends.get(key)?.service ?? '')));
  }

  #later(): void {
    const waitMs = this.#flushedAtMs + pauseMs - performance.now();
    this.#timer ??= waitMs <= 0 ? setImmediate(() => { this.flush(); }) : setTimeout(() => { this.flush(); }, waitMs);
  }

  #setPod(id: string, pod: Parameters<Selection['setPod']>[1]): void { for (const service of this.#selection.setPod(id, pod)) this.#reselect.add(service); }

  #setService(key: string, row: ServiceRow | undefined): void {
    this.#selection.setService(key, row);
    this.#reselect.add(key);
    this.#rederive.add(key);
  }

  #nodeAddresses(): string[] { return this.#tables.nodeAddresses.rows().filter(isNodePortAddress).map(({ address }) => address).sort(); }

  #followAddresses(): void {
    const addresses = this.#nodeAddresses();
    if (addresses.join() === this.#addresses.join()) return;
    this.#addresses = addresses;
    for (const { key, ports } of this.#tables.services.rows()) if (ports.some(({ nodePort }) => nodePort !== undefined)) this.#rederive.add(key);
  }

  #writeSlices(): void {
    const { services, slices } = this.#tables;
    const fresh: SliceRow[] = [];
    const gone: string[] = [];
    for (const key of this.#reselect) {
      const service = services.get(key);
      const next = service === undefined ? [] : slicesOf(service, this.#selection.podsOf(key));
      const keys = new Set(next.map((row) => row.key));
      fresh.push(...next);
      gone.push(...[...this.#computed.get(key) ?? []].filter((one) => !keys.has(one)));
      if (keys.size > 0) this.#computed.set(key, keys);
      else this.#computed.delete(key);
    }
    this.#reselect.clear();
    slices.write(fresh, gone);
    clearTimeout(this.#timer as NodeJS.Timeout | undefined);
    clearImmediate(this.#timer as NodeJS.Immediate | undefined);
    this.#timer = undefined; // its own changes are read at once
  }

  get revision(): number { return this.#revision; }

  usersOf(backend: string): readonly string[] {
    const users = this.#users.get(backend) ?? [];
    return typeof users === 'string' ? [users] : users;
  }

  #setUsers(service: string, old: readonly BackendRow[], next: readonly BackendRow[]): void {
    const wanted = new Set(next.map(({ key }) => key));
    for (const { key } of old) {
      if (wanted.has(key)) continue;
      this.#revision += 1;
      const rest = this.usersOf(key).filter((one) => one !== service);
      if (rest.length > 0) this.#users.set(key, rest);
      else this.#users.delete(key);
    }
    for (const { key } of next) {
      const users = this.usersOf(key);
      if (users.includes(service)) continue;
      this.#users.set(key, users.length === 0 ? service : [...users, service]);
      this.#revision += 1;
    }
  }

  /** Active when any service sends new connections to it. */
  #backend(key: string): BackendRow | undefined {
    const rows = this.usersOf(key).map((service) => this.#derived.get(service)!.backends.find((row) => row.key === key)!);
    return rows.find(({ state }) => state === 'active') ?? rows[0];
  }
}
