// Regular expressions of L7 rules: refused here, with Envoy's words, if Envoy would refuse them. Both are RE2 (re2js is its port).
import { RE2JS } from 're2js';

/** RE2 spends at most 8 MiB on one expression; the port has no such limit, so the length is limited, long before. */
const mostLength = 4_096;

/** Why Envoy would not take it; undefined: it would. */
export function regexProblem(text: string): string | undefined {
  if (text.length > mostLength) return `longer than ${mostLength} characters`;
  try {
    RE2JS.compile(text);
    return undefined;
  } catch (error) {
    return (error as Error).message;
  }
}
