// Address prefixes of both families as numbers, for containment and longest-prefix match.
// The canonical text (masked, shortest form) is the key under which rules and the ipcache know a prefix.
import ipaddr from 'ipaddr.js';

export interface Prefix {
  readonly family: 4 | 6;
  readonly first: bigint;
  readonly last: bigint;
  readonly length: number;
  /** `10.0.0.0/8`, `2001:db8::/32` */
  readonly text: string;
}

const bitsOf = (family: 4 | 6): number => (family === 4 ? 32 : 128);

/** `10.1.2.3/8` (masked) or a bare address (full length); undefined when it is neither. */
export function parsePrefix(text: string): Prefix | undefined {
  const known = parsed.get(text);
  if (known !== undefined) return known;
  const prefix = readPrefix(text);
  if (prefix === undefined) return undefined;
  if (parsed.size >= maxParsed) parsed.clear();
  parsed.set(text, prefix);
  return prefix;
}

/** The same few texts are read again for each change of policies. */
const parsed = new Map<string, Prefix>();
const maxParsed = 16_384;

function readPrefix(text: string): Prefix | undefined {
  const match = /^([0-9a-fA-F:.]+)(?:\/(0|[1-9][0-9]{0,2}))?$/.exec(text);
  if (match === null) return undefined;
  const address = parseAddress(match[1]!);
  if (address === undefined) return undefined;
  const bits = bitsOf(address.family);
  const length = match[2] === undefined ? bits : Number(match[2]);
  return length > bits ? undefined : makePrefix(address.family, address.number, length);
}

function parseAddress(text: string): { family: 4 | 6; number: bigint } | undefined {
  const ipv6 = text.includes(':');
  if (ipv6 ? !ipaddr.IPv6.isValid(text) : !ipaddr.IPv4.isValidFourPartDecimal(text)) return undefined;
  const bytes = ipaddr.parse(text).toByteArray();
  return { family: ipv6 ? 6 : 4, number: bytes.reduce((sum, byte) => (sum << 8n) | BigInt(byte), 0n) };
}

function makePrefix(family: 4 | 6, number: bigint, length: number): Prefix {
  const host = (1n << BigInt(bitsOf(family) - length)) - 1n;
  const first = (number | host) ^ host;
  return { family, first, last: first | host, length, text: `${addressText(family, first)}/${length}` };
}

function addressText(family: 4 | 6, number: bigint): string {
  const bytes = Array.from({ length: family === 4 ? 4 : 16 }, (_, index, size = family === 4 ? 4 : 16) =>
    Number((number >> BigInt(8 * (size - 1 - index))) & 0xffn));
  if (family === 4) return bytes.join('.');
  const address = new ipaddr.IPv6(bytes);
  return address.toRFC5952String();
}

/** True when every address of `inner` is one of `outer`. */
export const covers = (outer: Prefix, inner: Prefix): boolean =>
  outer.family === inner.family && outer.length <= inner.length && outer.first <= inner.first && inner.last <= outer.last;

/** IPv4 addresses in IPv6 clothes (RFC 4291, 2.5.5.2): no packet carries them, and our tables keep IPv4 there. */
export const isMappedIpv4 = (prefix: Prefix): boolean =>
  prefix.family === 6 && prefix.length >= 96 && prefix.first >> 32n === 0xffffn;

/** The longest of `prefixes` that covers the address. */
export function longestMatch(prefixes: Iterable<Prefix>, address: Prefix): Prefix | undefined {
  let best: Prefix | undefined;
  for (const prefix of prefixes) {
    if (covers(prefix, address) && (best === undefined || prefix.length > best.length)) best = prefix;
  }
  return best;
}
