// Names and patterns of names, as toFQDNs and DNS rules have them: read into one form, held against a name.
// agent/dns makes keys and an automaton of them for the kernel; this is the meaning that both are tested against.

export interface FqdnSelector {
  readonly kind: 'name' | 'pattern';
  /** In lower case, with the final dot; only the pattern of all names is `*`. */
  readonly text: string;
  /** Equal keys match alike. */
  readonly key: string;
}

/** A piece of a pattern: one character, `star` (any characters inside one label, or none), `labels` (one or more whole labels, each with its dot). */
export type Piece = { readonly kind: 'character'; readonly character: string } | { readonly kind: 'star' } | { readonly kind: 'labels' };

const EVERY = '*';
const ROOT = '.';
const withDot = (text: string): string => (text.endsWith('.') ? text : `${text}.`);

/** Of a valid item of toFQDNs or rules.dns. */
export function fqdnSelector({ matchName, matchPattern }: { readonly matchName?: string | null; readonly matchPattern?: string | null }): FqdnSelector {
  if (matchName !== undefined && matchName !== null) return make('name', withDot(matchName.toLowerCase()));
  const pattern = (matchPattern ?? '').toLowerCase();
  if (pattern === EVERY) return make('pattern', EVERY);
  // Only exactly two stars and a dot in front of something are whole labels; any other run of stars is one.
  const [, labels = '', rest = ''] = /^(\*\*\.)?(.+)$/.exec(pattern) ?? [];
  return make('pattern', withDot(`${labels}${rest.replace(/\*+/g, '*')}`));
}

function make(kind: FqdnSelector['kind'], text: string): FqdnSelector {
  // A pattern without a star is a name.
  const one = kind === 'pattern' && !text.includes('*') ? 'name' : kind;
  return { kind: one, text, key: `${one} ${text}` };
}

/** The ways in which a name may match: each a sequence of pieces over the whole of it. */
export function piecesOf({ kind, text }: FqdnSelector): readonly (readonly Piece[])[] {
  const characters = (part: string): Piece[] => [...part].map((character) => (character === '*' && kind === 'pattern' ? { kind: 'star' } : { kind: 'character', character }));
  if (kind === 'pattern' && text === EVERY) return [[{ kind: 'labels' }], characters(ROOT)];
  if (kind === 'pattern' && text.startsWith('**.')) return [[{ kind: 'labels' }, ...characters(text.slice(3))]];
  return [characters(text)];
}

const source = (piece: Piece): string => {
  if (piece.kind === 'star') return '[-a-zA-Z0-9_]*';
  if (piece.kind === 'labels') return '(?:[-a-zA-Z0-9_]+[.])+';
  return piece.character === '.' ? '[.]' : piece.character;
};

/** For a name exactly as given: who asks brings it to lower case and adds the final dot. */
export function fqdnMatcher(selector: FqdnSelector): (name: string) => boolean {
  if (selector.kind === 'name') return (name) => name === selector.text;
  const expression = new RegExp(`^(?:${piecesOf(selector).map((pieces) => pieces.map(source).join('')).join('|')})$`);
  return (name) => expression.test(name);
}
