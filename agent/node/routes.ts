// Nodes -> this host's ways to the ranges of the others: a route through each node, or, where packets go in VXLAN, none: what the host itself
// sends there is refused instead of leaking to the default route.
import { messageOf } from '../errors.ts';
import { bytesOf, isIpv4, parsePrefix } from '../ipcache/address.ts';
import { addRoute, addUnreachable, deleteRoute, deleteUnreachable } from '../kernel/link.ts';
import type { Netlink } from '../kernel/netlink.ts';
import type { Table } from '../store/table.ts';
import type { NetdevRow, NodeRow } from './tables.ts';

/** One range of a node, and the address of that node in the same family. */
interface Way { readonly range: string; readonly through: string | undefined }

const waysOf = ({ ranges, ipv4, ipv6, tunnel }: NodeRow): Way[] =>
  [[ranges.ipv4, ipv4], [ranges.ipv6, ipv6]].map(([range, address]) => ({ range: range!, through: tunnel === 'disabled' ? address : undefined }));

export function reconcileRoutes(nodes: Table<NodeRow>, netdevs: Table<NetdevRow>, netlink: Netlink, log: (line: string) => void): () => void {
  const standing = new Map<string, { readonly way: Way; readonly device: number }>();
  const add = (way: Way): void => {
    const device = netdevs.rows().find((row) => (way.through !== undefined && isIpv4(way.through) ? row.ipv4 : row.ipv6) !== undefined)?.ifindex ?? 0;
    const before = standing.get(way.range);
    if (before?.way.through === way.through && before?.device === device) return;
    const { address, length } = parsePrefix(way.range);
    const destination = bytesOf(address);
    if (before !== undefined) remove(way.range);
    if (way.through === undefined) addUnreachable(netlink, destination, length);
    else addRoute(netlink, { destination, prefixLength: length, output: device, gateway: bytesOf(way.through) }, `route to ${way.range}`);
    standing.set(way.range, { way, device });
  };
  const remove = (range: string): void => {
    const { address, length } = parsePrefix(range);
    const { way, device } = standing.get(range)!;
    if (way.through === undefined) deleteUnreachable(netlink, bytesOf(address), length);
    else deleteRoute(netlink, bytesOf(address), length, device, `route to ${range}`);
    standing.delete(range);
  };
  const follow = (): void => {
    try {
      const wanted = nodes.rows().filter((row) => !row.local).flatMap(waysOf);
      const keep = new Set(wanted.map(({ range }) => range));
      for (const range of [...standing.keys()]) if (!keep.has(range)) remove(range);
      for (const way of wanted) add(way);
    } catch (error) {
      log(`routes to other nodes: ${messageOf(error)}`);
    }
  };
  const unsubscribe = [nodes.subscribe(follow), netdevs.subscribe(follow)];
  follow();
  return () => {
    for (const stop of unsubscribe) stop();
    for (const range of [...standing.keys()]) remove(range);
  };
}
