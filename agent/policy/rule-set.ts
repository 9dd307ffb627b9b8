// Which L7 rules hold together for one peer on one port: the rule set that Envoy enforces there. All that match are in it, OR-ed; a plain allow
// that matches too lets every request pass. rule-sets.ts asks this for every class of an image, the offline verbs for one flow.
import { hash } from 'node:crypto';
import type { Direction, Interval, L7Rules, MergedPolicy, PolicyRef, RuleRef, RuleSet } from './image.ts';
import { MAX_MERGED_HTTP_RULES, shapeOf } from './l7.ts';

/** Lets pass what no rule asks for: nobody switches on default deny. */
export const DEFAULT_ALLOW: RuleRef = { policy: { kind: '', namespace: '', name: '' }, path: 'default-allow', action: 'allow' };

/** What one listener cannot do, or not in reason: connections that need it are refused. */
export interface Conflict { readonly message: string; readonly policies: readonly PolicyRef[] }

/** Where the verdict was to ask Envoy: which bits said so, and what Envoy is to ask for. */
export interface Proxied { readonly word: number; readonly bits: bigint; readonly rules: RuleSet | Conflict }

export const isConflict = (rules: RuleSet | Conflict): rules is Conflict => 'message' in rules;

/** `row`: the peer's words for this policy. Undefined: its connections do not go through Envoy. */
export function proxiedAt(policy: MergedPolicy, { steps }: Interval, row: readonly bigint[]): Proxied | undefined {
  const deciding = steps.find(({ word, mask }) => (row[word]! & mask) !== 0n);
  if (deciding?.action !== 'proxy') return undefined;
  return { word: deciding.word, bits: row[deciding.word]! & deciding.mask, rules: ruleSetOf(policy, steps, row) };
}

function ruleSetOf(policy: MergedPolicy, steps: Interval['steps'], row: readonly bigint[]): RuleSet | Conflict {
  const rules: RuleSet['rules'][number][] = [];
  for (const { word, mask, action } of steps) {
    if (action !== 'proxy' && action !== 'allow') continue;
    for (const bit of bitsIn(row[word]! & mask)) {
      rules.push({ ref: policy.rules[word * 64 + bit]!, l7: policy.l7.get(word * 64 + bit) ?? 'any' });
    }
  }
  return together(rules, policy.direction, policy.defaultAction === 'default-deny');
}

/** All rules that match, plain ones too, each once; at least one of them asks for something. `enforced`: what none allows is denied. */
export function together(rules: RuleSet['rules'], direction: Direction, enforced: boolean): RuleSet | Conflict {
  const all = enforced ? rules : [...rules, { ref: DEFAULT_ALLOW, l7: 'any' as const }];
  const sorted = [...new Map(all.map((rule) => [keyOf(rule.ref, rule.l7), rule]))].sort(([a], [b]) => (a < b ? -1 : 1));
  const asked = sorted.flatMap(([, { ref, l7 }]) => (l7 === 'any' ? [] : [{ ref, l7 }]));
  const message = conflictOf(asked.map(({ l7 }) => l7));
  if (message !== undefined) return { message, policies: [...new Map(asked.map(({ ref: { policy: one } }) => [`${one.kind}/${one.namespace}/${one.name}`, one])).values()] };
  const content = [direction, shapeOf(asked[0]!.l7), sorted.map(([key]) => key)];
  return { key: hash('sha256', JSON.stringify(content)).slice(0, 32), direction, rules: sorted.map(([, rule]) => rule) };
}

/** Sorts plain allows behind the rules that ask for something. */
const keyOf = ({ policy, path }: RuleRef, l7: L7Rules | 'any'): string =>
  `${l7 === 'any' ? 'any' : 'a'} ${policy.kind}/${policy.namespace}/${policy.name} ${path}`;

function conflictOf(rules: readonly L7Rules[]): string | undefined {
  const shapes = [...new Set(rules.map(shapeOf))];
  if (shapes.length > 1) {
    return `for the same peer on the same port some rules read ${shapes.map((shape) => SHAPES[shape]).sort().join(' and others ')}, which cannot be served together`;
  }
  const count = rules.reduce((sum, { http }) => sum + http.length, 0);
  if (count > MAX_MERGED_HTTP_RULES) return `${count} HTTP rules hold together for the same peer on the same port; at most ${MAX_MERGED_HTTP_RULES} do`;
  const secrets = new Set(rules.map(({ terminatingTls }) => JSON.stringify(terminatingTls)));
  return secrets.size > 1 ? 'for the same peer on the same port TLS would end under different secrets' : undefined;
}

const SHAPES = { http: 'plain HTTP', 'tls names': 'server names of TLS', 'opened tls': 'TLS that is opened' } as const;

export function* bitsIn(mask: bigint): Generator<number> {
  for (let bit = 0; mask >> BigInt(bit) !== 0n; bit += 1) if ((mask >> BigInt(bit)) & 1n) yield bit;
}
