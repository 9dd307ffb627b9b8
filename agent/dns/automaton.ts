// Patterns of names -> one minimal automaton that reads a name from its end, as patterns differ at their beginnings: `.com` is walked once
// for all of them. A state says which patterns match there. packed.ts lays it out for the kernel.
import { ConfigError } from '../errors.ts';
import { piecesOf, type FqdnSelector, type Piece } from '../policy/fqdn.ts';

export const DOT = '.';

/** What is in neither leads to the dead state 0; a dot is never among `other`. */
export interface State {
  /** By character. */
  readonly edges: ReadonlyMap<string, number>;
  /** For any other letter of a label. */
  readonly other: number;
  /** Ascending positions in the list of patterns. */
  readonly accepts: readonly number[];
}

/** State 0 is dead; the name's final dot leads to state 1. */
export interface Automaton { readonly states: readonly State[] }

/** Subsets before minimising; beyond, stars multiply each other and it is no use to go on. */
const mostSubsets = 40_000;

interface Node { readonly edges: Map<string, number[]>; readonly letters: number[]; accepts: number }

/** One way through each pattern, backwards. */
function nodesOf(patterns: readonly FqdnSelector[]): { nodes: Node[]; starts: number[] } {
  const nodes: Node[] = [];
  const make = (): number => nodes.push({ edges: new Map(), letters: [], accepts: -1 }) - 1;
  const edge = (from: number, character: string, to: number): void => {
    const { edges } = nodes[from]!;
    edges.set(character, [...edges.get(character) ?? [], to]);
  };
  const step = (from: number, piece: Piece): number => {
    if (piece.kind === 'star') {
      nodes[from]!.letters.push(from);
      return from;
    }
    const to = make();
    if (piece.kind === 'character') {
      edge(from, piece.character, to);
      return to;
    }
    // Backwards a label follows its dot.
    const letter = make();
    edge(from, DOT, to);
    nodes[to]!.letters.push(letter);
    nodes[letter]!.letters.push(letter);
    edge(letter, DOT, to);
    return letter;
  };
  const starts = patterns.flatMap((pattern, index) => piecesOf(pattern).map((pieces) => {
    const start = make();
    nodes[pieces.toReversed().reduce(step, start)]!.accepts = index;
    return start;
  }));
  return { nodes, starts };
}

const ascending = (a: number, b: number): number => a - b;
const unique = (numbers: readonly number[]): number[] => [...new Set(numbers)].sort(ascending);

/** Every state that a name may lead to. */
function subsetsOf(patterns: readonly FqdnSelector[]): State[] {
  const { nodes, starts } = nodesOf(patterns);
  const ids = new Map<string, number>([['', 0]]);
  const sets: number[][] = [[]];
  const idOf = (set: readonly number[]): number => {
    const sorted = unique(set);
    const key = sorted.join();
    const known = ids.get(key);
    if (known !== undefined) return known;
    if (sets.length >= mostSubsets) throw new ConfigError('patterns of DNS names do not fit: their stars together need too many states', 'write fewer stars in one label, or fewer such patterns');
    ids.set(key, sets.length);
    return sets.push(sorted) - 1;
  };
  idOf(starts.flatMap((start) => nodes[start]!.edges.get(DOT) ?? []));
  const states: State[] = [];
  for (let id = 0; id < sets.length; id += 1) {
    const set = sets[id]!.map((node) => nodes[node]!);
    const letters = set.flatMap((node) => node.letters);
    const targets = new Map<string, number[]>();
    for (const { edges } of set) for (const [character, to] of edges) targets.set(character, [...targets.get(character) ?? [], ...to]);
    const edges = new Map([...targets].map(([character, to]) => [character, idOf(character === DOT ? to : [...to, ...letters])]));
    states.push({ edges, other: idOf(letters), accepts: unique(set.flatMap(({ accepts }) => (accepts < 0 ? [] : [accepts]))) });
  }
  // The dead state is first also where no pattern leads anywhere.
  return states.length === 1 ? [...states, states[0]!] : states;
}

/** Moore: states that no name tells apart become one. */
function minimal(states: readonly State[]): State[] {
  let block = new Int32Array(states.length);
  let count = 0;
  for (;;) {
    const blocks = new Map<string, number>();
    const next = Int32Array.from(states, ({ edges, other, accepts }, id) => {
      const rest = block[other]!;
      const own = [...edges].filter(([character, to]) => block[to] !== (character === DOT ? block[0] : rest)).map(([character, to]) => `${character}${block[to]}`).sort();
      const key = `${block[id]} ${accepts.join()} ${rest} ${own.join(' ')}`;
      const known = blocks.get(key) ?? blocks.size;
      blocks.set(key, known);
      return known;
    });
    block = next;
    if (blocks.size === count) break;
    count = blocks.size;
  }
  // Blocks are numbered as their first states come: the dead one is 0, the start 1, unless nothing is ever matched.
  const firsts = new Map<number, State>();
  states.forEach((state, id) => { if (!firsts.has(block[id]!)) firsts.set(block[id]!, state); });
  const merged = [...firsts.values()].map(({ edges, other, accepts }): State => ({
    edges: new Map([...edges].map(([character, to]) => [character, block[to]!] as const).filter(([character, to]) => to !== (character === DOT ? 0 : block[other]))),
    other: block[other]!, accepts,
  }));
  return merged.length === 1 ? [...merged, merged[0]!] : merged;
}

export const automatonOf = (patterns: readonly FqdnSelector[]): Automaton => ({ states: minimal(subsetsOf(patterns)) });
