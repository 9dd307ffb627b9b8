// `weir bpf policy`: the policies as they stand in the kernel's maps, interval by interval; only the names of rules are the agent's.
import type { Agent } from '../agent.ts';
import type { Datapath } from '../datapath/maps.ts';
import { icmpTypeName, protocolName } from '../policy/icmp.ts';
import type { MergedPolicy } from '../policy/image.ts';
import { rulesOf } from '../policy/verdict.ts';
import { action, limit } from '../../bpf/types.gen.ts';

export interface BpfPolicyRow { readonly endpoint: string; readonly direction: string; readonly policy: number; readonly from: string; readonly to: string; readonly rules: string }

const noStep = 0xffffffff;
const stepBytes = 16;
const actionName = new Map<number, string>([[action.ACTION_ALLOW, 'allow'], [action.ACTION_DENY, 'deny'], [action.ACTION_DEFAULT_DENY, 'default deny']]);

export function bpfPolicy(agent: Agent): BpfPolicyRow[] {
  const { datapath, tables } = agent;
  return datapath.endpoints.entries(limit.MAX_ENDPOINTS).flatMap(([ifindex, row]) => {
    const endpoint = tables.endpoints.by('ifindex', String(ifindex))[0]?.key ?? `interface ${ifindex}`;
    return ([['ingress', row.ingress_policy[1]!], ['egress', row.egress_policy[1]!]] as const).flatMap(([direction, policy]) =>
      intervalsOf(datapath, policy, agent.policy.numbers.policyOf(policy)).map((interval) => ({ endpoint, direction, policy, ...interval })));
  });
}

function intervalsOf(datapath: Datapath, id: number, names: MergedPolicy | undefined): { from: string; to: string; rules: string }[] {
  if (id === 0) return [{ from: 'the first', to: 'the last', rules: 'not enforced' }];
  const policy = datapath.policies.get(id)!;
  const lower = (index: number): number => datapath.intervals[(policy.first_interval + index) * 2]!;
  return Array.from({ length: policy.intervals }, (_, index) => ({
    from: lower(index) === 0 ? 'the first' : keyText(lower(index)),
    to: index + 1 === policy.intervals ? 'the last' : keyText(lower(index + 1) - 1),
    rules: stepsOf(datapath, datapath.intervals[(policy.first_interval + index) * 2 + 1]!, names) || actionName.get(policy.default_action) || '?',
  }));
}

function stepsOf(datapath: Datapath, first: number, names: MergedPolicy | undefined): string {
  const found: string[] = [];
  if (first === noStep) return '';
  for (let step = first; step < first + limit.POLICY_STEPS; step += 1) {
    const at = step * stepBytes;
    const mask = datapath.steps.getBigUint64(at, true);
    const word = datapath.steps.getUint16(at + 8, true);
    const does = actionName.get(datapath.steps.getUint8(at + 10)) ?? '?';
    const rules = names === undefined ? [] : rulesOf(names, word, mask);
    found.push(...(rules.length === 0 ? [`${does} bits ${mask.toString(16)} of word ${word}`]
      : rules.map((rule) => [does, rule.policy.name, rule.path].filter((text) => text !== '').join(' '))));
    if (datapath.steps.getUint8(at + 11) === 1) break;
  }
  return found.join('; ');
}

function keyText(key: number): string {
  const protocol = key >>> 16;
  const family = protocol === 1 ? 'IPv4' as const : protocol === 58 ? 'IPv6' as const : undefined;
  return `${protocolName(protocol)}/${family === undefined ? key & 0xffff : icmpTypeName(family, key & 0xffff) ?? key & 0xffff}`;
}
