// The recorded set of 1,000 policies and 5,000 endpoints, as the compiler takes it.
import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { podIdentityLabels } from '../agent/identity/labels.ts';
import { reservedIdentities } from '../agent/identity/reserved.ts';
import type { CompileInput } from '../agent/policy/compile.ts';
import type { EndpointInput, IdentityInput } from '../agent/policy/image.ts';
import { prefixNumbers, type CasePod, type PolicyCase } from '../agent/policy/offline.ts';
import type { RuleGroup } from '../agent/policy/rule.ts';
import { readRules } from '../agent/policy/rules.ts';
import { check } from '../agent/policy/validate.ts';

export interface Scale {
  readonly namespaces: PolicyCase['namespaces']; readonly endpoints: readonly CasePod[]; readonly policies: readonly Readonly<Record<string, unknown>>[];
  readonly subjects: readonly string[]; readonly flows: readonly (readonly [egress: 0 | 1, subject: number, peer: number, port: number, protocol: string, allowed: 0 | 1])[];
}

const file = new URL('../agent/policy/testdata/scale.json.gz', import.meta.url);

export const readScale = (): Scale => JSON.parse(gunzipSync(readFileSync(file)).toString('utf8')) as Scale;

export interface Input extends CompileInput { readonly endpoints: EndpointInput[]; readonly identities: IdentityInput[] }

export function inputOf({ namespaces, endpoints }: Scale, rules: readonly RuleGroup[]): Input {
  const ids = new Map<string, IdentityInput>();
  const rows = endpoints.map(({ labels, namespace, serviceAccount = 'default', namedPorts = [] }, index): EndpointInput => {
    const own = podIdentityLabels({ labels, namespace, serviceAccount, namespaceLabels: namespaces[namespace]?.labels ?? {} });
    const identity = ids.get(own.join()) ?? { id: 256 + ids.size, labels: own };
    ids.set(own.join(), identity);
    return { id: index + 1, identity: identity.id, namespace, namedPorts };
  });
  return { rules, identities: [...reservedIdentities(), ...ids.values()], endpoints: rows, cidrIdentity: prefixNumbers(), ipv6: true };
}

export const read = (objects: readonly unknown[]): RuleGroup[][] => objects.map((object) => {
  if (!check(object).valid) throw new Error('the recorded set has an invalid policy');
  return readRules(object as Readonly<Record<string, unknown>>, []);
});
