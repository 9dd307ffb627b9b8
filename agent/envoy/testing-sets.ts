// For tests: rule sets in one line, and certificates.
import { execFileSync } from 'node:child_process';
import type { HttpRule, L7Rules, RuleSet } from '../policy/image.ts';

export const http1 = (rule: Partial<HttpRule>): L7Rules => ({ http: [{ headers: [], mismatches: [], ...rule }], serverNames: [] });
export const names = (...serverNames: readonly string[]): L7Rules => ({ http: [], serverNames });
export const setOf = (key: string, ...rules: readonly (L7Rules | 'any')[]): RuleSet => ({
  key, direction: 'ingress',
  rules: rules.map((l7, index) => ({ ref: { policy: { kind: 'CiliumNetworkPolicy', namespace: 'test', name: key }, path: `spec.ingress[${index}]`, action: 'allow' }, l7 })),
});
export const mapOf = (...sets: readonly RuleSet[]): Map<string, RuleSet> => new Map(sets.map((set) => [set.key, set]));

/** A certificate and its key, in one PEM text. `kind`: as openssl names it, `ec` or `rsa:1024`. */
export const pemOf = (kind: 'ec' | 'rsa:1024'): string => execFileSync('sh', [
  '-c', `openssl req -x509 -newkey ${kind} ${kind === 'ec' ? '-pkeyopt ec_paramgen_curve:P-256' : ''} -nodes -days 2 -subj /CN=a -keyout /dev/stdout -out /dev/stdout | cat`,
], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
