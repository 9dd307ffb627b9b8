// Names for what a flow record holds as numbers, from the tables as they stand when the record is read.
import type { Judgement } from '../../bpf/types.gen.ts';
import { action } from '../../bpf/types.gen.ts';
import { reservedLabels, reservedName } from '../identity/reserved.ts';
import type { IdentityRow } from '../identity/tables.ts';
import type { EndpointRow } from '../endpoint/tables.ts';
import type { PolicyRef } from '../policy/image.ts';
import type { PolicyReconciler } from '../policy/reconciler.ts';
import { rulesOf } from '../policy/verdict.ts';
import type { Table } from '../store/table.ts';

export const identityLabels = (identities: Table<IdentityRow>, id: number): readonly string[] => {
  const name = reservedName(id);
  return name === undefined ? identities.get(String(id))?.labels ?? [] : reservedLabels(name);
};

/** The workload controller of an endpoint, as Hubble names it; a bare Pod is its own. */
export const controllerOf = (row: Pick<EndpointRow, 'name' | 'owner'>): { name: string; kind: string } => row.owner ?? { name: row.name, kind: 'Pod' };

/** Policies that took part in a judgement: by their rules, or, for default deny, because they select the endpoint. */
export function policiesOf(reconciler: PolicyReconciler, judgement: Judgement): PolicyRef[] {
  const policy = reconciler.numbers.policyOf(judgement.policy);
  if (policy === undefined) return [];
  if (judgement.action === action.ACTION_DEFAULT_DENY) return [...policy.enforcedBy];
  const found = new Map<string, PolicyRef>();
  for (const rule of rulesOf(policy, judgement.word, judgement.bits)) {
    if (rule.path === 'allow-localhost') continue;
    found.set(`${rule.policy.kind}/${rule.policy.namespace}/${rule.policy.name}`, rule.policy);
  }
  return [...found.values()];
}

/** `log.value` of the rules that took part. */
export function logsOf(reconciler: PolicyReconciler, judgement: Judgement): string[] {
  const policy = reconciler.numbers.policyOf(judgement.policy);
  if (policy === undefined) return [];
  return [...new Set(rulesOf(policy, judgement.word, judgement.bits).flatMap((rule) => rule.log ?? []))];
}
