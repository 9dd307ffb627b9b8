// Label selectors: read, checked and matched. A key without a source, or with `any:`, means any source.
// A `cidr:` key matches the label of every prefix inside it.
import { parseLabel, prefixOfCidrLabelKey, type Label } from '../identity/labels.ts';
import { covers, parsePrefix, type Prefix } from './prefix.ts';

/** `InOrAbsent` is never written by users: rules.ts adds it where a label may be missing but must not differ. */
export type Operator = 'In' | 'NotIn' | 'Exists' | 'DoesNotExist' | 'InOrAbsent';

export interface Requirement {
  /** `any` or one source. */
  readonly source: string;
  readonly key: string;
  readonly operator: Operator;
  readonly values: readonly string[];
  /** Of a `cidr:` key. */
  readonly prefix?: Prefix;
}

/** All requirements hold; none: everything matches. */
export interface Selector {
  readonly requirements: readonly Requirement[];
  /** Canonical text: equal selectors have equal keys. */
  readonly key: string;
}

/** A label selector as Kubernetes writes it. */
export interface LabelSelector {
  readonly matchLabels?: Readonly<Record<string, string>> | null;
  readonly matchExpressions?: readonly {
    readonly key: string;
    readonly operator: string;
    readonly values?: readonly string[] | null;
  }[] | null;
}

/** Where label keys may come from; any other source names nobody. */
export const LABEL_SOURCES: ReadonlySet<string> = new Set([
  'any', 'k8s', 'reserved', 'cidr', 'cidrgroup', 'fqdn', 'node', 'unspec', 'cni', 'directory', 'container', 'gen',
]);

/** `k8s:app` has the source k8s; `app`, `any:app` and `:app` have any. */
export function parseSelectorKey(text: string): { source: string; key: string } {
  const colon = text.indexOf(':');
  return colon < 0
    ? { source: 'any', key: text }
    : { source: text.slice(0, colon) || 'any', key: text.slice(colon + 1) };
}

export function requirement(name: string, operator: Operator, values: readonly string[] = []): Requirement {
  const { source, key } = parseSelectorKey(name);
  const prefix = source === 'cidr' ? parsePrefix(prefixOfCidrLabelKey(key)) : undefined;
  return prefix === undefined ? { source, key, operator, values } : { source, key, operator, values, prefix };
}

export function makeSelector(requirements: readonly Requirement[]): Selector {
  const texts = requirements.map((one) => `${one.source}:${one.key} ${one.operator} ${JSON.stringify([...one.values].sort())}`);
  return { requirements, key: [...new Set(texts)].sort().join(' & ') };
}

export function requirementsOf(selector: LabelSelector): Requirement[] {
  const requirements = Object.entries(selector.matchLabels ?? {}).map(([key, value]) => requirement(key, 'In', [value]));
  for (const { key, operator, values } of selector.matchExpressions ?? []) {
    requirements.push(requirement(key, operator as Operator, values ?? []));
  }
  return requirements;
}

export const readSelector = (selector: LabelSelector): Selector => makeSelector(requirementsOf(selector));

/** Labels in a form that requirements can look up. */
export interface LabelSet {
  readonly labels: readonly Label[];
  readonly byKey: ReadonlyMap<string, readonly Label[]>;
  /** Of the `cidr:` labels. */
  readonly prefixes: readonly Prefix[];
}

export function labelSet(texts: readonly string[]): LabelSet {
  const labels = texts.map(parseLabel);
  const byKey = new Map<string, Label[]>();
  const prefixes: Prefix[] = [];
  for (const label of labels) {
    const same = byKey.get(label.key);
    if (same === undefined) byKey.set(label.key, [label]);
    else same.push(label);
    const prefix = label.source === 'cidr' ? parsePrefix(prefixOfCidrLabelKey(label.key)) : undefined;
    if (prefix !== undefined) prefixes.push(prefix);
  }
  return { labels, byKey, prefixes };
}

const NO_LABELS: readonly Label[] = [];

const sourceFits = (wanted: string, source: string): boolean => wanted === 'any' || wanted === source;

function holds(one: Requirement, labels: LabelSet): boolean {
  // Asked millions of times: nothing is allocated.
  let there = false;
  let equal = false;
  if (one.prefix !== undefined) {
    for (const inner of labels.prefixes) there ||= covers(one.prefix, inner);
    equal = there && one.values.includes('');
  } else {
    for (const label of labels.byKey.get(one.key) ?? NO_LABELS) {
      if (!sourceFits(one.source, label.source)) continue;
      there = true;
      equal ||= one.values.includes(label.value);
    }
  }
  switch (one.operator) {
    case 'Exists': return there;
    case 'DoesNotExist': return !there;
    case 'In': return equal;
    case 'NotIn': return !equal;
    case 'InOrAbsent': return equal || !there;
  }
}

export function matches(selector: Selector, labels: LabelSet): boolean {
  for (const one of selector.requirements) if (!holds(one, labels)) return false;
  return true;
}

/** The requirements that do not hold, for explanations. */
export const missing = (selector: Selector, labels: LabelSet): Requirement[] =>
  selector.requirements.filter((one) => !holds(one, labels));

/** `k8s:app=web`, `tier notin (a, b)`, `has role` */
export function formatRequirement(one: Requirement): string {
  const name = one.source === 'any' ? one.key : `${one.source}:${one.key}`;
  switch (one.operator) {
    case 'Exists': return `has ${name}`;
    case 'DoesNotExist': return `has no ${name}`;
    case 'NotIn': return `${name} not in (${one.values.join(', ')})`;
    default: return one.values.length === 1
      ? (one.values[0] === '' ? name : `${name}=${one.values[0]}`)
      : `${name} in (${one.values.join(', ')})`;
  }
}

export const formatSelector = (selector: Selector): string =>
  selector.requirements.length === 0 ? 'every endpoint' : selector.requirements.map(formatRequirement).join(', ');
