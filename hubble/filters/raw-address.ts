// Filters by address on the bytes of a record: 16 in network order, IPv4 as ::ffff:a.b.c.d.
import ipaddr from 'ipaddr.js';
import type { Entries } from '../entries.ts';
import { field } from '../record.ts';
import type { RawCompilers, RawPredicate } from './raw.ts';

/** 00 00 ff ff as a little-endian word. */
const mapped = 0xffff0000;

export function isIpv4At(words: Uint32Array, at: number): boolean {
  const word = at >>> 2;
  return words[word] === 0 && words[word + 1] === 0 && words[word + 2] === mapped;
}

/** `mask` and `value` as the record's own words; a prefix of IPv6 never means an IPv4 address. */
interface Prefix { readonly ipv4: boolean; readonly mask: Uint32Array; readonly value: Uint32Array }

function prefixOf(text: string): Prefix {
  const [address, length] = text.includes('/') ? ipaddr.parseCIDR(text) : [ipaddr.parse(text), undefined];
  const ipv4 = address.kind() === 'ipv4';
  const bytes = ipv4 ? [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, ...address.toByteArray()] : address.toByteArray();
  const bits = ipv4 ? 96 + (length ?? 32) : length ?? 128;
  const mask = Uint8Array.from({ length: 16 }, (_, index) => 0xff00 >> Math.min(8, Math.max(0, bits - index * 8)));
  const masked = Uint8Array.from(bytes, (byte, index) => byte & mask[index]!);
  return { ipv4, mask: new Uint32Array(mask.buffer), value: new Uint32Array(masked.buffer) };
}

const by = (offset: number) => (values: readonly string[], { ring: { words } }: Entries): RawPredicate => {
  const prefixes = values.filter((value) => !value.includes('%')).map(prefixOf); // no record has a zone
  const inside = (at: number, { ipv4, mask, value }: Prefix): boolean => {
    const word = (at + offset) >>> 2;
    return ((words[word + 3]! & mask[3]!) >>> 0) === value[3] && ((words[word + 2]! & mask[2]!) >>> 0) === value[2]
      && ((words[word + 1]! & mask[1]!) >>> 0) === value[1] && ((words[word]! & mask[0]!) >>> 0) === value[0] && isIpv4At(words, at + offset) === ipv4;
  };
  const [only] = prefixes;
  if (prefixes.length === 1) return (at) => inside(at, only!);
  return (at) => prefixes.some((prefix) => inside(at, prefix));
};

export const addressRaw: RawCompilers = { source_ip: by(field.saddr), destination_ip: by(field.daddr) };
