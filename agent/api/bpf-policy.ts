// `weir bpf policy`: the policies as they stand in the kernel's maps, interval by interval; only the names of rules are the agent's.
import type { Agent } from '../agent.ts';
import type { Datapath } from '../datapath/maps.ts';
import { icmpTypeName, protocolName } from '../policy/icmp.ts';
import type { MergedPolicy } from '../policy/image.ts';
import { lowerOf, stepsAt } from '../policy/kernel-rows.ts';
import { rulesOf } from '../policy/verdict.ts';
import { action, limit, type Step } from '../../bpf/types.gen.ts';

export interface BpfPolicyRow { readonly endpoint: string; readonly direction: string; readonly policy: number; readonly from: string; readonly to: string; readonly rules: string }

const actionName = new Map<number, string>([[action.ACTION_ALLOW, 'allow'], [action.ACTION_DENY, 'deny'], [action.ACTION_DNS, 'ask names by'], [action.ACTION_PROXY, 'ask Envoy by'], [action.ACTION_DEFAULT_DENY, 'default deny']]);

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
  const count = policy.intervals & ~limit.POLICY_NAMED;
  const lowers = Array.from({ length: count }, (_, index) => lowerOf(datapath, policy, index));
  return lowers.map((lower, index) => ({
    from: index === 0 ? 'the first' : keyText(lower),
    to: index + 1 === count ? 'the last' : keyText(lowers[index + 1]! - 1),
    rules: stepsAt(datapath, policy, index).filter((step) => step.mask !== 0n).map((step) => stepText(step, names)).join('; ') || actionName.get(policy.default_action) || '?',
  }));
}

function stepText({ mask, word, action: number }: Step, names: MergedPolicy | undefined): string {
  const does = actionName.get(number) ?? '?';
  const rules = names === undefined ? [] : rulesOf(names, word, mask);
  if (rules.length === 0) return `${does} bits ${mask.toString(16)} of word ${word}`;
  return rules.map((rule) => [does, rule.policy.name, rule.path].filter((text) => text !== '').join(' ')).join('; ');
}

function keyText(key: number): string {
  const protocol = key >>> 16;
  const family = protocol === 1 ? 'IPv4' as const : protocol === 58 ? 'IPv6' as const : undefined;
  return `${protocolName(protocol)}/${family === undefined ? key & 0xffff : icmpTypeName(family, key & 0xffff) ?? key & 0xffff}`;
}
