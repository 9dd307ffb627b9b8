// One endpoint in the kernel: the veth pair between node and workload, its addresses, routes and neighbours on both sides.
// Neighbours are permanent: nobody has to ask who has an address, and nobody can answer in another's place.
import { randomBytes } from 'node:crypto';
import { closeSync, openSync, writeFileSync } from 'node:fs';
import { bytesOf } from '../ipcache/address.ts';
import { addAddress, addNeighbour, addRoute, createVeth, deleteLink, links, setUp, silence } from '../kernel/link.ts';
import { withNetlinkIn } from '../kernel/netns.ts';
import type { Netlink } from '../kernel/netlink.ts';
import type { Gateway } from '../node/gateway.ts';

export const workloadInterface = 'eth0';

export interface VethPlan { readonly interfaceName: string; readonly netns: string; readonly ipv4: string; readonly ipv6: string; readonly mtu: number }
export interface Veth { readonly ifindex: number; readonly mac: string; readonly hostMac: string }

const macText = (bytes: Uint8Array): string => [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join(':');

/** Locally administered, unicast (IEEE 802). */
function randomMac(): Uint8Array {
  const bytes = new Uint8Array(randomBytes(6));
  bytes[0] = (bytes[0]! & 0xfc) | 0x02;
  return bytes;
}

/** Makes the pair; both ends stay down, so nothing passes before `openVeth`. A left-over of the same name goes first. */
export function createEndpointVeth(netlink: Netlink, plan: VethPlan): Veth {
  const mac = randomMac();
  const hostMac = randomMac();
  deleteLink(netlink, plan.interfaceName);
  const netnsFd = openSync(plan.netns, 'r');
  try {
    createVeth(netlink, { name: plan.interfaceName, mac: hostMac, mtu: plan.mtu, peer: { name: workloadInterface, mac, netnsFd } });
  } finally {
    closeSync(netnsFd);
  }
  const ifindex = links(netlink).find((link) => link.name === plan.interfaceName)!.index;
  // bpf_fib_lookup asks the incoming device whether it may forward; the machine's own setting stays as it is.
  writeFileSync(`/proc/sys/net/ipv4/conf/${plan.interfaceName}/forwarding`, '1');
  writeFileSync(`/proc/sys/net/ipv6/conf/${plan.interfaceName}/forwarding`, '1');
  return { ifindex, mac: macText(mac), hostMac: macText(hostMac) };
}

const macBytes = (text: string): Uint8Array => Uint8Array.from(text.split(':').map((part) => parseInt(part, 16)));

/** Brings both ends up with addresses and routes. The programs must be attached by now. */
export function openVeth(netlink: Netlink, plan: VethPlan, veth: Veth, gateway: Gateway): void {
  const { interfaceName: name } = plan;
  withNetlinkIn(plan.netns, (inside) => {
    // What a capability would have been needed for: ping, and ports below 1024. Both are of this namespace alone.
    writeFileSync('/proc/sys/net/ipv4/ping_group_range', '0 2147483647');
    writeFileSync('/proc/sys/net/ipv4/ip_unprivileged_port_start', '0');
    const index = links(inside).find((link) => link.name === workloadInterface)!.index;
    silence(inside, index, workloadInterface);
    setUp(inside, index, workloadInterface);
    for (const [own, router, everything] of [[plan.ipv4, gateway.ipv4, '0.0.0.0'], [plan.ipv6, gateway.ipv6, '::']] as const) {
      const bits = bytesOf(own).length * 8;
      addAddress(inside, index, bytesOf(own), bits, workloadInterface);
      addNeighbour(inside, index, bytesOf(router), macBytes(veth.hostMac), workloadInterface);
      addRoute(inside, { destination: bytesOf(router), prefixLength: bits, output: index }, `route to the gateway of ${name}`);
      addRoute(inside, { destination: bytesOf(everything), prefixLength: 0, output: index, gateway: bytesOf(router), preferredSource: bytesOf(own) }, `default route of ${name}`);
    }
  });
  silence(netlink, veth.ifindex, name);
  setUp(netlink, veth.ifindex, name);
  for (const [address, source] of [[plan.ipv4, gateway.ipv4], [plan.ipv6, gateway.ipv6]] as const) {
    addNeighbour(netlink, veth.ifindex, bytesOf(address), macBytes(veth.mac), name);
    addRoute(netlink, { destination: bytesOf(address), prefixLength: bytesOf(address).length * 8, output: veth.ifindex, preferredSource: bytesOf(source) }, `route to ${name}`);
  }
}
