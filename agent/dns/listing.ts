// `weir dns`: what the kernel has learned, what it counted, and which rules are about a name.
import { dns_counter } from '../../bpf/types.gen.ts';
import type { Agent } from '../agent.ts';
import { ticksNow, ticksOf, ticksSince } from '../datapath/ticks.ts';
import { ConfigError } from '../errors.ts';
import { textOf } from '../ipcache/address.ts';
import { fqdnMatcher } from '../policy/fqdn.ts';
import type { RuleRef } from '../policy/image.ts';
import type { DnsProxyStatus } from './by-tcp.ts';
import { dnsUsageOf } from './sweeper.ts';

/** Rows that one answer may have. */
const maxRows = 10_000;

export interface CacheRow {
  readonly endpoint: string;
  readonly address: string;
  /** As the last answers told. */
  readonly names: readonly string[];
  /** Names and patterns of policies that the address is known by. */
  readonly selectors: readonly string[];
  /** Until when it may begin connections; below 0: kept for those that there are. */
  readonly seconds: number;
}

export function cacheRows({ datapath, dns, policy, tables }: Agent): CacheRow[] {
  const now = ticksNow();
  const texts = new Map(policy.dns.selectors().map(({ number, selector }) => [number, selector.text]));
  return datapath.dns.addresses.entries(maxRows).map(([key, { source }]) => {
    const used = source.filter(({ selector }) => selector !== 0);
    return {
      endpoint: tables.endpoints.by('id', String(key.endpoint))[0]?.key ?? `endpoint ${key.endpoint}`, address: textOf(key.addr.word),
      names: dns.cache.namesOf(key.endpoint, Buffer.from(key.addr.word).toString('latin1')),
      selectors: used.map(({ selector }) => texts.get(selector)).filter((text) => text !== undefined),
      seconds: Math.round(Math.max(...used.map(({ expires }) => -ticksSince(expires, now))) / ticksOf(1)),
    };
  });
}

export interface DnsStatus {
  readonly counters: Readonly<Record<string, number>>;
  /** Of DNS by TCP; null: no policy has needed it. */
  readonly proxy: DnsProxyStatus | null;
  readonly endpoints: readonly { readonly endpoint: string; readonly addresses: number; readonly quota: number; readonly refused: number }[];
}

export async function dnsStatus({ datapath, tables, byTcp }: Agent): Promise<DnsStatus> {
  const counters = Object.entries(dns_counter).filter(([name]) => name !== 'DNS_COUNTERS').map(([name, which]) => [name.replace('DNS_COUNT_', '').toLowerCase(), Number(datapath.dns.counter(which))] as const);
  return { counters: Object.fromEntries(counters), proxy: await byTcp.status() ?? null, endpoints: tables.endpoints.rows().map(({ id, key }) => ({ endpoint: key, ...dnsUsageOf(datapath, id) })) };
}

export interface NameReason { readonly name: string; readonly from: string; readonly enforced: boolean; readonly mayAsk: readonly RuleRef[]; readonly mayReach: readonly RuleRef[]; readonly addresses: readonly string[] }

/** The rules of a workload that let it ask for a name, and reach its addresses. */
export function explainName(agent: Agent, { name, from }: Readonly<Record<string, unknown>>): NameReason {
  const wanted = String(from);
  const row = agent.tables.endpoints.get(wanted) ?? agent.tables.endpoints.rows().find((one) => one.name === wanted);
  if (row === undefined) throw new ConfigError(`no workload ${wanted} runs here`, 'see ./weir workload list');
  const text = String(name).toLowerCase().replace(/\.?$/, '.');
  const key = agent.enforcement.image?.ofEndpoint.get(row.id)?.egress;
  const policy = key === undefined ? undefined : agent.enforcement.image!.policies.get(key);
  const rules = (use: 'peer' | 'query'): RuleRef[] => (policy?.names ?? []).filter((one) => one.use === use && fqdnMatcher(one.selector)(text))
    .flatMap(({ word, mask }) => policy!.rules.filter((_, bit) => bit >> 6 === word && (mask >> BigInt(bit & 63)) & 1n));
  const unique = (list: readonly RuleRef[]): RuleRef[] => [...new Set(list)];
  return {
    name: text, from: row.key, enforced: policy !== undefined, mayAsk: unique(rules('query')), mayReach: unique(rules('peer')),
    addresses: cacheRows(agent).filter((one) => one.endpoint === row.key && one.names.includes(text)).map(({ address }) => address),
  };
}
