// The verdict of a compiled image, taken step by step as bpf/lib takes it in the kernel.
import type { Interval, MergedPolicy, PolicyImage, RuleRef, RuleSet } from './image.ts';
import { keyOf } from './intervals.ts';
import { isConflict, proxiedAt, type Conflict } from './rule-set.ts';

export interface VerdictQuery {
  /** Key of the endpoint's merged policy for the direction; absent: not enforced. */
  readonly policy: string | undefined;
  /** Key of the peer's class. */
  readonly class: string;
  readonly protocol: number;
  /** Destination port; for ICMP and ICMPv6 the type; 0 for protocols without ports. */
  readonly port: number;
}

export interface Verdict {
  readonly action: 'none' | 'allow' | 'deny' | 'default-deny';
  readonly interval: number;
  readonly word: number;
  /** The entries that decided; 0 when none took part. */
  readonly bits: bigint;
  readonly rules: readonly RuleRef[];
  /** The connection goes through Envoy, which judges each request by these. */
  readonly proxied?: RuleSet | Conflict;
}

export function verdict(image: PolicyImage, query: VerdictQuery): Verdict {
  if (query.policy === undefined) return { action: 'none', interval: 0, word: 0, bits: 0n, rules: [] };
  const policy = image.policies.get(query.policy);
  const peer = image.classes.get(query.class);
  if (policy === undefined) throw new Error(`no policy ${query.policy} in the image`);
  if (peer === undefined) throw new Error(`no class ${query.class} in the image`);
  const interval = findInterval(policy.intervals, keyOf(query.protocol, query.port));
  const row = peer.row(policy);
  for (const { word, mask, action } of policy.intervals[interval]!.steps) {
    const bits = row[word]! & mask;
    // Which names may be asked for is not this verdict's: the query itself may pass.
    if (bits === 0n) continue;
    const proxied = action === 'proxy' ? { proxied: proxiedAt(policy, policy.intervals[interval]!, row)!.rules } : {};
    return { action: action === 'dns' || action === 'proxy' ? 'allow' : action, interval, word, bits, rules: rulesOf(policy, word, bits), ...proxied };
  }
  return { action: policy.defaultAction, interval, word: 0, bits: 0n, rules: [] };
}

/** The last interval that begins at or below the key. */
function findInterval(intervals: readonly Interval[], key: number): number {
  let low = 0;
  let high = intervals.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (intervals[middle]!.lower <= key) low = middle;
    else high = middle - 1;
  }
  return low;
}

/** The rules behind the bits of one word, as a flow record carries them. */
export function rulesOf(policy: MergedPolicy, word: number, bits: bigint): RuleRef[] {
  const rules: RuleRef[] = [];
  for (let bit = 0; bit < 64 && bits >> BigInt(bit) !== 0n; bit += 1) {
    const rule = (bits >> BigInt(bit)) & 1n ? policy.rules[word * 64 + bit] : undefined;
    if (rule !== undefined) rules.push(rule);
  }
  return rules;
}

/** At L4: what Envoy is asked for may still be refused there. */
export const isAllowed = ({ action, proxied }: Pick<Verdict, 'action' | 'proxied'>): boolean =>
  (action === 'none' || action === 'allow') && (proxied === undefined || !isConflict(proxied));
