// Policies as the agent took them: what is enforced, what was refused and why.
import { Table } from '../store/table.ts';
import type { Source } from '../directory/tables.ts';

export interface PolicyRow {
  /** `Kind/namespace/name` */
  readonly key: string;
  readonly kind: string;
  readonly namespace: string;
  readonly name: string;
  readonly state: 'enforced' | 'audited' | 'off' | 'refused';
  /** Why it was refused, whether an older version of it is still in force; why its L7 rules are not served. */
  readonly message?: string;
  /** Endpoints that it selects. */
  readonly endpoints: number;
  readonly rules: number;
  readonly since: string;
  readonly source: Source;
}

export const policyTable = (): Table<PolicyRow> => new Table({ name: 'policies', key: (row) => row.key });
