// One form for the rules of every kind of policy: who is selected, which peers, which ports.
// rules.ts and kubernetes-network-policy.ts write them; compile.ts and explain.ts read nothing else of a policy.
import type { FqdnSelector } from './fqdn.ts';
import type { Direction, L7Rules, PolicyRef, RuleRef } from './image.ts';
import type { Mode } from './mode.ts';
import { parsePrefix, type Prefix } from './prefix.ts';
import type { Selector } from './selector.ts';

export type PortSpec =
  /** ICMP and ICMPv6: the type is the port. */
  | { readonly kind: 'range'; readonly protocol: number; readonly low: number; readonly high: number }
  /** `name` in lower case; it means a number only for an endpoint: with `ofPeer` for each peer its own. */
  | { readonly kind: 'named'; readonly protocols: readonly number[]; readonly name: string; readonly ofPeer?: true };

export type Peer =
  | { readonly kind: 'labels'; readonly selector: Selector; readonly text: string }
  | { readonly kind: 'cidr'; readonly prefix: Prefix; readonly except: readonly Prefix[]; readonly text: string }
  /** Selects no identity: addresses that answers gave for the name. */
  | { readonly kind: 'fqdn'; readonly selector: FqdnSelector; readonly text: string };

/** One entry of a policy. */
export interface Rule {
  readonly ref: RuleRef;
  readonly direction: Direction;
  /** An empty list selects nobody. */
  readonly peers: 'any' | readonly Peer[];
  /** An empty list holds for no packet. */
  readonly ports: 'all' | readonly PortSpec[];
  /** Only these names may be asked for there. */
  readonly dns?: readonly FqdnSelector[];
  /** Through Envoy, which lets pass only what these say. */
  readonly l7?: L7Rules;
  /** Of no policy: it holds before any L7 rule. */
  readonly builtIn?: true;
}

/** One spec of a policy: its rules and what it does to the endpoints that it selects. */
export interface RuleGroup {
  readonly policy: PolicyRef;
  /** What is off is no group at all. */
  readonly mode: Exclude<Mode, 'off'>;
  /** `spec`, `specs[1]` */
  readonly path: string;
  readonly subject: Selector;
  /** The directions in which what no rule allows is denied. */
  readonly defaultDeny: Readonly<Record<Direction, boolean>>;
  readonly rules: readonly Rule[];
}

/** Of the entry: a rule of one item of toPorts has the item's own path. */
export const entryPath = (path: string): string => path.replace(/\.toPorts\[\d+\]$/, '');

export const labelPeer = (selector: Selector, text: string): Peer => ({ kind: 'labels', selector, text });

/** Equal keys select alike. */
export const peerKey = (peer: Peer): string => (peer.kind !== 'cidr'
  ? peer.selector.key
  : `${peer.prefix.text} - ${peer.except.map((one) => one.text).sort().join(' ')}`);

/** `name`: how texts call it, if not by the prefix. */
export function cidrPeer(cidr: string, except: readonly string[], name?: string): Peer[] {
  const prefix = parsePrefix(cidr);
  if (prefix === undefined) return [];
  const excepts = except.map(parsePrefix).filter((one) => one !== undefined);
  const text = `${name ?? prefix.text}${excepts.length === 0 ? '' : ` except ${excepts.map((one) => one.text).join(', ')}`}`;
  return [{ kind: 'cidr', prefix, except: excepts, text }];
}

/** Port 0 is every port of the protocol; with an end, all up to it. */
export function portSpecs(port: string, endPort: number, protocols: readonly number[]): PortSpec[] {
  if (!/^[0-9]+$/.test(port)) return port === '' ? [] : [{ kind: 'named', protocols, name: port.toLowerCase() }];
  const low = parsePortNumber(port);
  const high = endPort > low ? endPort : low === 0 ? 0xffff : low;
  return protocols.map((protocol) => ({ kind: 'range', protocol, low, high }));
}

/** A leading zero makes it octal, as in the engine that these objects were written for. */
export const parsePortNumber = (text: string): number => Number.parseInt(text, /^0[0-9]/.test(text) ? 8 : 10);
