// Regular expressions of L7 rules: refused here if Envoy would refuse them. Both are RE2 (re2js is its port); Envoy reads bytes.
import { RE2JS } from 're2js';
import { MAX_REGEX } from './l7.ts';

/** Instructions, as the port counts them: room for letters as long as an expression may be. Classes of characters are some 30 times as many to Envoy,
 * which is told to take a million. */
const mostInstructions = MAX_REGEX + 100;
/** Envoy's characters are bytes. */
const beyondByte = /\\x\{0*[1-9a-f][0-9a-f]{2,}\}/i;

/** Why Envoy would not take it; undefined: it would. `\C` and two groups of one name are refused although Envoy takes them. */
export function regexProblem(text: string): string | undefined {
  if (text === '') return 'it is empty';
  if (text.length > MAX_REGEX) return `it is longer than ${MAX_REGEX} characters`;
  if (beyondByte.test(text)) return 'a \\x{...} beyond \\x{FF}: requests are bytes';
  let size: number;
  try {
    size = RE2JS.compile(text).programSize();
  } catch (error) {
    return (error as Error).message.replace(/^error parsing regexp: /, '');
  }
  return size > mostInstructions ? `it takes ${size} instructions, at most ${mostInstructions} are taken` : undefined;
}
