// Takes back learned addresses whose time is over, once no connection is left that could have come by them, and those of endpoints that are
// gone. Sets each endpoint's quota, as that of connections.
import { dns_limit, limit, type DnsAddress, type DnsAddressKey } from '../../bpf/types.gen.ts';
import type { Datapath } from '../datapath/maps.ts';
import { ticksNow, ticksSince } from '../datapath/ticks.ts';
import { fairQuota } from '../datapath/usage.ts';
import type { EndpointRow } from '../endpoint/tables.ts';
import { messageOf } from '../errors.ts';
import type { DnsMaps } from './maps.ts';
import { mapBatch, type Batch } from '../kernel/bpf.ts';
import type { Table } from '../store/table.ts';

const pauseMs = 10_000;
const batchRows = 4_096;
const usageBytes = 16;
const at = { addresses: 0, quota: 4, refused: 8 } as const;

type Parts = Pick<Datapath, 'dns' | 'object'>;
export interface DnsUsage { readonly addresses: number; readonly quota: number; readonly refused: number }

export const dnsUsageOf = ({ dns: { usages } }: Parts, id: number): DnsUsage => ({
  addresses: usages.getInt32(id * usageBytes + at.addresses, true), quota: usages.getUint32(id * usageBytes + at.quota, true), refused: Number(usages.getBigUint64(id * usageBytes + at.refused, true)),
});

const addressText = (bytes: Uint8Array, from = 0): string => Buffer.from(bytes.buffer, bytes.byteOffset + from, 16).toString('latin1');
const isOver = (expires: number, now: number): boolean => ticksSince(expires, now) > 0;
const sourcesOver = ({ source }: DnsAddress, now: number): number[] => source.flatMap(({ selector, expires }, index) => (selector !== 0 && isOver(expires, now) ? [index] : []));

/** Of these addresses, those at an end of any connection. */
async function inConnections(datapath: Parts, addresses: ReadonlySet<string>): Promise<Set<string>> {
  const map = datapath.object.maps.get('conntrack')!;
  const found = new Set<string>();
  if (addresses.size === 0) return found;
  for (let batch: Batch | undefined, more = true; more;) {
    batch = await mapBatch(map, Math.min(batchRows, map.maxEntries), batch?.next, batch);
    more = batch.next !== undefined;
    for (let index = 0; index < batch.count; index += 1) {
      // struct ct_key begins with both addresses.
      for (const offset of [0, 16]) {
        const text = addressText(batch.keys, index * map.keySize + offset);
        if (addresses.has(text)) found.add(text);
      }
    }
  }
  return found;
}

/** One more address, or `count`, of an endpoint. */
export function chargeAddress({ usages }: Pick<DnsMaps, 'usages'>, endpoint: number, count = 1): void { Atomics.add(new Int32Array(usages.buffer), (endpoint * usageBytes + at.addresses) / 4, count); }

function forget(datapath: Parts, key: DnsAddressKey): void {
  if (datapath.dns.addresses.delete(key)) chargeAddress(datapath.dns, key.endpoint, -1);
}

/** One pass; returns how many addresses went. `present`: ids of the endpoints that there are. */
export async function sweepAddresses(datapath: Parts, present: ReadonlySet<number>): Promise<number> {
  const { addresses } = datapath.dns;
  const rows = addresses.entries(dns_limit.MAX_DNS_ADDRESSES);
  const now = ticksNow();
  const over = rows.filter(([key, row]) => present.has(key.endpoint) && (sourcesOver(row, now).length > 0 || row.source.every(({ selector }) => selector === 0)));
  const used = await inConnections(datapath, new Set(over.map(([key]) => addressText(key.addr.word))));
  let swept = 0;
  for (const [key] of [...rows.filter(([one]) => !present.has(one.endpoint)), ...over.filter(([one]) => !used.has(addressText(one.addr.word)))]) {
    // As it is now: an answer may have come meanwhile.
    const row = addresses.get(key);
    if (row === undefined) continue;
    const gone = new Set(sourcesOver(row, ticksNow()));
    const left = row.source.map((one, index) => (gone.has(index) ? { selector: 0, expires: 0 } : one));
    if (present.has(key.endpoint) && left.some(({ selector }) => selector !== 0)) {
      if (gone.size > 0) addresses.set(key, { source: left });
      continue;
    }
    forget(datapath, key);
    swept += 1;
  }
  return swept;
}

/** To be begun when the endpoints are known. The result ends it. */
export function keepAddresses(datapath: Parts, endpoints: Table<EndpointRow>, log: (line: string) => void): { readonly begin: () => void; readonly stop: () => Promise<void> } {
  let stopped = false;
  let timer: NodeJS.Timeout | undefined;
  let running = Promise.resolve();
  let quota = 0;
  const share = (): void => {
    const next = Math.floor(fairQuota(dns_limit.MAX_DNS_ADDRESSES, endpoints.size));
    if (next === quota) return;
    quota = next;
    for (let id = 0; id < limit.MAX_ENDPOINTS; id += 1) datapath.dns.usages.setUint32(id * usageBytes + at.quota, quota, true);
  };
  const pass = async (): Promise<void> => {
    try {
      await sweepAddresses(datapath, new Set(endpoints.rows().map(({ id }) => id)));
    } catch (error) {
      log(`dns: ${messageOf(error)}`);
    }
    if (!stopped) timer = setTimeout(() => { running = pass(); }, pauseMs);
  };
  share();
  const unsubscribe = endpoints.subscribe(share);
  return {
    begin: () => { timer ??= setTimeout(() => { running = pass(); }, 0); },
    stop: async () => {
      stopped = true;
      unsubscribe();
      clearTimeout(timer);
      await running;
    },
  };
}
