// Rows -> names and their records. A row that changes touches its own names only, however many others there are.
import { dashed, familyOf, reverseName } from './reverse.ts';
import type { NameEndpoint, NamePort, NameRow, NameService } from './rows.ts';

export interface Srv { readonly target: string; readonly port: number }

/** Targets and aliases as full names without the last dot. */
export interface Records { readonly a: readonly string[]; readonly aaaa: readonly string[]; readonly srv: readonly Srv[]; readonly cname?: string }

const addressRecords = (addresses: readonly string[], srv: readonly Srv[] = []): Records =>
  ({ a: addresses.filter((one) => familyOf(one) === 4), aaaa: addresses.filter((one) => familyOf(one) === 6), srv });

const portName = ({ name, protocol }: NamePort): string => `_${name}._${protocol.toLowerCase()}`;

export class Zone {
  readonly domain: string;
  readonly #rows = new Map<string, NameRow>();
  readonly #names = new Map<string, { readonly key: string; readonly records: Records }>();
  /** Of each name that has others below it, how many. */
  readonly #parents = new Map<string, number>();
  /** Reverse name -> row -> name; a service's stands before a workload's. */
  readonly #reverse = new Map<string, Map<string, { readonly name: string; readonly service: boolean }>>();
  #serial = 1;

  constructor(domain: string) { this.domain = domain.toLowerCase(); }

  get size(): number { return this.#rows.size; }
  get serial(): number { return this.#serial; }

  set(row: NameRow): void {
    this.delete(row.key);
    this.#rows.set(row.key, row);
    for (const [name, records] of this.#namesOf(row)) this.#add(name, { key: row.key, records });
    for (const { reverse, name, service } of this.#reversesOf(row)) {
      const names = this.#reverse.get(reverse) ?? new Map<string, { name: string; service: boolean }>();
      this.#reverse.set(reverse, names.set(row.key, { name, service }));
    }
  }

  delete(key: string): void {
    const row = this.#rows.get(key);
    if (row === undefined) return;
    this.#rows.delete(key);
    for (const [name] of this.#namesOf(row)) this.#remove(name, key);
    for (const { reverse } of this.#reversesOf(row)) {
      const names = this.#reverse.get(reverse);
      names?.delete(key);
      if (names?.size === 0) this.#reverse.delete(reverse);
    }
  }

  /** Lower case. `empty`: nothing of its own, but names below it (RFC 8020). */
  get(name: string): Records | 'empty' | undefined {
    return this.#names.get(name)?.records ?? (this.#parents.has(name) || name === this.domain ? 'empty' : undefined);
  }

  reverse(name: string): string[] {
    const found = [...this.#reverse.get(name)?.values() ?? []];
    const services = found.filter(({ service }) => service);
    return (services.length > 0 ? services : found).map((one) => one.name);
  }

  /** Two rows may claim one name for a moment (an address that changes hands): the later stands, and only its own row removes it. */
  #add(name: string, owned: { key: string; records: Records }): void {
    this.#serial = (this.#serial + 1) >>> 0;
    if (!this.#names.has(name)) this.#count(name, 1);
    this.#names.set(name, owned);
  }

  #remove(name: string, key: string): void {
    this.#serial = (this.#serial + 1) >>> 0;
    if (this.#names.get(name)?.key !== key) return;
    this.#names.delete(name);
    this.#count(name, -1);
  }

  #count(name: string, by: 1 | -1): void {
    for (let dot = name.indexOf('.'); dot >= 0 && name.length - dot - 1 > this.domain.length; dot = name.indexOf('.', dot + 1)) {
      const parent = name.slice(dot + 1);
      const count = (this.#parents.get(parent) ?? 0) + by;
      if (count === 0) this.#parents.delete(parent);
      else this.#parents.set(parent, count);
    }
  }

  #namesOf(row: NameRow): [string, Records][] {
    const [namespace, name] = row.key.toLowerCase().split('/') as [string, string];
    const base = `${name}.${namespace}.svc.${this.domain}`;
    const pods = (row.pod ?? []).map((address): [string, Records] => [`${dashed(address)}.${namespace}.pod.${this.domain}`, addressRecords([address])]);
    if (row.service !== undefined) return [...this.#serviceNames(base, row.service), ...pods];
    return row.workloads === undefined ? pods : [[base, addressRecords(row.workloads)], ...pods];
  }

  #serviceNames(base: string, { clusterIps, externalName, ports, endpoints }: NameService): [string, Records][] {
    if (externalName !== undefined) return [[base, { a: [], aaaa: [], srv: [], cname: externalName.toLowerCase().replace(/\.$/, '') }]];
    if (clusterIps.length > 0) {
      const srv = (port: NamePort): Srv => ({ target: base, port: port.port });
      return [[base, addressRecords(clusterIps, ports.map(srv))],
        ...ports.filter((port) => port.name !== '').map((port): [string, Records] => [`${portName(port)}.${base}`, addressRecords([], [srv(port)])])];
    }
    return headlessNames(base, endpoints);
  }

  #reversesOf({ key, service, workloads, pod }: NameRow): { reverse: string; name: string; service: boolean }[] {
    const [namespace, name] = key.toLowerCase().split('/') as [string, string];
    const base = `${name}.${namespace}.svc.${this.domain}`;
    if (service === undefined) return workloads === undefined ? [] : (pod ?? []).map((address) => ({ reverse: reverseName(address), name: base, service: false }));
    return [...service.clusterIps.map((address) => ({ reverse: reverseName(address), name: base, service: true })),
      ...service.endpoints.flatMap((one) => one.addresses.map((address) => ({ reverse: reverseName(address), name: `${labelOf(one, address)}.${base}`, service: true })))];
  }
}

const labelOf = ({ hostname }: NameEndpoint, address: string): string => (hostname ?? dashed(address)).toLowerCase();

/** All addresses under the service's name; each endpoint under its own; a port's SRV for each endpoint. */
function headlessNames(base: string, endpoints: readonly NameEndpoint[]): [string, Records][] {
  const all: string[] = [];
  const hosts = new Map<string, string[]>();
  const srv = new Map<string, Srv[]>();
  const every: Srv[] = [];
  for (const endpoint of endpoints) {
    for (const address of endpoint.addresses) {
      const host = `${labelOf(endpoint, address)}.${base}`;
      all.push(address);
      hosts.set(host, [...hosts.get(host) ?? [], address]);
      for (const port of endpoint.ports) {
        const one = { target: host, port: port.port };
        const isNew = (list: readonly Srv[]): boolean => !list.some(({ target, port: number }) => target === one.target && number === one.port);
        const name = `${portName(port)}.${base}`;
        const named = srv.get(name) ?? [];
        if (port.name !== '' && isNew(named)) srv.set(name, [...named, one]);
        if (isNew(every)) every.push(one);
      }
    }
  }
  return [[base, addressRecords(all, every)], ...[...hosts].map(([name, addresses]): [string, Records] => [name, addressRecords(addresses)]),
    ...[...srv].map(([name, list]): [string, Records] => [name, addressRecords([], list)])];
}
