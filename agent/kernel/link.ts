// Interfaces, addresses, routes and neighbours: the rtnetlink requests that weir needs, in words.
import { decodeAttributes, encodeAttributes, flag, message, tolerate, type Attribute, type Netlink } from './netlink.ts';

const attribute = {
  link: { address: 1, name: 3, mtu: 4, kind: 18, info: 18, infoKind: 1, infoData: 2, netnsFd: 28, group: 27, addrGenMode: 8, afSpec: 26, peer: 1 },
  address: { address: 1, local: 2, flags: 8 },
  route: { destination: 1, output: 4, gateway: 5, preferredSource: 7 },
  neighbour: { destination: 1, mac: 2 },
} as const;
const afInet = 2;
const afInet6 = 10;
const up = 1;

export interface Link { readonly index: number; readonly name: string; readonly mac: Uint8Array; readonly mtu: number; readonly up: boolean; readonly loopback: boolean; /** veth, bridge, vxlan ...: no hardware of its own. */ readonly virtual: boolean }
export interface Address { readonly index: number; readonly address: Uint8Array; readonly prefixLength: number; readonly scope: number }
export interface Route { readonly destination: Uint8Array | undefined; readonly prefixLength: number; readonly output: number | undefined; readonly family: 4 | 6; readonly table: number; readonly unreachable: boolean }

const familyOf = (address: Uint8Array): number => (address.length === 4 ? afInet : afInet6);

export function linkBody(index: number, flags: number, change: number, attributes: readonly Attribute[]): Buffer {
  const head = Buffer.alloc(16);
  head.writeInt32LE(index, 4);
  head.writeUInt32LE(flags, 8);
  head.writeUInt32LE(change, 12);
  return Buffer.concat([head, encodeAttributes(attributes)]);
}

export const nestedInfo = (kind: string, data: readonly Attribute[]): Attribute => [attribute.link.info, [[attribute.link.infoKind, kind], [attribute.link.infoData, data]]];

export interface VethOptions {
  readonly name: string; readonly mac?: Uint8Array; readonly mtu: number;
  readonly peer: { readonly name: string; readonly mac?: Uint8Array; readonly netnsFd?: number };
}

const mac = (value: Uint8Array | undefined): Attribute[] => (value === undefined ? [] : [[attribute.link.address, value]]);

/** No IPv6 link-local addresses of its own making: before it is up, an end of a veth must not speak for itself. */
export function silence(netlink: Netlink, index: number, name: string): void {
  const none = encodeAttributes([[attribute.link.addrGenMode, Buffer.from([1])]]);
  const body = linkBody(index, 0, 0, [[attribute.link.afSpec, [[afInet6, none]]]]);
  netlink.request(message.setLink, 0, body, `interface ${name}`, 'RTM_SETLINK');
}

export function createVeth(netlink: Netlink, options: VethOptions): void {
  const { peer } = options;
  const peerAttributes: Attribute[] = [[attribute.link.name, peer.name], ...mac(peer.mac), [attribute.link.mtu, options.mtu]];
  if (peer.netnsFd !== undefined) peerAttributes.push([attribute.link.netnsFd, peer.netnsFd]);
  const peerBody = linkBody(0, 0, 0, peerAttributes);
  const body = linkBody(0, 0, 0, [
    [attribute.link.name, options.name], ...mac(options.mac), [attribute.link.mtu, options.mtu],
    nestedInfo('veth', [[attribute.link.peer, peerBody]]),
  ]);
  netlink.request(message.newLink, flag.create | flag.exclusive, body, `veth ${options.name}`, 'RTM_NEWLINK');
}

export function setUp(netlink: Netlink, index: number, name: string): void {
  netlink.request(message.newLink, 0, linkBody(index, up, up, []), `interface ${name}`, 'RTM_NEWLINK');
}

/** Nobody is asked for who has an address: every frame bears the device's own MAC address. */
export function withoutNeighbours(netlink: Netlink, index: number, name: string): void {
  const noArp = 0x80;
  netlink.request(message.newLink, 0, linkBody(index, noArp, noArp, []), `interface ${name}`, 'RTM_NEWLINK');
}

export function setMtu(netlink: Netlink, index: number, mtu: number, name: string): void {
  netlink.request(message.newLink, 0, linkBody(index, 0, 0, [[attribute.link.mtu, mtu]]), `interface ${name}`, 'RTM_NEWLINK');
}

/** An absent interface is fine. */
export function deleteLink(netlink: Netlink, name: string): void {
  tolerate(['ENODEV'], () => {
    netlink.request(message.deleteLink, 0, linkBody(0, 0, 0, [[attribute.link.name, name]]), `interface ${name}`, 'RTM_DELLINK');
  });
}

export function links(netlink: Netlink): Link[] {
  return netlink.dump(message.getLink, linkBody(0, 0, 0, []), 'interfaces').map(({ body }) => {
    const found = decodeAttributes(body.subarray(16));
    const flags = body.readUInt32LE(8);
    return {
      index: body.readInt32LE(4), name: found.get(attribute.link.name)?.toString('latin1').replace(/\0$/, '') ?? '',
      mac: new Uint8Array(found.get(attribute.link.address) ?? []), mtu: found.get(attribute.link.mtu)?.readUInt32LE(0) ?? 0,
      up: (flags & up) !== 0, loopback: (flags & 8) !== 0, virtual: found.has(attribute.link.info),
    };
  });
}

/** Valid at once, without duplicate address detection. */
export function addAddress(netlink: Netlink, index: number, address: Uint8Array, prefixLength: number, name: string): void {
  const body = Buffer.alloc(8);
  body.writeUInt8(familyOf(address), 0);
  body.writeUInt8(prefixLength, 1);
  body.writeUInt8(address.length === 16 ? 2 : 0, 2); // IFA_F_NODAD
  body.writeUInt32LE(index, 4);
  const attributes = encodeAttributes([[attribute.address.local, address], [attribute.address.address, address]]);
  tolerate(['EEXIST'], () => {
    netlink.request(message.newAddress, flag.create | flag.exclusive, Buffer.concat([body, attributes]), `address on ${name}`, 'RTM_NEWADDR');
  });
}

export function addresses(netlink: Netlink): Address[] {
  return netlink.dump(message.getAddress, Buffer.alloc(8), 'addresses').map(({ body }) => {
    const found = decodeAttributes(body.subarray(8));
    const address = found.get(attribute.address.local) ?? found.get(attribute.address.address) ?? Buffer.alloc(0);
    return { index: body.readUInt32LE(4), address: new Uint8Array(address), prefixLength: body.readUInt8(1), scope: body.readUInt8(3) };
  });
}

export interface RouteOptions {
  readonly destination: Uint8Array; readonly prefixLength: number; readonly output: number;
  readonly gateway?: Uint8Array; readonly preferredSource?: Uint8Array;
}

export function addRoute(netlink: Netlink, route: RouteOptions, object: string): void {
  const { destination, gateway } = route;
  const linkScope = gateway === undefined && destination.length === 4 ? 253 : 0;
  const body = Buffer.from([familyOf(destination), route.prefixLength, 0, 0, 254, 4, linkScope, 1, 4, 0, 0, 0]); // RTNH_F_ONLINK
  if (gateway === undefined) body.writeUInt32LE(0, 8);
  const attributes: Attribute[] = [[attribute.route.destination, destination], [attribute.route.output, route.output]];
  if (gateway !== undefined) attributes.push([attribute.route.gateway, gateway]);
  if (route.preferredSource !== undefined) attributes.push([attribute.route.preferredSource, route.preferredSource]);
  netlink.request(message.newRoute, flag.create | flag.replace, Buffer.concat([body, encodeAttributes(attributes)]), object, 'RTM_NEWROUTE');
}

/** An absent route is fine. */
export function deleteRoute(netlink: Netlink, destination: Uint8Array, prefixLength: number, output: number, object: string): void {
  const body = Buffer.from([familyOf(destination), prefixLength, 0, 0, 254, 0, 255, 0, 0, 0, 0, 0]);
  const attributes = encodeAttributes([[attribute.route.destination, destination], [attribute.route.output, output]]);
  tolerate(['ESRCH'], () => { netlink.request(message.deleteRoute, 0, Buffer.concat([body, attributes]), object, 'RTM_DELROUTE'); });
}

export function routes(netlink: Netlink): Route[] {
  return netlink.dump(message.getRoute, Buffer.alloc(12), 'routes').map(({ body }) => {
    const found = decodeAttributes(body.subarray(12));
    const destination = found.get(attribute.route.destination);
    return {
      destination: destination && new Uint8Array(destination), prefixLength: body.readUInt8(1), table: body.readUInt8(4),
      output: found.get(attribute.route.output)?.readUInt32LE(0), family: body.readUInt8(0) === afInet ? 4 as const : 6 as const,
      unreachable: body.readUInt8(7) === unreachable,
    };
  });
}

/** A neighbour that never changes: nobody has to ask for it, and nobody can answer in its place. */
export function addNeighbour(netlink: Netlink, index: number, address: Uint8Array, macAddress: Uint8Array, name: string): void {
  const body = Buffer.alloc(12);
  body.writeUInt8(familyOf(address), 0);
  body.writeInt32LE(index, 4);
  body.writeUInt16LE(0x80, 8); // NUD_PERMANENT
  const attributes = encodeAttributes([[attribute.neighbour.destination, address], [attribute.neighbour.mac, macAddress]]);
  netlink.request(message.newNeighbour, flag.create | flag.replace, Buffer.concat([body, attributes]), `neighbour on ${name}`, 'RTM_NEWNEIGH');
}

const unreachable = 7; // RTN_UNREACHABLE

const unreachableBody = (destination: Uint8Array, prefixLength: number): Buffer =>
  Buffer.concat([Buffer.from([familyOf(destination), prefixLength, 0, 0, 254, 4, 0, unreachable, 0, 0, 0, 0]),
    encodeAttributes([[attribute.route.destination, destination]])]);

/** What has no longer route of its own below this prefix is answered with "unreachable". */
export function addUnreachable(netlink: Netlink, destination: Uint8Array, prefixLength: number): void {
  netlink.request(message.newRoute, flag.create | flag.replace, unreachableBody(destination, prefixLength), 'unreachable route', 'RTM_NEWROUTE');
}

export function deleteUnreachable(netlink: Netlink, destination: Uint8Array, prefixLength: number): void {
  tolerate(['ESRCH'], () => {
    netlink.request(message.deleteRoute, 0, unreachableBody(destination, prefixLength), 'unreachable route', 'RTM_DELROUTE');
  });
}
