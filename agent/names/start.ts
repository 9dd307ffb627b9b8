// Names for workloads: the pod kube-dns, the folder it answers from, and the resolv.conf of every namespace.
import { join } from 'node:path';
import type { EndpointRow } from '../endpoint/tables.ts';
import type { Instance } from '../instance.ts';
import type { Ranges } from '../node/addresses.ts';
import type { Table } from '../store/table.ts';
import type { PodRow } from '../workload/tables.ts';
import { clusterDomain } from './domain.ts';
import { NamesFolder } from './folder.ts';
import { dnsName, dnsNamespace, dnsPod } from './pod.ts';
import { publishNames, type NameTables } from './publisher.ts';
import { machineResolv, ResolvFiles } from './resolv.ts';
import { dnsService } from './service.ts';

const serviceKey = `${dnsNamespace}/${dnsName}`;
/** How soon another name server of the machine is asked. */
const lookMs = 5_000;

export interface NamesOptions {
  readonly instance: Instance;
  readonly ranges: Ranges;
  /** Of ClusterIPs, IPv4 first; empty: Services have no addresses, and the name server is reached at its pod's. */
  readonly serviceRanges: readonly string[];
  /** Of a cluster with several. */
  readonly node?: string;
  readonly log: (line: string) => void;
}

export interface Names {
  /** resolv.conf of a pod; it exists from then on. */
  readonly resolvFile: (pod: PodRow) => string;
  readonly stop: () => void;
}

export function startNames({ instance, ranges, serviceRanges, node, log }: NamesOptions, tables: NameTables & { readonly pods: Table<PodRow>; readonly endpoints: Table<EndpointRow> }): Names {
  const { pods, endpoints, services } = tables;
  const folder = new NamesFolder(join(instance.stateDir, 'names'));
  const machine = machineResolv();
  const files = new ResolvFiles(join(instance.stateDir, 'resolv'), clusterDomain, machine);
  let servers = machine.servers;
  const settings = (): void => { folder.settings({ domain: clusterDomain, ranges: [ranges.ipv4, ranges.ipv6, ...serviceRanges], upstreams: servers }); };
  settings();
  const pod = dnsPod(folder.path, node);
  pods.write([pod]);
  if (serviceRanges[0] !== undefined) tables.manifests.write([dnsService(serviceRanges[0], node !== undefined)]);
  // The service's address stays when the pod goes; without a service it is the pod's own.
  const server = (): void => { files.use(services.get(serviceKey)?.clusterIps[0] ?? endpoints.get(pod.key)?.ipv4); };
  server();
  const stops = [endpoints.subscribe(server), services.subscribe(server), publishNames(tables, folder)];
  const look = setInterval(() => {
    try {
      servers = machineResolv().servers;
      settings();
    } catch (error) {
      log(`name servers of this machine: ${String(error)}`);
    }
  }, lookMs).unref();
  return {
    resolvFile: (row) => files.path(row),
    stop: () => {
      clearInterval(look);
      for (const stop of stops) stop();
    },
  };
}
