// Which Service is reached at an address and port: as whose frontend, or as whose backend where it is that of one Service alone.
import type { ServiceLookup } from '../../hubble/services.ts';
import { backendKey, frontendKey } from '../service/derive.ts';
import type { BackendUsers } from '../service/follow.ts';
import type { BackendRow, FrontendRow, ServiceProtocol } from '../service/tables.ts';
import type { Table } from '../store/table.ts';

const protocols: Readonly<Record<number, ServiceProtocol>> = { 6: 'TCP', 17: 'UDP', 132: 'SCTP' };

export class ServiceNames implements ServiceLookup {
  /** A bit that was set once stays: it says where to look, not what is there. */
  readonly ports = new Uint8Array(65_536 / 8);
  readonly #frontends: Table<FrontendRow>;
  readonly #stops: (() => void)[];
  #users: BackendUsers = { revision: 0, usersOf: () => [] };

  constructor(frontends: Table<FrontendRow>, backends: Table<BackendRow>) {
    this.#frontends = frontends;
    const mark = ({ row }: { readonly row: { readonly port: number } | undefined }): void => { if (row !== undefined) this.ports[row.port >> 3]! |= 1 << (row.port & 7); };
    this.#stops = [frontends.subscribe((changes) => { changes.forEach(mark); }), backends.subscribe((changes) => { changes.forEach(mark); })];
  }

  follow(users: BackendUsers): void { this.#users = users; }

  /** Each grows: so does their sum, with each change of either. */
  get revision(): number { return this.#frontends.revision + this.#users.revision; }

  at(address: string, port: number, protocol: number): { name: string; namespace: string } | undefined {
    const name = protocols[protocol];
    if (name === undefined) return undefined;
    const frontend = this.#frontends.get(frontendKey(address, port, name, 'cluster')) ?? this.#frontends.get(frontendKey(address, port, name, 'external'));
    if (frontend !== undefined) return named(frontend.service);
    const users = this.#users.usersOf(backendKey(address, port, name));
    return users.length === 1 ? named(users[0]!) : undefined;
  }

  close(): void { for (const stop of this.#stops) stop(); }
}

function named(key: string): { name: string; namespace: string } {
  const slash = key.indexOf('/');
  return { name: key.slice(slash + 1), namespace: key.slice(0, slash) };
}
