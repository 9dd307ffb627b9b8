// Learned addresses of an agent whose maps have another layout, into maps of this one (agent/upgrade.ts). Their selectors keep their numbers
// (DnsReconciler.inherit). A version that kept none, or keeps them in a form that says something else, leaves none.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { dns_limit, type DnsAddress, type DnsAddressKey } from '../../bpf/types.gen.ts';
import { oldRows } from '../datapath/migration.ts';
import type { Datapath } from '../datapath/maps.ts';
import type { EndpointRow } from '../endpoint/tables.ts';
import { chargeAddress } from './sweeper.ts';

/** Of an endpoint that lives on, in a form that is this version's. */
function isWhole([key, row]: [DnsAddressKey, DnsAddress], present: ReadonlySet<number>): boolean {
  return present.has(key.endpoint) && key.addr?.word?.length === 16 && row.source?.length === dns_limit.DNS_SOURCES && row.source.every(({ selector, expires }) => Number.isInteger(selector) && Number.isInteger(expires));
}

/** Copies what is not there yet; returns how many that were. */
export function copyAddresses(folder: string, datapath: Datapath, endpoints: readonly EndpointRow[]): number {
  if (!existsSync(join(folder, 'dns_addresses'))) return 0;
  const present = new Set(endpoints.map(({ id }) => id));
  let copied = 0;
  for (const one of oldRows<DnsAddressKey, DnsAddress>(folder, 'dns_addresses', 'dns_address_key', 'dns_address')) {
    if (!isWhole(one, present) || datapath.dns.addresses.get(one[0]) !== undefined) continue;
    datapath.dns.addresses.set(one[0], { source: one[1].source.map(({ selector, expires }) => ({ selector, expires })) });
    chargeAddress(datapath.dns, one[0].endpoint);
    copied += 1;
  }
  return copied;
}
