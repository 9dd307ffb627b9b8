// The automaton as rows of the kernel's maps: edges of all states in one table, each where its state's base and its character say, and
// lists of selectors that share their ends. `match` walks it as bpf/lib/dns_match.h does. Layout: bpf/lib/dns_types.h.
import { ConfigError } from '../errors.ts';
import type { FqdnSelector } from '../policy/fqdn.ts';
import { dns_limit, type DnsAccept, type DnsState } from '../../bpf/types.gen.ts';
import { automatonOf, DOT, type Automaton } from './automaton.ts';

/** The state whose it is, and where it leads. */
export interface Edge { readonly state: number; readonly next: number }

export interface Packed { readonly states: readonly DnsState[]; readonly edges: readonly Edge[]; readonly accepts: readonly DnsAccept[] }

export interface Numbered { readonly selector: FqdnSelector; readonly number: number }

/** Every character of a name is below this. */
const characters = 128;
const none: Edge = { state: 0, next: 0 };

/** Throws ConfigError when it is more than fits. */
export function pack(patterns: readonly Numbered[]): Packed {
  const automaton = automatonOf(patterns.map(({ selector }) => selector));
  if (automaton.states.length > dns_limit.DNS_STATES) full(`${automaton.states.length} states of ${dns_limit.DNS_STATES}`);
  const { edges, bases } = placeEdges(automaton);
  const { accepts, first } = placeAccepts(automaton, patterns);
  const states = automaton.states.map(({ edges: own, other }, id): DnsState =>
    ({ base: bases[id]!, other, accept: first[id]!, same: other === id && [...own.keys()].every((character) => character === DOT) ? 1 : 0 }));
  return { states, edges, accepts };
}

function full(what: string): never {
  throw new ConfigError(`patterns of DNS names do not fit: they need ${what}`, 'use fewer patterns, or names');
}

/** First fit, the widest states first. */
function placeEdges({ states }: Automaton): { edges: Edge[]; bases: number[] } {
  const edges: (Edge | undefined)[] = [];
  const bases = new Array<number>(states.length).fill(0);
  let free = 0;
  const order = states.map((_, id) => id).filter((id) => states[id]!.edges.size > 0).sort((a, b) => states[b]!.edges.size - states[a]!.edges.size);
  for (const id of order) {
    const own = [...states[id]!.edges].map(([character, next]) => ({ at: character.charCodeAt(0), next }));
    const lowest = Math.min(...own.map(({ at }) => at));
    while (edges[free] !== undefined) free += 1;
    let base = Math.max(0, free - lowest);
    while (own.some(({ at }) => edges[base + at] !== undefined)) base += 1;
    if (base + characters > dns_limit.DNS_EDGES) full(`more than ${dns_limit.DNS_EDGES} steps between states`);
    bases[id] = base;
    for (const { at, next } of own) edges[base + at] = { state: id, next };
  }
  return { edges: Array.from(edges, (edge) => edge ?? none), bases };
}

/** Row 0 ends every list. */
function placeAccepts({ states }: Automaton, patterns: readonly Numbered[]): { accepts: DnsAccept[]; first: number[] } {
  const accepts: DnsAccept[] = [{ selector: 0, next: 0 }];
  const rows = new Map<string, number>();
  const rowOf = (list: readonly number[]): number => {
    if (list.length === 0) return 0;
    const key = list.join();
    const known = rows.get(key);
    if (known !== undefined) return known;
    const next = rowOf(list.slice(1));
    rows.set(key, accepts.length);
    return accepts.push({ selector: patterns[list[0]!]!.number, next }) - 1;
  };
  const first = states.map(({ accepts: list }) => {
    if (list.length > dns_limit.DNS_MATCHES) full(`a name that ${list.length} patterns match; at most ${dns_limit.DNS_MATCHES} may`);
    return rowOf(list);
  });
  if (accepts.length > dns_limit.DNS_ACCEPTS) full(`more than ${dns_limit.DNS_ACCEPTS} sets of patterns for a name`);
  return { accepts, first };
}

/** The numbers of the selectors that match a name in lower case with its final dot. */
export function match({ states, edges, accepts }: Packed, name: string): number[] {
  if (!name.endsWith(DOT) || !/^[-a-z0-9_.]*$/.test(name) || (name !== DOT && (name.startsWith(DOT) || name.includes('..')))) return [];
  let state = 1;
  for (let at = name.length - 2; at >= 0 && state !== 0; at -= 1) {
    const edge = edges[states[state]!.base + name.charCodeAt(at)] ?? none;
    state = edge.state === state ? edge.next : name[at] === DOT ? 0 : states[state]!.other;
  }
  const found: number[] = [];
  for (let row = states[state]!.accept; row !== 0; row = accepts[row]!.next) found.push(accepts[row]!.selector);
  return found;
}
