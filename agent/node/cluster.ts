// A cluster of several nodes: what its agents have in common, and the folder (0700) in which they tell each other what they have.
// Each writes one file of its own, whole or not at all; so whatever dies, the others read one version of it.
import { createHash } from 'node:crypto';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { defaultInstance, instanceOf, type Instance } from '../instance.ts';
import { readJson } from '../store/file.ts';
import type { NodeRow, RemoteEndpointRow, Tunnel } from './tables.ts';

/** How an agent belongs to a cluster. */
export interface Membership {
  readonly folder: string;
  /** This node's name. */
  readonly node: string;
  /** Of all nodes: pods are spread over these. */
  readonly nodes: readonly string[];
  readonly tunnel: Tunnel;
  /** The family of the addresses by which nodes reach each other. */
  readonly underlay: 'ipv4' | 'ipv6';
  /** UDP, of VXLAN. */
  readonly port: number;
}

/** What a node tells of itself. */
export interface Told {
  readonly node: Omit<NodeRow, 'local' | 'health' | 'endpoints'>;
  readonly endpoints: readonly RemoteEndpointRow[];
}

export const maxNodes = 8;
const ianaPort = 8472; // as Linux and most others; IANA's own is 4789

export const clusterFolder = (cluster: Instance): string => join(cluster.stateDir, 'cluster');
export const nodesFolder = (folder: string): string => join(folder, 'nodes');
export const identitiesFolder = (folder: string): string => join(folder, 'identities');

export const nodeInstance = (cluster: string, node: string): Instance => instanceOf(`${cluster}-${node}`);
export const nodeNames = (count: number): string[] => Array.from({ length: count }, (_, index) => `node${index + 1}`);

export function tunnelPort(cluster: string): number {
  return cluster === defaultInstance ? ianaPort : ianaPort + 1 + createHash('sha256').update(cluster).digest().readUInt16BE() % 1_000;
}

/** What `up --nodes` was asked for; all of its words stand in it. */
export const recordPath = (cluster: Instance): string => join(clusterFolder(cluster), 'cluster.json');
export const readCluster = (cluster: Instance): { readonly nodes: number } | undefined => readJson(recordPath(cluster)) as { nodes: number } | undefined;

const suffix = '.json';
export const toldPath = (folder: string, node: string): string => join(nodesFolder(folder), `${node}${suffix}`);
export const toldNames = (folder: string): string[] => readdirSync(nodesFolder(folder)).filter((name) => name.endsWith(suffix)).map((name) => name.slice(0, -suffix.length)).sort();
export const readTold = (folder: string, node: string): Told | undefined => readJson(toldPath(folder, node)) as Told | undefined;
