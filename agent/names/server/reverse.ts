// Addresses and their names under in-addr.arpa and ip6.arpa (RFC 1035, 3596), and how a pod's address stands in its own name.
import { isIP } from 'node:net';

const groups = 8;

function hextets(address: string): string[] {
  const [head = '', tail] = address.split('::') as [string, string | undefined];
  const parts = (text: string | undefined): string[] => (text === undefined || text === '' ? [] : text.split(':'));
  const before = parts(head);
  const after = parts(tail);
  const fill = tail === undefined ? 0 : groups - before.length - after.length;
  return [...before, ...Array.from({ length: fill }, () => '0'), ...after].map((part) => part.padStart(4, '0').toLowerCase());
}

export const familyOf = (address: string): 4 | 6 => (isIP(address) === 6 ? 6 : 4);

export const reverseName = (address: string): string => (familyOf(address) === 4
  ? `${address.split('.').reverse().join('.')}.in-addr.arpa`
  : `${[...hextets(address).join('')].reverse().join('.')}.ip6.arpa`);

/** Undefined for what is no whole address. Lower case. */
export function addressOf(name: string): string | undefined {
  if (name.endsWith('.in-addr.arpa')) {
    const address = name.slice(0, -'.in-addr.arpa'.length).split('.').reverse().join('.');
    return isIP(address) === 4 ? address : undefined;
  }
  if (!name.endsWith('.ip6.arpa')) return undefined;
  const nibbles = name.slice(0, -'.ip6.arpa'.length).split('.').reverse();
  if (nibbles.length !== groups * 4 || nibbles.some((one) => !/^[0-9a-f]$/.test(one))) return undefined;
  return nibbles.join('').match(/.{4}/g)!.join(':');
}

/** `10-1-0-2`, `fd00--2`. */
export const dashed = (address: string): string => address.replace(/[.:]/g, '-');
