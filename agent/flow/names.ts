// Names for what a flow record holds as numbers.
import type { Judgement } from '../../bpf/types.gen.ts';
import { action } from '../../bpf/types.gen.ts';
import { reservedLabels, reservedName } from '../identity/reserved.ts';
import type { IdentityRow } from '../identity/tables.ts';
import type { EndpointRow } from '../endpoint/tables.ts';
import type { MergedPolicy, PolicyRef } from '../policy/image.ts';
import { rulesOf } from '../policy/verdict.ts';
import type { Table } from '../store/table.ts';

/** `allocated`: what is known of a number that is not reserved. */
export const labelsOf = (id: number, allocated: () => IdentityRow | undefined): readonly string[] => {
  const name = reservedName(id);
  return name === undefined ? allocated()?.labels ?? [] : reservedLabels(name);
};

export const identityLabels = (identities: Table<IdentityRow>, id: number): readonly string[] => labelsOf(id, () => identities.get(String(id)));

/** The workload controller of an endpoint, as Hubble names it; a bare Pod is its own. */
export const controllerOf = (row: Pick<EndpointRow, 'name' | 'owner'>): { name: string; kind: string } => row.owner ?? { name: row.name, kind: 'Pod' };

/** Policies that took part in a judgement: by their rules, or, for default deny, because they select the endpoint. */
export function policiesOf(policy: MergedPolicy | undefined, judgement: Judgement): PolicyRef[] {
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
export function logsOf(policy: MergedPolicy | undefined, judgement: Judgement): string[] {
  if (policy === undefined) return [];
  return [...new Set(rulesOf(policy, judgement.word, judgement.bits).flatMap((rule) => rule.log ?? []))];
}
