// For tests: rule sets in one line.
import type { HttpRule, L7Rules, RuleSet } from '../policy/image.ts';

export const http1 = (rule: Partial<HttpRule>): L7Rules => ({ http: [{ headers: [], mismatches: [], ...rule }], serverNames: [] });
export const names = (...serverNames: readonly string[]): L7Rules => ({ http: [], serverNames });
export const setOf = (key: string, ...rules: readonly (L7Rules | 'any')[]): RuleSet => ({
  key, direction: 'ingress',
  rules: rules.map((l7, index) => ({ ref: { policy: { kind: 'CiliumNetworkPolicy', namespace: 'test', name: key }, path: `spec.ingress[${index}]`, action: 'allow' }, l7 })),
});
export const mapOf = (...sets: readonly RuleSet[]): Map<string, RuleSet> => new Map(sets.map((set) => [set.key, set]));
