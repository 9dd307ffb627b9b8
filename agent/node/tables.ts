// The nodes: this one's addresses and the devices that lead out of it; the nodes of its cluster, and what runs on the others.
import type { EndpointRow } from '../endpoint/tables.ts';
import { Table } from '../store/table.ts';
import type { Ranges } from './addresses.ts';

export interface NodeAddressRow { readonly address: string; readonly interfaceName: string }
export interface NetdevRow { readonly ifindex: number; readonly name: string; readonly mtu: number; readonly ipv4: string | undefined; readonly ipv6: string | undefined; readonly virtual?: true }

export type Tunnel = 'vxlan' | 'disabled';

export interface NodeRow {
  readonly name: string;
  /** The node of the agent that has this table. */
  readonly local: boolean;
  /** Its own, on the network between the nodes. */
  readonly ipv4: string | undefined;
  readonly ipv6: string | undefined;
  /** Of its workloads. */
  readonly ranges: Ranges;
  readonly tunnel: Tunnel;
  /** The one of its addresses where tunnels to it end and routes to it lead. */
  readonly tunnelEnd: string;
  /** `silent`: its agent has not been heard for a while, what it told stands; `gone`: that was too long ago, its endpoints are forgotten. */
  readonly health: 'ok' | 'silent' | 'gone';
  readonly endpoints: number;
}

/** An endpoint of another node: what this one has to know of it. */
export interface RemoteEndpointRow {
  /** `namespace/name` */
  readonly key: string;
  readonly node: string;
  readonly namespace: string;
  readonly name: string;
  /** Identity labels, sorted. */
  readonly labels: readonly string[];
  readonly identity: number;
  readonly ipv4: string;
  readonly ipv6: string;
  readonly owner?: { readonly kind: string; readonly name: string };
  /** What Services ask about it; absent: its agent has not told yet. */
  readonly pod?: RemotePod;
}

export interface RemotePod {
  readonly labels: Readonly<Record<string, string>>;
  readonly namedPorts: EndpointRow['namedPorts'];
  readonly serving: boolean;
  readonly terminating: boolean;
  readonly hostname?: string;
  readonly subdomain?: string;
  readonly weight?: number;
}

export const nodeAddressTable = (): Table<NodeAddressRow> => new Table({ name: 'node-addresses', key: (row) => row.address });
export const netdevTable = (): Table<NetdevRow> => new Table({ name: 'netdevs', key: (row) => String(row.ifindex) });
export const nodeTable = (): Table<NodeRow> => new Table({ name: 'nodes', key: (row) => row.name });
export const remoteEndpointTable = (): Table<RemoteEndpointRow> => new Table({
  name: 'remote-endpoints',
  key: (row) => `${row.node}/${row.key}`,
  indexes: { address: (row) => [row.ipv4, row.ipv6], node: (row) => [row.node] },
});
