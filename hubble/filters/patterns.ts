// Text that users write as patterns: regular expressions, names with "*".
import { setFlagsFromString } from 'node:v8';
import { RequestError } from '../errors.ts';

const maxLength = 1024;

// V8's second engine: linear in the length of the input whatever the expression, which it refuses if it cannot.
setFlagsFromString('--enable-experimental-regexp-engine');

/** Unanchored, as Hubble's. */
export function compileRegex(what: string, pattern: string): RegExp {
  if (pattern.length > maxLength) throw new RequestError(`invalid ${what} filter: the regular expression has more than ${maxLength} characters`);
  try {
    return new RegExp(pattern, 'l');
  } catch (error) {
    const [, reason = 'not understood'] = /: ([^:]*)$/.exec((error as Error).message) ?? [];
    throw new RequestError(`invalid ${what} filter: regular expression ${JSON.stringify(pattern)}: ${reason}`);
  }
}

/** The whole string, lower case; "*" stands for any characters that a name may have. */
export function compileNamePattern(what: string, pattern: string): (name: string) => boolean {
  const lower = pattern.trim().toLowerCase();
  if (lower === '') throw new RequestError(`invalid ${what} filter: an empty pattern`);
  if (lower.length > maxLength) throw new RequestError(`invalid ${what} filter: a pattern with more than ${maxLength} characters`);
  if (!/^[-._0-9a-z*/]*$/.test(lower)) throw new RequestError(`invalid ${what} filter: ${JSON.stringify(pattern)}: only names with "*" are understood`);
  const source = lower.split('*').map((part) => part.replace(/[.]/g, '\\.')).join('[-.0-9a-z]*');
  const regex = compileRegex(what, `^${source}$`);
  return (name) => regex.test(name);
}
