// This node: its addresses, and the devices that lead out of it.
import { Table } from '../store/table.ts';

export interface NodeAddressRow { readonly address: string; readonly interfaceName: string }
export interface NetdevRow { readonly ifindex: number; readonly name: string; readonly mtu: number; readonly ipv4: string | undefined; readonly ipv6: string | undefined }

export const nodeAddressTable = (): Table<NodeAddressRow> => new Table({ name: 'node-addresses', key: (row) => row.address });
export const netdevTable = (): Table<NetdevRow> => new Table({ name: 'netdevs', key: (row) => String(row.ifindex) });
