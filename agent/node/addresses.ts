// The ranges that workloads get their addresses from, and what on this machine stands in their way.
import { join } from 'node:path';
import { ConfigError } from '../errors.ts';
import { bytesOf, isIpv4, maskedPrefix, parsePrefix, textOf } from '../ipcache/address.ts';
import type { Instance } from '../instance.ts';
import { routes } from '../kernel/link.ts';
import type { Netlink } from '../kernel/netlink.ts';
import { readJson, writeJson } from '../store/file.ts';

export interface Ranges { readonly ipv4: string; readonly ipv6: string }

/** `tenth.{octet}` by instance, so that two agents on one machine start out apart. */
export function defaultRanges(instance: string): Ranges {
  let octet = 0;
  for (const letter of instance) octet = (octet * 31 + letter.charCodeAt(0)) % 100;
  const second = instance === 'default' ? 217 : 100 + octet;
  return { ipv4: `10.${second}.0.0/16`, ipv6: `fd77:e1:${second.toString(16)}::/64` };
}

const keptPath = (instance: Instance): string => join(instance.stateDir, 'ranges.json');

/** Written before the first route, so that whoever cleans up after a kill -9 knows what to look for. */
export const keepRanges = (instance: Instance, ranges: Ranges): void => { writeJson(keptPath(instance), ranges); };

/** Those of the agent before, if it did not end properly. */
export const keptRanges = (instance: Instance): Ranges | undefined => readJson(keptPath(instance)) as Ranges | undefined;

export const covers = (outer: string, inner: string): boolean => {
  const a = parsePrefix(outer);
  const b = parsePrefix(inner);
  return isIpv4(a.address) === isIpv4(b.address) && b.length >= a.length && maskedPrefix(b.address, a.length) === maskedPrefix(a.address, a.length);
};

export const overlaps = (a: string, b: string): boolean => covers(a, b) || covers(b, a);

/** Every route of this machine that leads somewhere of its own, as text; the default route is nobody's. */
export function foreignRoutes(netlink: Netlink, ownInterfaces: ReadonlySet<number>): string[] {
  return routes(netlink).filter((route) => route.destination !== undefined && route.prefixLength > 0 && route.table === 254)
    .filter((route) => !route.unreachable && route.output !== undefined && !ownInterfaces.has(route.output))
    .map((route) => `${textOf(route.destination!)}/${route.prefixLength}`)
    .filter((prefix) => !prefix.startsWith('fe80') && !prefix.startsWith('ff'));
}

/** Throws ConfigError when a range meets a route of the machine; names a range that is free. `whose`: the workloads, and `--` with this before their options, unless it is given. */
export function checkRanges(netlink: Netlink, ranges: Ranges, ownInterfaces: ReadonlySet<number>, whose = { name: "workloads'", option: '' }): void {
  const taken = foreignRoutes(netlink, ownInterfaces);
  for (const [range, option] of [[ranges.ipv4, `--${whose.option}ipv4-range`], [ranges.ipv6, `--${whose.option}ipv6-range`]] as const) {
    const hit = taken.find((prefix) => overlaps(prefix, range));
    if (hit === undefined) continue;
    const free = candidates(isIpv4(parsePrefix(range).address)).find((candidate) => !taken.some((prefix) => overlaps(prefix, candidate)));
    throw new ConfigError(`the ${whose.name} range ${range} overlaps with ${hit}, to which this machine has a route`,
      free === undefined ? `choose another with ${option}` : `this one is free: ${option} ${free}`);
  }
}

const candidates = (ipv4: boolean): string[] => Array.from({ length: 256 }, (_, octet) =>
  (ipv4 ? `10.${(octet + 200) % 256}.0.0/16` : `fd77:e1:${(octet + 0x200).toString(16)}::/64`));

/** Address number `index` of a range: 1 is the gateway's, endpoints follow. */
export function addressAt(range: string, index: number): string {
  const bytes = bytesOf(parsePrefix(range).address);
  let rest = index;
  for (let at = bytes.length - 1; at >= 0 && rest > 0; at -= 1) {
    const sum = bytes[at]! + (rest & 0xff);
    bytes[at] = sum & 0xff;
    rest = (rest >>> 8) + (sum >>> 8);
  }
  return textOf(bytes);
}

/** A prefix as a user gave it: of this family, of `lengths`. */
export function checkPrefix(range: string, option: string, ipv4: boolean, lengths: readonly [shortest: number, longest: number], example: string): string {
  const match = /^([0-9a-fA-F.:]+)\/(\d+)$/.exec(range);
  try {
    if (match === null) throw new Error('no prefix length');
    const length = Number(match[2]);
    if (bytesOf(match[1]!).length !== (ipv4 ? 4 : 16) || length < lengths[0] || length > lengths[1]) throw new Error('too small or of the other family');
    return maskedPrefix(match[1]!, length);
  } catch {
    throw new ConfigError(`${option} ${range}: expected a prefix`, `for example ${example} (at most /${lengths[1]})`);
  }
}

/** A range must leave room for the gateway and every endpoint. */
export const checkRange = (range: string, option: string): string =>
  (option === '--ipv4-range' ? checkPrefix(range, option, true, [0, 19], '10.217.0.0/16') : checkPrefix(range, option, false, [0, 115], 'fd77:e1:d9::/64'));
