// ipcache: address prefix -> identity, as the kernel shall have it.
import { Table } from '../store/table.ts';

export interface IpcacheRow {
  /** Canonical, masked: `10.0.0.0/8`, `fd00::1/128`. */
  readonly prefix: string;
  readonly identity: number;
  /** Host side of the local workload's veth; 0: not a local workload. */
  readonly ifindex: number;
  /** An address of this node. */
  readonly host: boolean;
  /** Of another node: that one's own address. */
  readonly node?: string;
  /** It is that node itself, which is reached past its tunnel. */
  readonly itself?: true;
  /** Who says so. */
  readonly origin: 'endpoint' | 'node' | 'remote' | 'policy' | 'world';
}

export const ipcacheTable = (): Table<IpcacheRow> => new Table({ name: 'ipcache', key: (row) => row.prefix });
