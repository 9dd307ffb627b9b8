// Which addresses no answer may teach, as 32 hexadecimal digits, IPv4 mapped: by prefixes in text (the world of dns-world.ts).
import ipaddr from 'ipaddr.js';
import { ends, prefixes } from './dns-world.ts';

const special4 = ['0.0.0.0/8', '127.0.0.0/8', '169.254.0.0/16', '224.0.0.0/3'].map((text) => ipaddr.IPv4.parseCIDR(text));
const special6 = ['::/64', 'fe80::/10', 'ff00::/8'].map((text) => ipaddr.IPv6.parseCIDR(text));
const inside = new Set([...ends.flatMap(({ ipv4, ipv6 }) => [ipv4, ipv6]), ...prefixes.filter(({ host }) => host).map(({ prefix }) => prefix.split('/')[0]!)]
  .map((text) => ipaddr.parse(text).toString()));

export function isRefusedAddress(word: string): boolean {
  const bytes = [...Buffer.from(word, 'hex')];
  const mapped = word.startsWith('00000000000000000000ffff');
  const address = ipaddr.fromByteArray(mapped ? bytes.slice(12) : bytes);
  if (inside.has(address.toString())) return true;
  return mapped ? special4.some((prefix) => (address as ipaddr.IPv4).match(prefix)) : special6.some((prefix) => (address as ipaddr.IPv6).match(prefix));
}
