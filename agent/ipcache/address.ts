// Addresses and prefixes: text, bytes, and the 16-byte form of the kernel's tables (IPv4 as ::ffff:a.b.c.d).
import ipaddr from 'ipaddr.js';
import type { IpcacheKey } from '../../bpf/types.gen.ts';

/** 4 or 16 bytes; throws on what is no address. */
export const bytesOf = (address: string): Uint8Array => Uint8Array.from(ipaddr.parse(address).toByteArray());

/** Of the plain form with four numbers, which most are; undefined for any other. */
function plainIpv4(address: string): Uint8Array | undefined {
  const mapped = new Uint8Array(16);
  let [at, value, digits] = [12, 0, 0];
  for (let index = 0; index < address.length; index += 1) {
    const code = address.charCodeAt(index);
    if (code >= 48 && code <= 57 && digits < 3 && !(digits > 0 && value === 0)) {
      value = value * 10 + code - 48;
      digits += 1;
    } else if (code === 46 && digits > 0 && value < 256 && at < 15) {
      mapped[at] = value;
      [at, value, digits] = [at + 1, 0, 0];
    } else return undefined;
  }
  if (at !== 15 || digits === 0 || value > 255) return undefined;
  mapped[15] = value;
  mapped[10] = 0xff;
  mapped[11] = 0xff;
  return mapped;
}

export function mappedBytes(address: string): Uint8Array {
  const plain = plainIpv4(address);
  if (plain !== undefined) return plain;
  const bytes = bytesOf(address);
  if (bytes.length === 16) return bytes;
  const mapped = new Uint8Array(16);
  mapped.set([0xff, 0xff], 10);
  mapped.set(bytes, 12);
  return mapped;
}

const isMapped = (bytes: Uint8Array): boolean => bytes.subarray(0, 10).every((byte) => byte === 0) && bytes[10] === 0xff && bytes[11] === 0xff;

/** Canonical text (RFC 5952) of 4, 16 or mapped 16 bytes. */
export function textOf(bytes: Uint8Array): string {
  const plain = bytes.length === 16 && isMapped(bytes) ? bytes.subarray(12) : bytes;
  return ipaddr.fromByteArray([...plain]).toString();
}

export interface Prefix { readonly address: string; readonly length: number }

/** `10.0.0.0/8`; a bare address is its own prefix. */
export function parsePrefix(text: string): Prefix {
  const [address = '', length] = text.split('/');
  const bits = bytesOf(address).length * 8;
  return { address, length: length === undefined ? bits : Number(length) };
}

export function ipcacheKey(prefix: string): IpcacheKey {
  const { address, length } = parsePrefix(prefix);
  const is4 = bytesOf(address).length === 4;
  return { prefixlen: is4 ? length + 96 : length, addr: { word: mappedBytes(address) } };
}

export function prefixOfKey(key: IpcacheKey): string {
  const is4 = isMapped(key.addr.word) && key.prefixlen >= 96;
  return `${textOf(key.addr.word)}/${is4 ? key.prefixlen - 96 : key.prefixlen}`;
}

/** The prefix of `length` bits around an address, canonical. */
export function maskedPrefix(address: string, length: number): string {
  const bytes = bytesOf(address);
  for (let bit = length; bit < bytes.length * 8; bit += 1) bytes[bit >> 3]! &= ~(0x80 >> (bit & 7));
  return `${textOf(bytes)}/${length}`;
}

export const isIpv4 = (address: string): boolean => !address.includes(':');
