// All that Envoy gets for one rule set: its listener, the routes of each way to read it, the certificates.
import type { RuleSet } from '../policy/image.ts';
import type { ResourceType } from './ads.ts';
import { listenerOf, routeSets, type ListenerOptions } from './listener.ts';
import type { Message } from './messages.ts';
import { mostMismatches, routeConfiguration } from './routes.ts';
import { secretKey, secretMessage, secretName } from './secrets.ts';

export interface NamedResource { readonly type: ResourceType; readonly name: string; readonly message: Message }
/** The object of a manifest by its key, `Secret/NAMESPACE/NAME`. */
export type SecretOf = (key: string) => Message | undefined;

/** What weir itself cannot make of a set. */
function problemOf({ rules }: RuleSet): string | undefined {
  for (const { ref, l7 } of rules) {
    const http = l7 === 'any' ? [] : l7.http;
    if (http.some(({ mismatches }) => mismatches.length > mostMismatches)) return `${ref.path}: more than ${mostMismatches} headerMatches with a mismatch action in one rule`;
  }
  return undefined;
}

export function resourcesOf(set: RuleSet, options: ListenerOptions, secretOf: SecretOf): { readonly resources: readonly NamedResource[]; readonly problem?: string } {
  const problem = problemOf(set);
  if (problem !== undefined) return { resources: [], problem };
  const resources: NamedResource[] = [];
  const refs = new Map(set.rules.flatMap(({ l7 }) => (l7 === 'any' || l7.terminatingTls === undefined ? [] : [[secretName(l7.terminatingTls), l7.terminatingTls] as const])));
  for (const [name, ref] of refs) {
    const message = secretMessage(ref, secretOf(secretKey(ref)));
    if (typeof message === 'string') return { resources: [], problem: message };
    resources.push({ type: 'Secret', name, message });
  }
  for (const [name, rules] of routeSets(options.port, set)) resources.push({ type: 'RouteConfiguration', name, message: routeConfiguration(name, rules) });
  resources.push({ type: 'Listener', name: String(options.port), message: listenerOf(set, options) });
  return { resources };
}
