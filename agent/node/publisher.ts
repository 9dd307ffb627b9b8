// This node and its endpoints -> its file in the cluster's folder. The file's time is the agent's heartbeat.
import { existsSync, mkdirSync, rmSync, utimesSync } from 'node:fs';
import { isDeepStrictEqual } from 'node:util';
import type { EndpointRow } from '../endpoint/tables.ts';
import { writeJson } from '../store/file.ts';
import type { Table } from '../store/table.ts';
import type { Ranges } from './addresses.ts';
import { nodesFolder, toldPath, type Membership, type Told } from './cluster.ts';
import type { NetdevRow, RemoteEndpointRow } from './tables.ts';

const heartbeatMs = 1_000;

const endpointOf = (node: string, { key, namespace, name, labels, identity, ipv4, ipv6, owner }: EndpointRow): RemoteEndpointRow =>
  ({ key, node, namespace, name, labels, identity, ipv4, ipv6, ...(owner === undefined ? {} : { owner }) });

/** Undefined as long as the node has no address that the others could reach. */
function toldOf(member: Membership, ranges: Ranges, netdevs: readonly NetdevRow[], endpoints: readonly EndpointRow[]): Told | undefined {
  const device = netdevs.find((row) => row[member.underlay] !== undefined);
  if (device === undefined) return undefined;
  const { ipv4, ipv6 } = device;
  return {
    node: { name: member.node, ipv4, ipv6, ranges, tunnel: member.tunnel, tunnelEnd: device[member.underlay]! },
    endpoints: endpoints.map((row) => endpointOf(member.node, row)),
  };
}

/** `stop` takes the file away: the others forget this node. A kill -9 leaves it. */
export function publishNode(member: Membership, ranges: Ranges, netdevs: Table<NetdevRow>, endpoints: Table<EndpointRow>): () => void {
  const path = toldPath(member.folder, member.node);
  let told: Told | undefined;
  let waiting: NodeJS.Immediate | undefined;
  const write = (): void => {
    waiting = undefined;
    const next = toldOf(member, ranges, netdevs.rows(), endpoints.rows());
    if (next === undefined || isDeepStrictEqual(next, told)) return;
    mkdirSync(nodesFolder(member.folder), { recursive: true, mode: 0o700 });
    writeJson(path, next);
    told = next;
  };
  // Changes of one turn of the event loop go together.
  const later = (): void => { waiting ??= setImmediate(write); };
  const unsubscribe = [endpoints.subscribe(later), netdevs.subscribe(later)];
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
