// The node's VXLAN device: one for all other nodes, since each packet names its tunnel. The programs learn of it through the overlays map.
import type { Datapath } from '../datapath/maps.ts';
import type { Hooks } from '../datapath/hooks.ts';
import { ConfigError, messageOf } from '../errors.ts';
import type { Instance } from '../instance.ts';
import { createVxlan } from '../kernel/bridge.ts';
import { deleteLink, links, setUp, silence } from '../kernel/link.ts';
import { tolerate, type Netlink } from '../kernel/netlink.ts';
import type { Membership } from './cluster.ts';

/** Outer IP, UDP and VXLAN headers, and the inner Ethernet header (RFC 7348, 5). */
const headerBytes = { ipv4: 20 + 8 + 8 + 14, ipv6: 40 + 8 + 8 + 14 } as const;

/** What fits into one packet between nodes. */
export const mtuBetween = (underlayMtu: number, { tunnel, underlay }: Pick<Membership, 'tunnel' | 'underlay'>): number =>
  (tunnel === 'vxlan' ? underlayMtu - headerBytes[underlay] : underlayMtu);

export const overlayInterface = (instance: Instance): string => `${instance.interfacePrefix}vxlan`;

/** Without VXLAN, what an agent before left of it goes. */
export function ensureOverlay(netlink: Netlink, instance: Instance, member: Membership | undefined, underlayMtu: number, datapath: Datapath, hooks: Hooks): void {
  const name = overlayInterface(instance);
  if (member?.tunnel !== 'vxlan') {
    datapath.overlays.set(0, { ifindex: 0, port: 0 });
    deleteLink(netlink, name);
    return;
  }
  try {
    tolerate(['EEXIST'], () => { createVxlan(netlink, name, member.port, mtuBetween(underlayMtu, member)); });
  } catch (error) {
    throw new ConfigError(messageOf(error), 'this kernel may lack VXLAN: use --tunnel disabled');
  }
  const ifindex = links(netlink).find((link) => link.name === name)!.index;
  silence(netlink, ifindex, name);
  hooks.attachOverlay({ ifindex, name });
  datapath.overlays.set(0, { ifindex, port: member.port });
  setUp(netlink, ifindex, name);
}
