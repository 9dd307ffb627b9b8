// `weir policy audit-report`: the audited policies, and what each of them would have done to whom.
import type { Agent } from '../agent.ts';
import { ConfigError } from '../errors.ts';
import type { AuditRow } from '../flow/audits.ts';
import type { PolicyRow } from '../policy/tables.ts';

export interface AuditReport {
  readonly since: string;
  /** `rows`: the busiest first; empty: nothing would change. */
  readonly policies: readonly { readonly policy: string; readonly kind: string; readonly endpoints: number; readonly since: string; readonly rows: readonly Omit<AuditRow, 'policy'>[] }[];
  /** Records that the table of counters had no room for. */
  readonly uncounted: number;
}

export const displayName = ({ namespace, name }: Pick<PolicyRow, 'namespace' | 'name'>): string => (namespace === '' ? name : `${namespace}/${name}`);

/** By `name`, `namespace/name` or `Kind/namespace/name`. */
export function policiesNamed(policies: readonly PolicyRow[], name: string): readonly PolicyRow[] {
  const found = policies.filter((row) => row.key === name || row.name === name || displayName(row) === name);
  if (found.length === 0) throw new ConfigError(`no policy ${JSON.stringify(name)}`, 'see ./weir policy list');
  return found;
}

export function auditReport({ audits, tables, policies, startedAt }: Pick<Agent, 'audits' | 'tables' | 'policies' | 'startedAt'>, name: unknown): AuditReport {
  const wanted = typeof name === 'string' ? policiesNamed(tables.policies.rows(), name) : tables.policies.rows();
  // A refused change of an audited policy: its last good version is.
  const audited = wanted.filter(({ key }) => policies.auditedSince(key) !== undefined);
  if (typeof name === 'string' && audited.length === 0) {
    throw new ConfigError(`${displayName(wanted[0]!)} is ${wanted[0]!.state}, not audited`, 'audit it by the annotation policy.weir.io/mode: audit');
  }
  const rows = audits.rows();
  return {
    since: startedAt.toISOString(), uncounted: audits.uncounted,
    policies: audited.map(({ key, kind, namespace, name: own, endpoints, since }) => ({
      policy: displayName({ namespace, name: own }), kind, endpoints, since,
      rows: rows.filter(({ policy }) => `${policy.kind}/${policy.namespace}/${policy.name}` === key).map(({ policy: _, ...row }) => row),
    })),
  };
}
