// The bits of one rule in a merged policy: which peers, which keys. Almost always one; a port that is named by its
// receiver takes one for each number that the name means.
import { hash } from 'node:crypto';
import type { FqdnSelector } from './fqdn.ts';
import type { EndpointInput, L7Rules, RuleRef, StepAction } from './image.ts';
import { LAST_KEY, keyOf, mergeRanges, type KeyRange } from './intervals.ts';
import { peerPortsOf, type NamedPortTable } from './named-ports.ts';
import type { PeerSets, Within } from './peer-sets.ts';
import type { PortSpec, Rule } from './rule.ts';

export interface Bit {
  readonly ref: RuleRef;
  readonly action: StepAction;
  readonly set: number | 'any';
  readonly ranges: readonly KeyRange[];
  /** Names whose addresses are peers, and names that may be asked for. */
  readonly peers: readonly FqdnSelector[];
  readonly queries: readonly FqdnSelector[];
  readonly l7?: L7Rules;
  /** Before any L7 rule. */
  readonly builtIn?: true;
}

/** What named ports mean where a rule applies. */
export interface PortNumbers {
  readonly named: NamedPortTable | undefined;
  /** `name/protocol` -> number -> the identities that receive there. */
  readonly withPort: ReadonlyMap<string, ReadonlyMap<number, Within>>;
}

/** Of endpoints whose identity is known. */
export function peersWithPort(endpoints: Iterable<EndpointInput>, labelsOf: (identity: number) => readonly string[] | undefined): PortNumbers['withPort'] {
  const within = (ids: ReadonlySet<number>): Within => {
    const members = [...ids].filter((id) => labelsOf(id) !== undefined);
    const labels = members.map((id) => labelsOf(id)!.join()).sort();
    return { key: hash('sha256', labels.join('\n')).slice(0, 32), ids: new Set(members) };
  };
  return new Map([...peerPortsOf(endpoints)].map(([name, numbers]) => [name, new Map([...numbers].map(([number, ids]) => [number, within(ids)]))]));
}

export function bitsOf(rule: Rule, ports: PortNumbers, peerSets: PeerSets): Bit[] {
  if (rule.peers.length === 0) return [];
  const { ref, peers } = rule;
  const shared = {
    ref, action: rule.dns !== undefined ? 'dns' as const : rule.l7 !== undefined ? 'proxy' as const : ref.action, queries: rule.dns ?? [],
    ...(rule.l7 === undefined ? {} : { l7: rule.l7 }), ...(rule.builtIn === undefined ? {} : { builtIn: rule.builtIn }),
    peers: peers === 'any' ? [] : peers.flatMap((peer) => (peer.kind === 'fqdn' ? [peer.selector] : [])),
  };
  const bits: Bit[] = [];
  const ranges = rangesOf(rule, ports.named);
  if (ranges.length > 0) bits.push({ ...shared, set: peers === 'any' ? 'any' : peerSets.intern(peers), ranges });
  for (const { name, protocol } of portsOfPeers(rule.ports)) {
    for (const [number, within] of ports.withPort.get(`${name}/${protocol}`) ?? []) {
      const key = keyOf(protocol, number);
      bits.push({ ...shared, set: peerSets.intern(peers, within), ranges: [{ low: key, high: key }] });
    }
  }
  return bits;
}

const portsOfPeers = (ports: 'all' | readonly PortSpec[]): { name: string; protocol: number }[] => (ports === 'all' ? [] : ports)
  .flatMap((port) => (port.kind === 'named' && port.ofPeer ? port.protocols.map((protocol) => ({ name: port.name, protocol })) : []));

/** A named port that means no number here holds for no packet. Ports of peers count with `peer`, the receiver's own. */
export function rangesOf(rule: Rule, named: NamedPortTable | undefined, peer?: NamedPortTable): KeyRange[] {
  if (rule.ports === 'all') return [{ low: 0, high: LAST_KEY }];
  return mergeRanges(rule.ports.flatMap((port) => (port.kind === 'range'
    ? [{ low: keyOf(port.protocol, port.low), high: keyOf(port.protocol, port.high) }]
    : port.protocols.flatMap((protocol) => {
      const number = (port.ofPeer ? peer : named)?.get(port.name, protocol);
      return number === undefined ? [] : [{ low: keyOf(protocol, number), high: keyOf(protocol, number) }];
    }))));
}
