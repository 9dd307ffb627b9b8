// What the policy compiler gives to the reconciler: the final form of all policies, still without kernel numbers.
// Peers are judged by class (the set of peer sets an identity is in); each merged policy owns some bits of a class row,
// one for the peer set of each entry. Layout of intervals and steps: bpf/lib/types.h.

import type { FqdnSelector } from './fqdn.ts';

export type Direction = 'ingress' | 'egress';
export type RuleAction = 'allow' | 'deny';
/**
 * `dns`: allowed to be asked what a DNS rule names; the program that reads queries decides.
 * `proxy`: through Envoy, where the rule set of the peer decides.
 */
export type StepAction = RuleAction | 'dns' | 'proxy';

/** A policy object, as flows name it (Hubble's flow.Policy). */
export interface PolicyRef {
  readonly kind: string;
  readonly namespace: string;
  readonly name: string;
}

/** One entry of a policy: `spec.ingress[0]`. */
export interface RuleRef {
  readonly policy: PolicyRef;
  /** `spec.ingress[0]`, `specs[1].egressDeny[2]`; `allow-localhost` for the built-in entry. */
  readonly path: string;
  readonly action: RuleAction;
  /** `log.value` of the policy. */
  readonly log?: string;
}

export interface Step {
  readonly word: number;
  readonly mask: bigint;
  readonly action: StepAction;
  /** Some of its bits are of names: an address has them that a permitted answer gave for the name. */
  readonly named?: true;
}

/** Which bits of a policy a name sets: where it is the peer's (`peer`), or what is asked for (`query`). */
export interface NameBits { readonly selector: FqdnSelector; readonly use: 'peer' | 'query'; readonly word: number; readonly mask: bigint }

/** For keys from `lower` up to the next interval's: (protocol << 16) | port; for ICMP and ICMPv6 the type is the port. */
export interface Interval {
  readonly lower: number;
  /** Tried in order; the first with a common bit decides. Empty: nothing here, the default action holds. */
  readonly steps: readonly Step[];
}

/** What a policy asks of HTTP requests; an absent field: any. Regular expressions (RE2) are of the whole value. */
export interface HttpRule {
  readonly method?: string;
  readonly path?: string;
  readonly host?: string;
  /** Present; with a value, exactly that. Names in lower case. */
  readonly headers: readonly { readonly name: string; readonly value?: string }[];
  /** As `headers`, but a request that lacks it passes and is changed or told of. */
  readonly mismatches: readonly { readonly name: string; readonly value: string; readonly action: 'LOG' | 'ADD' | 'DELETE' | 'REPLACE' }[];
}

/** What one item of toPorts asks of a connection. */
export interface L7Rules {
  /** An empty list: connections are not read as HTTP. */
  readonly http: readonly HttpRule[];
  /** SNI patterns; an empty list: TLS is not asked for. */
  readonly serverNames: readonly string[];
  /** TLS ends at Envoy, under this certificate. */
  readonly terminatingTls?: { readonly namespace: string; readonly name: string; readonly certificate: string; readonly privateKey: string };
}

/** What one listener of Envoy enforces: the L7 rules that hold for some peers of some endpoints on some port. Identity-free. */
export interface RuleSet {
  /** Of what it comes from (direction, policies, entries), not of what it says: changed rules reach the listener that is there. */
  readonly key: string;
  readonly direction: Direction;
  /** What each rule says; `any`: a plain allow beside them, so that every request passes. */
  readonly rules: readonly { readonly ref: RuleRef; readonly l7: L7Rules | 'any' }[];
}

/** What one endpoint enforces in one direction: all rules that select it, merged. Endpoints with equal content share one. */
export interface MergedPolicy {
  /** Equal keys, equal content: kernel ids are kept for as long as the key lives. */
  readonly key: string;
  readonly direction: Direction;
  /** u64 words over which its bits go, counted from its own first. */
  readonly words: number;
  readonly defaultAction: 'allow' | 'default-deny';
  /** Sorted by `lower`, the first at 0, disjoint, neighbours differ. */
  readonly intervals: readonly Interval[];
  /** By bit number (word * 64 + bit). */
  readonly rules: readonly RuleRef[];
  /** By bit number: its peer set, as this image numbers them. */
  readonly peerSets: readonly (number | 'any')[];
  readonly names: readonly NameBits[];
  /** By bit number: the L7 rules of that entry. */
  readonly l7: ReadonlyMap<number, L7Rules>;
  /** The policies that switch on default deny for this direction. */
  readonly enforcedBy: readonly PolicyRef[];
}

export interface PeerClass {
  readonly key: string;
  /** The peer sets that it is in. */
  readonly sets: ReadonlySet<number>;
  /** This class's words for a policy: bit set = the class is in that entry's peer set. */
  readonly row: (policy: MergedPolicy) => readonly bigint[];
}

/** Keys of an endpoint's merged policies; absent: that direction is not enforced. */
export interface EndpointPolicies {
  readonly ingress?: string;
  readonly egress?: string;
  /** What they would be with the audited policies; absent: the same. */
  readonly auditIngress?: string;
  readonly auditEgress?: string;
}

export interface PolicyImage {
  readonly policies: ReadonlyMap<string, MergedPolicy>;
  readonly classes: ReadonlyMap<string, PeerClass>;
  /** Identity number -> class key, for every identity given and every prefix below. */
  readonly classOfIdentity: ReadonlyMap<number, string>;
  readonly ofEndpoint: ReadonlyMap<number, EndpointPolicies>;
  /** Every prefix that rules name (masked, canonical text) -> its identity. */
  readonly prefixes: ReadonlyMap<string, number>;
}

/** A label set with its number: reserved, of workloads, or node-local (CIDR). Labels are `source:key=value`. */
export interface IdentityInput { readonly id: number; readonly labels: readonly string[] }

export interface EndpointInput {
  readonly id: number;
  readonly identity: number;
  readonly namespace: string;
  readonly namedPorts: readonly { readonly name: string; readonly port: number; readonly protocol: 'TCP' | 'UDP' | 'SCTP' }[];
}
