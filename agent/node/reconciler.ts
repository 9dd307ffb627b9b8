// Devices that lead out of the node -> the netdevs map (whose address masquerading takes) and from_netdev on each.
import type { Datapath } from '../datapath/maps.ts';
import type { Hooks } from '../datapath/hooks.ts';
import { messageOf } from '../errors.ts';
import { mappedBytes } from '../ipcache/address.ts';
import type { Table } from '../store/table.ts';
import type { NetdevRow } from './tables.ts';

const none = new Uint8Array(16);

export function reconcileNetdevs(netdevs: Table<NetdevRow>, datapath: Datapath, hooks: Hooks, log: (line: string) => void): () => void {
  const update = (row: NetdevRow): void => {
    try {
      hooks.attachNetdev(row);
      datapath.netdevs.set(row.ifindex, {
        ipv4: { word: row.ipv4 === undefined ? none : mappedBytes(row.ipv4) },
        ipv6: { word: row.ipv6 === undefined ? none : mappedBytes(row.ipv6) },
      });
    } catch (error) {
      log(`device ${row.name}: ${messageOf(error)}`);
    }
  };
  const remove = (row: NetdevRow): void => {
    datapath.netdevs.delete(row.ifindex);
    hooks.detachNetdev(row);
  };
  const unsubscribe = netdevs.subscribe((changes) => {
    for (const { old, row } of changes) {
      if (row !== undefined) update(row);
      else if (old !== undefined) remove(old);
    }
  });
  for (const row of netdevs.rows()) update(row);
  // Devices that went while no agent ran.
  const present = new Set(netdevs.rows().map((row) => row.ifindex));
  for (const [ifindex] of datapath.netdevs.entries()) if (!present.has(ifindex)) datapath.netdevs.delete(ifindex);
  return () => {
    unsubscribe();
    for (const row of netdevs.rows()) remove(row);
  };
}
