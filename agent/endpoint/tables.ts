// Endpoints: a workload's attachment to the network.
import { Table } from '../store/table.ts';

export interface EndpointRow {
  /** From 1; unique on this node. */
  readonly id: number;
  /** `namespace/name` of the workload. */
  readonly key: string;
  readonly namespace: string;
  readonly name: string;
  /** The run of the workload that it belongs to. */
  readonly uid: string;
  /** Identity labels, `source:key=value`, sorted. */
  readonly labels: readonly string[];
  readonly identity: number;
  readonly ipv4: string;
  readonly ipv6: string;
  readonly interfaceName: string;
  /** Of the host side. */
  readonly ifindex: number;
  readonly mac: string;
  readonly hostMac: string;
  readonly owner?: { readonly kind: string; readonly name: string };
  readonly namedPorts: readonly { readonly name: string; readonly port: number; readonly protocol: 'TCP' | 'UDP' | 'SCTP' }[];
  /** `waiting`: forwards nothing yet; `ready`: its policy is in the kernel. */
  readonly state: 'waiting' | 'ready';
}

export const endpointTable = (): Table<EndpointRow> => new Table({
  name: 'endpoints',
  key: (row) => row.key,
  indexes: { address: (row) => [row.ipv4, row.ipv6], ifindex: (row) => [String(row.ifindex)], id: (row) => [String(row.id)] },
});
