// Which identity an address has now, as the ipcache says: its own row, else the longest prefix around it. Asked for by what proxies tell
// of, which know addresses only.
import { isIpv4, maskedPrefix, parsePrefix } from '../ipcache/address.ts';
import type { IpcacheRow } from '../ipcache/tables.ts';
import type { Table } from '../store/table.ts';

/** WORLD; also what no prefix holds. */
const world = 2;

export class AddressIdentities {
  readonly #ipcache: Table<IpcacheRow>;
  /** How many prefixes have a length, by family. */
  readonly #lengths = { ipv4: new Map<number, number>(), ipv6: new Map<number, number>() };
  readonly #stop: () => void;

  constructor(ipcache: Table<IpcacheRow>) {
    this.#ipcache = ipcache;
    for (const { prefix } of ipcache.rows()) this.#count(prefix, 1);
    this.#stop = ipcache.subscribe((changes) => {
      for (const { old, row } of changes) {
        if (old === undefined && row !== undefined) this.#count(row.prefix, 1);
        if (old !== undefined && row === undefined) this.#count(old.prefix, -1);
      }
    });
  }

  get revision(): number { return this.#ipcache.revision; }

  /** An IPv4 or IPv6 address in its canonical form. */
  of = (address: string): number => {
    const ipv4 = isIpv4(address);
    const own = this.#ipcache.get(`${address}/${ipv4 ? 32 : 128}`);
    if (own !== undefined) return own.identity;
    for (const length of [...this.#lengths[ipv4 ? 'ipv4' : 'ipv6'].keys()].sort((a, b) => b - a)) {
      const row = this.#ipcache.get(maskedPrefix(address, length));
      if (row !== undefined) return row.identity;
    }
    return world;
  };

  close(): void { this.#stop(); }

  #count(prefix: string, by: number): void {
    const { address, length } = parsePrefix(prefix);
    const lengths = this.#lengths[isIpv4(address) ? 'ipv4' : 'ipv6'];
    const count = (lengths.get(length) ?? 0) + by;
    if (count > 0) lengths.set(length, count);
    else lengths.delete(length);
  }
}
