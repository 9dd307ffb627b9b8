// What the agent does about DNS beside policies: records become flows and fill the cache, the cache teaches new selectors, the sweeper runs.
import type { Observer } from '../../hubble/observer.ts';
import { nameText, toDnsFlow } from '../../hubble/dns.ts';
import type { Lookups } from '../../hubble/flow.ts';
import type { Datapath } from '../datapath/maps.ts';
import type { EndpointRow } from '../endpoint/tables.ts';
import type { Table } from '../store/table.ts';
import { DnsCache } from './cache.ts';
import type { DnsReconciler } from './reconciler.ts';
import { readDnsRecords } from './records.ts';
import { keepAddresses } from './sweeper.ts';

export interface DnsParts {
  readonly datapath: Datapath;
  readonly reconciler: DnsReconciler;
  readonly endpoints: Table<EndpointRow>;
  readonly observer: Observer;
  readonly lookups: Lookups;
  readonly log: (line: string) => void;
  /** Where names are kept for the next agent. */
  readonly savePath: string;
}

export interface Dns {
  readonly cache: DnsCache;
  /** To be called when the kernel knows its endpoints. */
  readonly begin: () => void;
  readonly stop: () => Promise<void>;
}

export function followDns({ datapath, reconciler, endpoints, observer, lookups, log, savePath }: DnsParts): Dns {
  const cache = new DnsCache(datapath.dns, savePath, log);
  const records = readDnsRecords(datapath, {
    record: (record, addresses) => {
      cache.add(record, nameText(record.name.wire, record.length), addresses);
      observer.record(toDnsFlow(record, addresses, lookups, observer.ring.next));
    },
    lost: (count) => { observer.lost('OBSERVER_EVENTS_QUEUE', count); },
    drained: () => { cache.save(); },
  });
  reconciler.teacher = (fresh) => {
    records.drain();
    cache.teach((name) => reconciler.matching(name), fresh);
  };
  const sweeper = keepAddresses(datapath, endpoints, log);
  return {
    cache, begin: sweeper.begin,
    stop: async () => {
      records.stop();
      await sweeper.stop();
    },
  };
}
