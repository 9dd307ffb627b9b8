// Regular expressions of L7 rules for offline verdicts: RE2 (what Envoy runs) as JavaScript, where both mean the same. What JavaScript
// reads otherwise, or not at all, has no translation: then nothing is judged rather than something else.

const ESCAPES: Readonly<Record<string, string>> = {
  a: '\\x07', f: '\\f', n: '\\n', r: '\\r', t: '\\t', v: '\\v', d: '\\d', D: '\\D', w: '\\w', W: '\\W', s: '[\\t\\n\\f\\r ]', S: '[^\\t\\n\\f\\r ]', b: '\\b', B: '\\B', A: '^', z: '$',
};
const POSIX: Readonly<Record<string, string>> = {
  alpha: 'A-Za-z', digit: '0-9', alnum: '0-9A-Za-z', upper: 'A-Z', lower: 'a-z', word: '0-9A-Za-z_', xdigit: '0-9A-Fa-f', space: '\\t\\n\\v\\f\\r ', blank: '\\t ', punct: '!-\\/:-@\\[-`\\{-~',
};
const compiled = new Map<string, RegExp | undefined>();
const mostCompiled = 4_096;

/** Matches whole values only. Undefined: not said in JavaScript. */
export function wholeMatch(re2: string): RegExp | undefined {
  if (compiled.has(re2)) return compiled.get(re2);
  if (compiled.size >= mostCompiled) compiled.clear();
  const expression = build(re2);
  compiled.set(re2, expression);
  return expression;
}

function build(re2: string): RegExp | undefined {
  const flags = /^\(\?([is]+)\)/.exec(re2);
  const source = translate(re2.slice(flags?.[0].length ?? 0), flags?.[1]!.includes('s') ?? false);
  if (source === undefined) return undefined;
  try {
    return new RegExp(`^(?:${source})$`, `u${flags?.[1]!.includes('i') ? 'i' : ''}`);
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

function translate(text: string, dotAll: boolean): string | undefined {
  let out = '';
  for (let at = 0; at < text.length;) {
    const rest = text.slice(at);
    const token = rest[0] === '[' ? readClass(rest) : rest[0] === '\\' ? readEscape(rest, false) : readPlain(rest, dotAll);
    if (token === undefined) return undefined;
    out += token.source;
    at += token.length;
  }
  return out;
}

interface Token { readonly source: string; readonly length: number }

function readPlain(rest: string, dotAll: boolean): Token | undefined {
  if (rest[0] === '.') return { source: dotAll ? '[^]' : '[^\\n]', length: 1 };
  if (rest.startsWith('(?P<')) return { source: '(?<', length: 4 };
  // Flags for a part of an expression, and what only JavaScript knows.
  if (rest.startsWith('(?') && !/^\(\?(:|<[A-Za-z_])/.test(rest)) return undefined;
  const [character] = rest;
  return { source: character!, length: character!.length };
}

function readEscape(rest: string, inClass: boolean): Token | undefined {
  const letter = rest[1] ?? '';
  const hex = /^\\x(?:([0-9A-Fa-f]{2})|\{([0-9A-Fa-f]{1,6})\})/.exec(rest);
  if (hex !== null) return { source: `\\u{${hex[1] ?? hex[2]}}`, length: hex[0].length };
  const category = /^\\([pP])(?:\{([A-Z][a-z]?)\}|([A-Z]))/.exec(rest);
  if (category !== null) return { source: `\\${category[1]}{${category[2] ?? category[3]}}`, length: category[0].length };
  if (inClass && letter === 's') return { source: '\\t\\n\\f\\r ', length: 2 };
  if (inClass && 'SbBAz'.includes(letter)) return undefined;
  if (/[!-/:-@[-`{-~]/.test(letter)) return { source: `\\x${letter.charCodeAt(0).toString(16).padStart(2, '0')}`, length: 2 };
  return Object.hasOwn(ESCAPES, letter) ? { source: ESCAPES[letter]!, length: 2 } : undefined;
}

/** `[a-z]`, `[^]a]`, `[[:alpha:]_]` */
function readClass(rest: string): Token | undefined {
  const open = rest.startsWith('[^') ? '[^' : '[';
  let [out, at] = [open, open.length];
  for (let first = true; ; first = false) {
    if (at >= rest.length) return undefined;
    const posix = /^\[:(\w+):\]/.exec(rest.slice(at));
    if (posix !== null && !Object.hasOwn(POSIX, posix[1]!)) return undefined;
    if (rest[at] === ']' && !first) return { source: `${out}]`, length: at + 1 };
    const character = String.fromCodePoint(rest.codePointAt(at)!);
    const token = posix !== null ? { source: POSIX[posix[1]!]!, length: posix[0].length }
      : character === '\\' ? readEscape(rest.slice(at), true) : { source: '[]'.includes(character) ? `\\${character}` : character, length: character.length };
    if (token === undefined) return undefined;
    out += token.source;
    at += token.length;
  }
}
