// The compiler: rules, identities and endpoints in, a PolicyImage out; pure, no kernel numbers.
// selectors -> peer sets -> classes; groups per endpoint -> merged policies with bits, intervals and steps.
import { createHash } from 'node:crypto';
import { cidrLabels } from '../identity/labels.ts';
import { RESERVED } from '../identity/reserved.ts';
import type { EndpointInput, IdentityInput, MergedPolicy, PeerClass, PolicyImage } from './image.ts';
import { Membership } from './membership.ts';
import { mergePolicies } from './merge.ts';
import { PeerSets } from './peer-sets.ts';
import { parsePrefix } from './prefix.ts';
import type { RuleGroup } from './rule.ts';
import { labelSet } from './selector.ts';

export interface CompileInput {
  readonly rules: readonly RuleGroup[];
  readonly identities: readonly IdentityInput[];
  readonly endpoints: readonly EndpointInput[];
  /** The number of a prefix that rules name; the same prefix gets the same number every time. */
  readonly cidrIdentity: (prefix: string) => number;
  /** False: the cluster has IPv4 only, and all outside is `world`. */
  readonly ipv6: boolean;
}

export function compile(input: CompileInput): PolicyImage {
  const prefixes = numberPrefixes(input);
  const identities = withPrefixIdentities(input.identities, prefixes, input.ipv6);
  const membership = new Membership(identities.map((identity) => labelSet(identity.labels)), input.ipv6);
  const peerSets = new PeerSets(membership);
  const merged = mergePolicies(input, identities, membership, peerSets);
  return {
    policies: merged.policies,
    ...classify(identities, peerSets),
    ofEndpoint: merged.ofEndpoint,
    prefixes,
  };
}

function numberPrefixes({ rules, cidrIdentity, ipv6 }: CompileInput): Map<string, number> {
  const texts = new Set<string>();
  for (const rule of rules.flatMap((group) => group.rules)) {
    for (const peer of rule.peers === 'any' ? [] : rule.peers) {
      if (peer.kind === 'cidr') for (const prefix of [peer.prefix, ...peer.except]) texts.add(prefix.text);
    }
  }
  const world = (text: string): number => (!ipv6 ? RESERVED.world : text.includes(':') ? RESERVED['world-ipv6'] : RESERVED['world-ipv4']);
  return new Map([...texts].map((text) => [text, parsePrefix(text)!.length === 0 ? world(text) : cidrIdentity(text)]));
}

function withPrefixIdentities(given: readonly IdentityInput[], prefixes: ReadonlyMap<string, number>, ipv6: boolean): IdentityInput[] {
  const byId = new Map(given.map((identity) => [identity.id, identity]));
  for (const [prefix, id] of prefixes) if (!byId.has(id)) byId.set(id, { id, labels: cidrLabels(prefix, ipv6) });
  return [...byId.values()];
}

/** The class of an identity is the set of peer sets that it is in; equal sets share one. */
function classify(identities: readonly IdentityInput[], peerSets: PeerSets): Pick<PolicyImage, 'classes' | 'classOfIdentity'> {
  const setsOf = identities.map((): number[] => []);
  for (const set of peerSets.all()) for (const position of set.members) setsOf[position]!.push(set.id);
  const classes = new Map<string, PeerClass>();
  const keyBySets = new Map<string, string>();
  const classOfIdentity = new Map<number, string>();
  identities.forEach((identity, position) => {
    const sets = setsOf[position]!;
    const text = sets.join();
    let key = keyBySets.get(text);
    if (key === undefined) {
      key = createHash('sha256').update(sets.map((id) => peerSets.digest(id)).sort().join()).digest('hex').slice(0, 32);
      keyBySets.set(text, key);
      classes.set(key, makeClass(key, new Set(sets)));
    }
    classOfIdentity.set(identity.id, key);
  });
  return { classes, classOfIdentity };
}

function makeClass(key: string, sets: ReadonlySet<number>): PeerClass {
  const rows = new Map<string, readonly bigint[]>();
  const row = (policy: MergedPolicy): readonly bigint[] => {
    const known = rows.get(policy.key);
    if (known !== undefined) return known;
    const words = new Array<bigint>(policy.words).fill(0n);
    policy.peerSets.forEach((set, bit) => {
      if (set === 'any' || sets.has(set)) words[bit >> 6]! |= 1n << BigInt(bit & 63);
    });
    rows.set(policy.key, words);
    return words;
  };
  return { key, sets, row };
}
