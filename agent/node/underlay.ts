// Nodes on one machine: a network namespace each, joined by a bridge on which the machine itself is their gateway. Made before their agents,
// and there after them: an agent that died finds its node as it was.
import { closeSync, openSync } from 'node:fs';
import { ConfigError, messageOf } from '../errors.ts';
import { bytesOf, parsePrefix, textOf } from '../ipcache/address.ts';
import type { Instance } from '../instance.ts';
import { createBridge, putOnBridge } from '../kernel/bridge.ts';
import { addAddress, addRoute, createVeth, deleteLink, links, setUp, silence } from '../kernel/link.ts';
import { makeNetns, removeNetns, withNetlinkIn } from '../kernel/netns.ts';
import { tolerate, type Netlink } from '../kernel/netlink.ts';
import { addressAt, defaultRanges, foreignRoutes, overlaps, type Ranges } from './addresses.ts';
import { maxNodes } from './cluster.ts';

const mtu = 1_500;
const nodeDevice = 'eth0';
/** Address 1 of the underlay is the machine's. */
const firstNode = 2;
const any = { ipv4: new Uint8Array(4), ipv6: new Uint8Array(16) };

export const netnsOf = (cluster: Instance, node: string): string => `/run/netns/weir-${cluster.name}-${node}`;

/** Where the nodes of a cluster have their own addresses: beside the range of its workloads. */
export function underlayOf(cluster: string): Ranges {
  const octet = Number(defaultRanges(cluster).ipv4.split('.')[1]);
  return { ipv4: `10.216.${octet}.0/24`, ipv6: `fd77:e0:${octet.toString(16)}::/64` };
}

function subrange(range: string, index: number, length: number): string {
  const bytes = bytesOf(parsePrefix(range).address);
  const bits = bytes.length * 8;
  const value = bytes.reduce((sum, byte) => (sum << 8n) | BigInt(byte), 0n) + (BigInt(index) << BigInt(bits - length));
  return `${textOf(bytes.map((_, at) => Number((value >> BigInt((bytes.length - 1 - at) * 8)) & 0xffn)))}/${length}`;
}

/** The part of the cluster's ranges that node number `index` has. Throws ConfigError when there is not enough for all nodes. */
export function rangesOfNode(ranges: Ranges, index: number): Ranges {
  const lengths = { ipv4: parsePrefix(ranges.ipv4).length + 3, ipv6: Math.min(parsePrefix(ranges.ipv6).length + 16, 115) };
  if (lengths.ipv4 > 19) throw new ConfigError(`--ipv4-range ${ranges.ipv4} is too small for ${maxNodes} nodes`, 'for example --ipv4-range 10.217.0.0/16 (at most /16)');
  if (lengths.ipv6 < parsePrefix(ranges.ipv6).length + 3) throw new ConfigError(`--ipv6-range ${ranges.ipv6} is too small for ${maxNodes} nodes`, 'for example --ipv6-range fd77:e1:d9::/64 (at most /112)');
  return { ipv4: subrange(ranges.ipv4, index, lengths.ipv4), ipv6: subrange(ranges.ipv6, index, lengths.ipv6) };
}

/** Throws ConfigError when the machine has routes of its own into a range of the cluster. */
export function checkUnderlay(netlink: Netlink, cluster: Instance, ranges: Ranges): void {
  const own = new Set(links(netlink).filter(({ name }) => name.startsWith(cluster.interfacePrefix)).map(({ index }) => index));
  const taken = foreignRoutes(netlink, own);
  const underlay = underlayOf(cluster.name);
  for (const range of [underlay.ipv4, underlay.ipv6]) {
    const hit = [...taken, ranges.ipv4, ranges.ipv6].find((prefix) => overlaps(prefix, range));
    if (hit !== undefined) throw new ConfigError(`the network between the nodes, ${range}, overlaps with ${hit}`, 'use another --instance NAME: it has other addresses');
  }
}

export function ensureUnderlay(netlink: Netlink, cluster: Instance, nodes: readonly string[]): void {
  const bridge = `${cluster.interfacePrefix}br`;
  const underlay = underlayOf(cluster.name);
  try {
    tolerate(['EEXIST'], () => { createBridge(netlink, bridge, mtu); });
  } catch (error) {
    throw new ConfigError(messageOf(error), 'several nodes need bridges, which this kernel may lack: leave out --nodes');
  }
  const index = links(netlink).find(({ name }) => name === bridge)!.index;
  addAddress(netlink, index, bytesOf(addressAt(underlay.ipv4, 1)), parsePrefix(underlay.ipv4).length, bridge);
  addAddress(netlink, index, bytesOf(addressAt(underlay.ipv6, 1)), parsePrefix(underlay.ipv6).length, bridge);
  setUp(netlink, index, bridge);
  nodes.forEach((node, at) => { ensureNode(netlink, cluster, node, firstNode + at, index); });
}

function ensureNode(netlink: Netlink, cluster: Instance, node: string, number: number, bridge: number): void {
  const path = netnsOf(cluster, node);
  const port = `${cluster.interfacePrefix}${node}`;
  makeNetns(path);
  const joined = withNetlinkIn(path, (inside) => links(inside).some(({ name }) => name === nodeDevice));
  if (joined && links(netlink).some(({ name }) => name === port)) return;
  deleteLink(netlink, port);
  const netnsFd = openSync(path, 'r');
  try {
    createVeth(netlink, { name: port, mtu, peer: { name: nodeDevice, netnsFd } });
  } finally {
    closeSync(netnsFd);
  }
  const index = links(netlink).find(({ name }) => name === port)!.index;
  silence(netlink, index, port);
  putOnBridge(netlink, index, bridge, port);
  setUp(netlink, index, port);
  withNetlinkIn(path, (inside) => { openNode(inside, underlayOf(cluster.name), number); });
}

function openNode(inside: Netlink, underlay: Ranges, number: number): void {
  const byName = new Map(links(inside).map(({ name, index }) => [name, index]));
  for (const name of ['lo', nodeDevice]) setUp(inside, byName.get(name)!, name);
  const output = byName.get(nodeDevice)!;
  for (const family of ['ipv4', 'ipv6'] as const) {
    const range = underlay[family];
    addAddress(inside, output, bytesOf(addressAt(range, number)), parsePrefix(range).length, nodeDevice);
    addRoute(inside, { destination: any[family], prefixLength: 0, output, gateway: bytesOf(addressAt(range, 1)) }, 'default route of a node');
  }
}

/** What is not there is fine. */
export function removeUnderlay(netlink: Netlink, cluster: Instance, nodes: readonly string[]): void {
  for (const { name } of links(netlink)) if (name.startsWith(cluster.interfacePrefix)) deleteLink(netlink, name);
  for (const node of nodes) removeNetns(netnsOf(cluster, node));
}
