// Which identity is behind which address: endpoints of all nodes, the nodes themselves, prefixes that policies name, and the world around them.
import { RESERVED } from '../identity/reserved.ts';
import type { EndpointRow } from '../endpoint/tables.ts';
import { covers } from '../node/addresses.ts';
import type { NodeAddressRow, NodeRow, RemoteEndpointRow } from '../node/tables.ts';
import { isIpv4 } from './address.ts';
import type { IpcacheRow } from './tables.ts';

const host = (address: string): string => `${address}/${isIpv4(address) ? 32 : 128}`;

/** The other nodes of the cluster and what runs on them. */
export interface Remote { readonly nodes: readonly NodeRow[]; readonly endpoints: readonly RemoteEndpointRow[] }

/** Later origins win over earlier ones for the same prefix: a policy that names a workload's address does not make it outside. */
export function deriveIpcache(
  endpoints: readonly EndpointRow[], node: readonly NodeAddressRow[], prefixes: ReadonlyMap<string, number>, remote: Remote = { nodes: [], endpoints: [] },
): IpcacheRow[] {
  const rows = new Map<string, IpcacheRow>();
  const put = (row: IpcacheRow): void => { rows.set(row.prefix, row); };
  const others = remote.nodes.filter((row) => !row.local);
  const ranges = others.flatMap(({ ranges: { ipv4, ipv6 } }) => [ipv4, ipv6]);
  put({ prefix: '0.0.0.0/0', identity: RESERVED['world-ipv4'], ifindex: 0, host: false, origin: 'world' });
  put({ prefix: '::/0', identity: RESERVED['world-ipv6'], ifindex: 0, host: false, origin: 'world' });
  for (const [prefix, identity] of prefixes) if (!ranges.some((range) => covers(range, prefix))) put({ prefix, identity, ifindex: 0, host: false, origin: 'policy' });
  for (const row of others) {
    // Somebody there whom that node has not told of yet.
    for (const prefix of [row.ranges.ipv4, row.ranges.ipv6]) put({ prefix, identity: RESERVED.unmanaged, ifindex: 0, host: false, node: row.tunnelEnd, origin: 'remote' });
    for (const address of [row.ipv4, row.ipv6]) {
      if (address === undefined) continue;
      // In VXLAN the network between the nodes knows no workload's address: what goes to a node itself takes this node's own.
      put({ prefix: host(address), identity: RESERVED['remote-node'], ifindex: 0, host: false, node: row.tunnelEnd, ...(row.tunnel === 'disabled' ? {} : { itself: true }), origin: 'remote' });
    }
  }
  const ends = new Map(others.map((row) => [row.name, row.tunnelEnd]));
  for (const { ipv4, ipv6, identity, node: at } of remote.endpoints) {
    const end = ends.get(at);
    if (end !== undefined) for (const address of [ipv4, ipv6]) put({ prefix: host(address), identity, ifindex: 0, host: false, node: end, origin: 'remote' });
  }
  for (const { address } of node) put({ prefix: host(address), identity: RESERVED.host, ifindex: 0, host: true, origin: 'node' });
  for (const { ipv4, ipv6, identity, ifindex } of endpoints) {
    for (const address of [ipv4, ipv6]) put({ prefix: host(address), identity, ifindex, host: false, origin: 'endpoint' });
  }
  return [...rows.values()];
}
