// Interfaces that join nodes: a bridge, what is put on it, and a VXLAN device whose tunnels the programs choose.
import { linkBody, nestedInfo } from './link.ts';
import { encodeAttributes, flag, message, type Netlink } from './netlink.ts';

const attribute = { name: 3, mtu: 4, master: 10 } as const;
const vxlan = { learning: 7, port: 15, collectMetadata: 25 } as const;

/** Fails with EEXIST when there is an interface of that name. */
export function createBridge(netlink: Netlink, name: string, mtu: number): void {
  const body = Buffer.concat([linkBody(0, 0, 0, [[attribute.name, name], [attribute.mtu, mtu]]), encodeAttributes([nestedInfo('bridge', [])])]);
  netlink.request(message.newLink, flag.create | flag.exclusive, body, `bridge ${name}`, 'RTM_NEWLINK');
}

export function putOnBridge(netlink: Netlink, index: number, bridge: number, name: string): void {
  netlink.request(message.setLink, 0, linkBody(index, 0, 0, [[attribute.master, bridge]]), `interface ${name}`, 'RTM_SETLINK');
}

/** Each packet names its tunnel (collect metadata): the device itself knows no peer and learns none. */
export function createVxlan(netlink: Netlink, name: string, port: number, mtu: number): void {
  const portBytes = Buffer.alloc(2);
  portBytes.writeUInt16BE(port);
  const data = nestedInfo('vxlan', [[vxlan.collectMetadata, Buffer.from([1])], [vxlan.learning, Buffer.from([0])], [vxlan.port, portBytes]]);
  const body = Buffer.concat([linkBody(0, 0, 0, [[attribute.name, name], [attribute.mtu, mtu]]), encodeAttributes([data])]);
  netlink.request(message.newLink, flag.create | flag.exclusive, body, `VXLAN device ${name}`, 'RTM_NEWLINK');
}
