// Where Services get their addresses from: ClusterIPs, the pool of load balancers, node ports. Beside the ranges of workloads, and as those by instance.
import { ConfigError } from '../errors.ts';
import { isIpv4, parsePrefix } from '../ipcache/address.ts';
import { checkPrefix, defaultRanges, overlaps, type Ranges } from '../node/addresses.ts';

export interface ServiceRanges { readonly clusterIps: Ranges; readonly pool: Ranges; readonly nodePorts: PortRange }
export interface PortRange { readonly first: number; readonly last: number }

export const defaultNodePorts: PortRange = { first: 30_000, last: 32_767 };
const defaultOctet = 217;
const firstOctet = 100;

/** 10.218.0.0/16 of the default instance; of the others a quarter of 10.225.0.0/16 and on. Pools lie in 10.219.0.0/16. */
export function defaultServiceRanges(instance: string): ServiceRanges {
  const octet = Number(defaultRanges(instance).ipv4.split('.')[1]);
  const index = octet - firstOctet;
  const hex = octet.toString(16);
  const ipv4 = octet === defaultOctet ? '10.218.0.0/16' : `10.${225 + (index >> 2)}.${(index & 3) * 64}.0/18`;
  return { clusterIps: { ipv4, ipv6: `fd77:e2:${hex}::/108` }, pool: { ipv4: `10.219.${octet}.0/24`, ipv6: `fd77:e3:${hex}::/120` }, nodePorts: defaultNodePorts };
}

export interface RangeWords { readonly serviceIpv4Range?: string; readonly serviceIpv6Range?: string; readonly poolIpv4Range?: string; readonly poolIpv6Range?: string }

/** Options over the instance's own. Throws ConfigError when two of them overlap. */
export function serviceRangesOf(instance: string, words: RangeWords, workloads: Ranges): ServiceRanges {
  const preset = defaultServiceRanges(instance);
  const chosen = (option: string, given: string | undefined, own: string): string => (given === undefined ? own : checkPrefix(given, option, isIpv4(own), isIpv4(own) ? [12, 28] : [64, 124], own));
  const ranges: ServiceRanges = {
    clusterIps: { ipv4: chosen('--service-ipv4-range', words.serviceIpv4Range, preset.clusterIps.ipv4), ipv6: chosen('--service-ipv6-range', words.serviceIpv6Range, preset.clusterIps.ipv6) },
    pool: { ipv4: chosen('--pool-ipv4-range', words.poolIpv4Range, preset.pool.ipv4), ipv6: chosen('--pool-ipv6-range', words.poolIpv6Range, preset.pool.ipv6) },
    nodePorts: preset.nodePorts,
  };
  const named = [['workloads', workloads], ['ClusterIPs', ranges.clusterIps], ['the pool', ranges.pool]] as const;
  for (const family of ['ipv4', 'ipv6'] as const) {
    named.forEach(([name, one], index) => {
      const other = named.slice(index + 1).find(([, two]) => overlaps(one[family], two[family]));
      if (other !== undefined) throw new ConfigError(`the range of ${name}, ${one[family]}, overlaps with that of ${other[0]}, ${other[1][family]}`, 'choose ranges apart');
    });
  }
  return ranges;
}

/** How many addresses a prefix has; those of a large one are not all used. */
export const sizeOf = (prefix: string): number => {
  const { address, length } = parsePrefix(prefix);
  return 2 ** Math.min((isIpv4(address) ? 32 : 128) - length, 20);
};
