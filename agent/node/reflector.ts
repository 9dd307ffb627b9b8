// Reads the machine's interfaces and addresses into the node tables, again every few seconds.
import { textOf } from '../ipcache/address.ts';
import { addresses, links } from '../kernel/link.ts';
import type { Netlink } from '../kernel/netlink.ts';
import type { Table } from '../store/table.ts';
import type { NetdevRow, NodeAddressRow } from './tables.ts';

const universe = 0; // RT_SCOPE_UNIVERSE

/** Interfaces of any weir instance begin like this: they lead to workloads, not out of the node. */
const isWeir = (name: string): boolean => /^(weir|wr[0-9a-f]{4})_/.test(name);

export function reflectNode(netlink: Netlink, nodeAddresses: Table<NodeAddressRow>, netdevs: Table<NetdevRow>, intervalMs = 2_000): () => void {
  const refresh = (): void => {
    const all = links(netlink);
    const byIndex = new Map(all.map((link) => [link.index, link]));
    const found = addresses(netlink).map((row) => ({ ...row, text: textOf(row.address), link: byIndex.get(row.index) }));
    nodeAddresses.replace(found.filter((row) => row.link?.loopback === false || !isLoopback(row.text))
      .map((row) => ({ address: row.text, interfaceName: row.link?.name ?? '' })));
    netdevs.replace(all.filter((link) => link.up && !link.loopback && !isWeir(link.name)).flatMap((link) => {
      const own = found.filter((row) => row.index === link.index && row.scope === universe);
      const ipv4 = own.find((row) => row.address.length === 4)?.text;
      const ipv6 = own.find((row) => row.address.length === 16)?.text;
      return ipv4 === undefined && ipv6 === undefined ? [] : [{ ifindex: link.index, name: link.name, mtu: link.mtu, ipv4, ipv6, ...(link.virtual ? { virtual: true as const } : {}) }];
    }));
  };
  refresh();
  const timer = setInterval(refresh, intervalMs);
  return () => { clearInterval(timer); };
}

const isLoopback = (address: string): boolean => address === '::1' || address.startsWith('127.');
