// Identities: a number for every label set in use. Reserved below 256, allocated from 256, node-local (CIDR) from 2^24 + 1.
import { Table } from '../store/table.ts';

export interface IdentityRow {
  readonly id: number;
  /** Sorted, `source:key=value`. */
  readonly labels: readonly string[];
  readonly kind: 'reserved' | 'workload' | 'cidr';
}

export const identityTable = (): Table<IdentityRow> => new Table({
  name: 'identities',
  key: (row) => String(row.id),
  indexes: { labels: (row) => [row.labels.join('\n')] },
});
