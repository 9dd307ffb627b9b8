// This node and its endpoints -> its file in the cluster's folder. The file's time is the agent's heartbeat.
import { existsSync, mkdirSync, rmSync, utimesSync } from 'node:fs';
import { isDeepStrictEqual } from 'node:util';
import type { EndpointRow } from '../endpoint/tables.ts';
import { localPod, sharedOf } from '../service/pods.ts';
import { writeJson } from '../store/file.ts';
import type { Table } from '../store/table.ts';
import type { Ranges } from './addresses.ts';
import { nodesFolder, toldPath, type Membership, type Told } from './cluster.ts';
import type { WorkloadRow } from '../workload/tables.ts';
import type { NetdevRow, RemoteEndpointRow } from './tables.ts';

const heartbeatMs = 1_000;

function endpointOf(node: string, row: EndpointRow, workload: WorkloadRow | undefined): RemoteEndpointRow {
  const { key, namespace, name, labels, identity, ipv4, ipv6, owner } = row;
  const pod = localPod(row, workload, node);
  return {
    key, node, namespace, name, labels, identity, ipv4, ipv6, ...(owner === undefined ? {} : { owner }),
    ...(pod === undefined ? {} : { pod: { labels: pod.labels, namedPorts: pod.namedPorts, serving: pod.serving, terminating: pod.terminating, ...sharedOf(pod) } }),
  };
}

/** Undefined as long as the node has no address that the others could reach. */
function toldOf(member: Membership, ranges: Ranges, netdevs: readonly NetdevRow[], endpoints: readonly EndpointRow[], workloads: Table<WorkloadRow>): Told | undefined {
  const device = netdevs.find((row) => row[member.underlay] !== undefined);
  if (device === undefined) return undefined;
  const { ipv4, ipv6 } = device;
  return {
    node: { name: member.node, ipv4, ipv6, ranges, tunnel: member.tunnel, tunnelEnd: device[member.underlay]! },
    endpoints: endpoints.map((row) => endpointOf(member.node, row, workloads.get(row.key))),
  };
}

/** `stop` takes the file away: the others forget this node. A kill -9 leaves it. */
export function publishNode(member: Membership, ranges: Ranges, netdevs: Table<NetdevRow>, endpoints: Table<EndpointRow>, workloads: Table<WorkloadRow>): () => void {
  const path = toldPath(member.folder, member.node);
  let told: Told | undefined;
  let waiting: NodeJS.Immediate | undefined;
  const write = (): void => {
    waiting = undefined;
    const next = toldOf(member, ranges, netdevs.rows(), endpoints.rows(), workloads);
    if (next === undefined || isDeepStrictEqual(next, told)) return;
    mkdirSync(nodesFolder(member.folder), { recursive: true, mode: 0o700 });
    writeJson(path, next);
    told = next;
  };
  // Changes of one turn of the event loop go together.
  const later = (): void => { waiting ??= setImmediate(write); };
  const unsubscribe = [endpoints.subscribe(later), workloads.subscribe(later), netdevs.subscribe(later)];
  const heartbeat = setInterval(() => {
    const now = new Date();
    if (told !== undefined && existsSync(path)) utimesSync(path, now, now);
    else {
      told = undefined; // somebody took the file away
      write();
    }
  }, heartbeatMs);
  write();
  return () => {
    clearInterval(heartbeat);
    clearImmediate(waiting);
    for (const stop of unsubscribe) stop();
    rmSync(path, { force: true });
  };
}
