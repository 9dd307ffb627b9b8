// Endpoints of all nodes -> a hosts file per namespace, by which workloads find each other until Services exist.
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { EndpointRow } from '../endpoint/tables.ts';
import type { Instance } from '../instance.ts';
import type { RemoteEndpointRow } from '../node/tables.ts';
import type { Table } from '../store/table.ts';
import { hostsFile, writeHosts } from './hosts.ts';

export interface Hosts {
  /** The file of a namespace; it exists from then on. */
  readonly path: (namespace: string) => string;
  readonly stop: () => void;
}

export function reconcileHosts(endpoints: Table<EndpointRow>, remote: Table<RemoteEndpointRow>, instance: Instance): Hosts {
  const folder = join(instance.stateDir, 'hosts');
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const namespaces = new Set<string>();
  const written = new Map<string, string>();
  const write = (namespace: string): void => {
    const text = hostsFile(namespace, [...endpoints.rows(), ...remote.rows()].map((row) => ({
      namespace: row.namespace, name: row.name, addresses: [row.ipv4, row.ipv6], ...(row.owner === undefined ? {} : { owner: row.owner }),
    })));
    if (written.get(namespace) === text) return;
    writeHosts(join(folder, namespace), text);
    written.set(namespace, text);
  };
  const all = (): void => { for (const namespace of namespaces) write(namespace); };
  const stops = [endpoints.subscribe(all), remote.subscribe(all)];
  return {
    path: (namespace) => {
      namespaces.add(namespace);
      write(namespace);
      return join(folder, namespace);
    },
    stop: () => { for (const stop of stops) stop(); },
  };
}
