// The small grammars of policy fields: label names and values, ports, prefixes, DNS names, regular expressions.
// Each test returns what is wrong, as the end of a sentence that begins with the field's name.
import { parsePortNumber } from './rule.ts';
import { covers, parsePrefix } from './prefix.ts';
import { regexProblem } from './regex.ts';
import { parseSelectorKey } from './selector.ts';

const NAME = /^([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]$/;
const SUBDOMAIN = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;

export const labelValue = (value: string): string | undefined =>
  (value === '' || NAME.test(value) ? undefined : 'must hold letters, digits, `-`, `_` and `.` only, with a letter or digit at both ends');

/** A Kubernetes label key (`prefix/name`); the source in front of it (`k8s:`) takes part, as a prefix that ends in a dot. */
export function labelKey(text: string, defaultSource = 'any'): string | undefined {
  const { source, key } = parseSelectorKey(text);
  const full = `${source === 'any' ? defaultSource : source}.${key}`;
  const parts = full.split('/');
  const name = parts.at(-1)!;
  if (parts.length > 2) return `label key \`${text}\` has more than one \`/\``;
  if (parts.length === 2 && (!SUBDOMAIN.test(parts[0]!) || parts[0]!.length > 253)) {
    return `label key \`${text}\`: what stands before \`/\` must be a DNS name in lower case`;
  }
  if (!NAME.test(name) || name.length > 63) {
    return `label key \`${text}\`: the name must be at most 63 letters, digits, \`-\`, \`_\` and \`.\`, with a letter or digit at the end`;
  }
  return undefined;
}

export const isPortName = (port: string): boolean =>
  port.length <= 15 && /^[A-Za-z0-9]+(-[A-Za-z0-9]+)*$/.test(port) && /[A-Za-z]/.test(port);

export function portText(port: string): string | undefined {
  if (isPortName(port)) return undefined;
  const expected = 'must be a number from 0 to 65535 or the name of a port (letters, digits and single `-`, at most 15)';
  if (!/^[0-9]+$/.test(port)) return expected;
  return /^0[0-9]*[89]/.test(port) || !(parsePortNumber(port) <= 65535) ? expected : undefined;
}

export function cidr(text: string): string | undefined {
  const prefix = parsePrefix(text);
  if (prefix === undefined) return 'must be an address prefix such as 10.0.0.0/8 or 2001:db8::/32';
  return text.includes('/') ? undefined : 'must be an address with a prefix length';
}

/** For a bare address, the prefix that it stands for. */
export function cidrForm(value: unknown): string {
  const prefix = typeof value === 'string' && !value.includes('/') ? parsePrefix(value) : undefined;
  return prefix === undefined ? 'write ADDRESS/LENGTH' : `write ${prefix.text}`;
}

export const isInside = (outer: string, inner: string): boolean => {
  const [a, b] = [parsePrefix(outer), parsePrefix(inner)];
  return a !== undefined && b !== undefined && covers(a, b);
};

const dnsName = (allowed: RegExp, expected: string) => (text: string): string | undefined =>
  (allowed.test(text) && !text.startsWith('.') && !text.includes('..') ? undefined : expected);

export const matchName = dnsName(/^[-a-zA-Z0-9_.]+$/, 'must be a DNS name (letters, digits, `-`, `_`, single dots)');
export const matchPattern = dnsName(/^[-a-zA-Z0-9_.*]+$/, 'must be a DNS name in which `*` stands for any letters');
export const serverName = dnsName(/^[-a-zA-Z0-9_.*]+$/, 'must be a DNS name, `*` allowed');

export const objectName = (text: string): string | undefined =>
  (SUBDOMAIN.test(text) && text.length <= 253 ? undefined : 'must be a DNS name in lower case');

export const printable = (text: string): string | undefined => (/\p{C}/u.test(text) ? 'must hold printable characters only' : undefined);

/** RFC 9110, 5.6.2; a colon in front: of the request line, as HTTP/2 has it. */
export const headerName = (name: string): string | undefined =>
  (/^:?[-!#$%&'*+.^_`|~0-9A-Za-z]+$/.test(name) ? undefined : 'must be a header name (letters, digits and `-`)');

export const headerValue = (value: string): string | undefined => (/[\r\n\0]/.test(value) ? 'must not hold line breaks' : undefined);

/** `Name: value`, `Name value` or `Name`. */
export const headerText = (text: string): string | undefined =>
  (headerName(text.split(' ')[0]!.replace(/(?<=.):$/, '')) === undefined ? headerValue(text) : 'must be `Name: value`, or a header\'s name alone');

/** RE2, as Envoy takes it. */
export function regularExpression(text: string): string | undefined {
  const expected = 'must be a regular expression (RE2 syntax)';
  if (/\(\?(=|!|<=|<!)/.test(text)) return `${expected}; it has no look-ahead or look-behind`;
  if (/(^|[^\\])(\\\\)*\\[1-9]/.test(text)) return `${expected}; it has no back-references`;
  const problem = regexProblem(text);
  return problem === undefined ? undefined : `${expected}: ${problem}`;
}

/** The most common slip: a shell pattern where a regular expression is expected. */
export const regexForm = (value: unknown): string | undefined =>
  (typeof value === 'string' && /(^|[^.\])\\])\*/.test(value) && regularExpression(value) !== undefined
    ? `for a pattern write ${JSON.stringify(value.replace(/\./g, '\\.').replace(/\*+/g, '.*'))}`
    : undefined);
