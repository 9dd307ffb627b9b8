// Devices that lead out of the node -> the netdevs map (whose address masquerading takes) and from_netdev on each, with XDP before it where that is asked for.
import type { Datapath } from '../datapath/maps.ts';
import type { Hooks } from '../datapath/hooks.ts';
import { messageOf } from '../errors.ts';
import { mappedBytes } from '../ipcache/address.ts';
import type { XdpMode } from '../kernel/attach.ts';
import type { Table } from '../store/table.ts';
import type { NetdevRow } from './tables.ts';

const none = new Uint8Array(16);

/** How each device runs XDP, by its name. */
export type XdpDevices = ReadonlyMap<string, XdpMode>;

export interface NetdevOptions {
  readonly netdevs: Table<NetdevRow>; readonly datapath: Datapath; readonly hooks: Hooks; readonly log: (line: string) => void;
  /** Tried in this order. */
  readonly xdp: readonly XdpMode[];
  readonly xdpDevices: Map<string, XdpMode>;
}

export function reconcileNetdevs({ netdevs, datapath, hooks, log, xdp, xdpDevices }: NetdevOptions): () => void {
  const updateXdp = (row: NetdevRow): void => {
    try {
      // A veth gives to its peer what it sends natively only where that has NAPI, and drops it where not (drivers/net/veth.c, veth_xdp_xmit).
      const mode = hooks.setXdp(row, row.virtual ? xdp.filter((one) => one === 'generic') : xdp);
      if (mode !== undefined) xdpDevices.set(row.name, mode);
    } catch (error) {
      log(`device ${row.name}: no XDP: ${messageOf(error)}`);
    }
  };
  const update = (row: NetdevRow): void => {
    try {
      hooks.attachNetdev(row);
      updateXdp(row);
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
    hooks.setXdp(row, []);
    xdpDevices.delete(row.name);
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
