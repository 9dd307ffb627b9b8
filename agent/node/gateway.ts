// The node's own address among its workloads: a veth pair of the instance that carries the gateway addresses, and
// unreachable routes for both ranges, so that an address that nobody has is refused here and never leaves the node.
import type { Instance } from '../instance.ts';
import { bytesOf, parsePrefix } from '../ipcache/address.ts';
import { addAddress, addUnreachable, createVeth, deleteUnreachable, deleteLink, links, setUp, silence } from '../kernel/link.ts';
import type { Netlink } from '../kernel/netlink.ts';
import { tolerate } from '../kernel/netlink.ts';
import { addressAt, type Ranges } from './addresses.ts';

export interface Gateway { readonly interfaceName: string; readonly ifindex: number; readonly ipv4: string; readonly ipv6: string }

const gatewayIndex = 1;

export const gatewayInterfaces = (instance: Instance): readonly [string, string] => [`${instance.interfacePrefix}host`, `${instance.interfacePrefix}net`];

export function ensureGateway(netlink: Netlink, instance: Instance, ranges: Ranges): Gateway {
  const [interfaceName, peer] = gatewayInterfaces(instance);
  tolerate(['EEXIST'], () => { createVeth(netlink, { name: interfaceName, mtu: 1500, peer: { name: peer } }); });
  const found = links(netlink);
  const ifindex = found.find((link) => link.name === interfaceName)!.index;
  for (const [index, name] of [[found.find((link) => link.name === peer)!.index, peer], [ifindex, interfaceName]] as const) {
    silence(netlink, index, name);
    setUp(netlink, index, name);
  }
  const gateway = { interfaceName, ifindex, ipv4: addressAt(ranges.ipv4, gatewayIndex), ipv6: addressAt(ranges.ipv6, gatewayIndex) };
  addAddress(netlink, ifindex, bytesOf(gateway.ipv4), 32, interfaceName);
  addAddress(netlink, ifindex, bytesOf(gateway.ipv6), 128, interfaceName);
  for (const range of [ranges.ipv4, ranges.ipv6]) {
    const { address, length } = parsePrefix(range);
    addUnreachable(netlink, bytesOf(address), length);
  }
  return gateway;
}

/** What is not there is fine. */
export function removeGateway(netlink: Netlink, instance: Instance, ranges: Ranges): void {
  for (const link of links(netlink)) {
    if (link.name.startsWith(instance.interfacePrefix)) deleteLink(netlink, link.name);
  }
  for (const range of [ranges.ipv4, ranges.ipv6]) {
    const { address, length } = parsePrefix(range);
    deleteUnreachable(netlink, bytesOf(address), length);
  }
}

/** What this instance may leave on a machine and find again: no stranger in its own range check. */
export const ownInterfaces = (netlink: Netlink, instance: Instance): ReadonlySet<number> =>
  new Set(links(netlink).filter((link) => link.name.startsWith(instance.interfacePrefix)).map((link) => link.index));
