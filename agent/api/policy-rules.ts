// `weir policy list` and `get`: what became of each policy, and what each of its rules decided.
import type { Agent } from '../agent.ts';
import { ConfigError } from '../errors.ts';
import { parsePath } from '../policy/check.ts';
import { defaultDenyPath, type Count } from '../flow/rule-counts.ts';
import type { PolicyRow } from '../policy/tables.ts';
import { displayName, policiesNamed } from './policy-audit.ts';

export interface RuleRow {
  /** `spec.ingress[0]`; `default deny, ingress`: what no rule took. */
  readonly rule: string;
  /** `FILE:LINE` */
  readonly at: string;
  readonly action: 'allow' | 'deny';
  readonly packets: number;
  readonly bytes: number;
  /** Absent: never. */
  readonly lastHit?: string;
}

export type ListedPolicy = PolicyRow & { readonly packets: number; readonly bytes: number };
export interface PolicyDetails extends PolicyRow { readonly ruleCounts: readonly RuleRow[] }

type Asked = Pick<Agent, 'tables' | 'policies' | 'ruleCounts' | 'observer'>;

export async function listPolicies({ tables, ruleCounts }: Asked): Promise<ListedPolicy[]> {
  await ruleCounts.read();
  return tables.policies.rows().map((row) => {
    const counts = [...ruleCounts.of(row.key).values()];
    return { ...row, packets: counts.reduce((sum, { packets }) => sum + packets, 0), bytes: counts.reduce((sum, { bytes }) => sum + bytes, 0) };
  });
}

export async function policyDetails(agent: Asked, name: unknown): Promise<PolicyDetails> {
  await agent.ruleCounts.read();
  const [row, ...others] = policiesNamed(agent.tables.policies.rows(), String(name));
  if (others.length > 0) throw new ConfigError(`${String(name)} is the name of ${others.length + 1} policies`, `one of: ${[row!, ...others].map(({ key }) => key).join(', ')}`);
  return { ...row!, ruleCounts: rulesOfPolicy(agent, row!) };
}

function rulesOfPolicy({ tables, policies, ruleCounts, observer }: Asked, row: PolicyRow): RuleRow[] {
  const counts = ruleCounts.of(row.key);
  const groups = policies.groups().filter(({ policy }) => policy.kind === row.kind && displayName(policy) === displayName(row));
  const at = (path: string): string => {
    const place = tables.manifests.get(row.key)?.locate(parsePath(path)) ?? row.source;
    return `${place.file}:${place.line}`;
  };
  const seen = ({ lastNs }: Count): string => new Date(Number(observer.entries.lookups.toUnixNs(lastNs) / 1_000_000n)).toISOString();
  const told = (rule: string, path: string, action: RuleRow['action']): RuleRow => {
    const count = counts.get(rule);
    return { rule, at: at(path), action, packets: count?.packets ?? 0, bytes: count?.bytes ?? 0, ...(count === undefined ? {} : { lastHit: seen(count) }) };
  };
  const denying = (['ingress', 'egress'] as const).flatMap((direction) => {
    const group = groups.find(({ defaultDeny }) => defaultDeny[direction]);
    return group === undefined ? [] : [told(defaultDenyPath(direction), group.path, 'deny')];
  });
  return [...groups.flatMap(({ rules }) => rules).map(({ ref }) => told(ref.path, ref.path, ref.action)), ...denying];
}
