// Which identity is behind which address: endpoints, the node itself, prefixes that policies name, and the world around them.
import { RESERVED } from '../identity/reserved.ts';
import type { EndpointRow } from '../endpoint/tables.ts';
import type { NodeAddressRow } from '../node/tables.ts';
import { isIpv4 } from './address.ts';
import type { IpcacheRow } from './tables.ts';

const host = (address: string): string => `${address}/${isIpv4(address) ? 32 : 128}`;

/** Later origins win over earlier ones for the same prefix: a policy that names a workload's address does not make it outside. */
export function deriveIpcache(
  endpoints: readonly EndpointRow[], node: readonly NodeAddressRow[], prefixes: ReadonlyMap<string, number>,
): IpcacheRow[] {
  const rows = new Map<string, IpcacheRow>();
  const put = (row: IpcacheRow): void => { rows.set(row.prefix, row); };
  put({ prefix: '0.0.0.0/0', identity: RESERVED['world-ipv4'], ifindex: 0, host: false, origin: 'world' });
  put({ prefix: '::/0', identity: RESERVED['world-ipv6'], ifindex: 0, host: false, origin: 'world' });
  for (const [prefix, identity] of prefixes) put({ prefix, identity, ifindex: 0, host: false, origin: 'policy' });
  for (const { address } of node) put({ prefix: host(address), identity: RESERVED.host, ifindex: 0, host: true, origin: 'node' });
  for (const { ipv4, ipv6, identity, ifindex } of endpoints) {
    for (const address of [ipv4, ipv6]) put({ prefix: host(address), identity, ifindex, host: false, origin: 'endpoint' });
  }
  return [...rows.values()];
}
