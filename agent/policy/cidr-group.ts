// CiliumCIDRGroup: prefixes of the outside under one name. Rules take a group by its name (cidrGroupRef) or several by their
// labels (cidrGroupSelector); which prefixes that are is settled when the rules are read.
import { anything, choice, list, object, text, type Path, type Problem } from './check.ts';
import { cidr, cidrForm } from './formats.ts';
import { nearest } from './mend.ts';
import { metadata } from './metadata.ts';
import { isMappedIpv4, parsePrefix } from './prefix.ts';
import { labelSet, matches, readSelector, type LabelSelector, type LabelSet } from './selector.ts';

type Json = Readonly<Record<string, unknown>>;

export const CIDR_GROUP = 'CiliumCIDRGroup';

export interface CidrGroup {
  readonly name: string;
  /** `cidrgroup:team=a` */
  readonly labels: LabelSet;
  readonly cidrs: readonly string[];
}

/** The label that names a group, for selectors that speak of it. */
const NAME_LABEL = 'io.cilium.policy.cidrgroupname/';

/** No packet carries the IPv6 form of an IPv4 address. */
const groupCidr = (value: string): string | undefined => {
  const prefix = parsePrefix(value);
  return cidr(value) ?? (prefix !== undefined && isMappedIpv4(prefix) ? 'is an IPv4 prefix in IPv6 form; write it as IPv4' : undefined);
};

export const cidrGroup = object('the group', {
  apiVersion: choice('apiVersion', ['cilium.io/v2', 'cilium.io/v2alpha1']),
  kind: choice('kind', [CIDR_GROUP]),
  metadata,
  spec: object('spec', { externalCIDRs: list('externalCIDRs', text('a CIDR', { test: groupCidr, form: cidrForm })) }, {
    required: ['externalCIDRs'],
    hints: { cidrs: 'did you mean `externalCIDRs`?', cidr: 'write externalCIDRs: [ADDRESS/LENGTH]', except: 'except stands where the group is used: toCIDRSet: [{cidrGroupRef: NAME, except: [...]}]' },
  }),
  status: anything,
}, { required: ['apiVersion', 'kind', 'spec'], hints: { externalCIDRs: 'it stands under spec' } });

export function readCidrGroup(object: Json): CidrGroup {
  const { name, labels } = (object['metadata'] ?? {}) as { name?: string; labels?: Record<string, string> | null };
  const { externalCIDRs } = (object['spec'] ?? {}) as { externalCIDRs?: string[] };
  const texts = Object.entries(labels ?? {}).map(([key, value]) => `cidrgroup:${key}=${value}`);
  return { name: String(name), labels: labelSet([...texts, `cidrgroup:${NAME_LABEL}${String(name)}=`]), cidrs: externalCIDRs ?? [] };
}

/** The groups that one item of a CIDRSet means; none for an item with a plain prefix. */
export function groupsOf(set: Json, groups: readonly CidrGroup[]): CidrGroup[] {
  const name = set['cidrGroupRef'];
  if (name !== undefined && name !== null) return groups.filter((group) => group.name === name);
  const selector = set['cidrGroupSelector'] as LabelSelector | null | undefined;
  if (selector === undefined || selector === null) return [];
  const read = readSelector(selector);
  return groups.filter((group) => matches(read, group.labels));
}

const listOf = (value: unknown): readonly Json[] => (Array.isArray(value) ? value as Json[] : []);

const PLACES = [['ingress', 'fromCIDRSet'], ['ingressDeny', 'fromCIDRSet'], ['egress', 'toCIDRSet'], ['egressDeny', 'toCIDRSet']] as const;

/** Every item of a policy that names groups, with its place. */
function groupItems(object: Json): { readonly path: Path; readonly set: Json }[] {
  const specs: [Path, Json][] = listOf(object['specs']).map((spec, index) => [['specs', index], spec]);
  if (object['spec'] !== undefined && object['spec'] !== null) specs.unshift([['spec'], object['spec'] as Json]);
  return specs.flatMap(([path, spec]) => PLACES.flatMap(([section, field]) => listOf(spec[section]).flatMap((entry, index) =>
    listOf(entry[field]).map((set, at) => ({ path: [...path, section, index, field, at], set }))
      .filter(({ set }) => set['cidr'] === undefined || set['cidr'] === null))));
}

export const namesGroups = (object: Json): boolean => groupItems(object).length > 0;

/** Warnings: what names no group selects nothing, which is rarely meant. */
export function absentGroups(object: Json, groups: readonly CidrGroup[]): Problem[] {
  return groupItems(object).filter(({ set }) => groupsOf(set, groups).length === 0).map(({ path, set }): Problem => {
    const name = set['cidrGroupRef'];
    if (typeof name !== 'string') {
      return { path: [...path, 'cidrGroupSelector'], severity: 'warning', name: 'selects-nothing', message: 'no CiliumCIDRGroup has these labels, so this selects nothing', mend: 'label a group so: metadata: {labels: {...}}' };
    }
    const near = nearest(name, groups.map((group) => group.name));
    return {
      path: [...path, 'cidrGroupRef'], severity: 'warning', name: 'selects-nothing', message: `there is no CiliumCIDRGroup ${name}, so this selects nothing`,
      mend: near === undefined ? 'add the group, or write cidr: ADDRESS/LENGTH' : `did you mean \`${near}\`?`,
    };
  });
}
