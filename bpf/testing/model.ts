// What the programs should do, written a second time from the RFCs and the README: frames in, a verdict and a reason out.
// Time stands still in it: nothing is forgotten. Nothing is masqueraded (bpf/masquerade.test.ts does that), and no packet has been in a tunnel.
import { textOf } from '../../agent/ipcache/address.ts';
import { protocol } from './packet.ts';
import { drop_reason } from '../types.gen.ts';

export type Program = 'from_workload' | 'to_workload' | 'from_netdev' | 'from_overlay';
/** `workload`: of this node, behind that interface; `remote`: of another one. */
export type Place = { readonly kind: 'workload'; readonly ifindex: number } | { readonly kind: 'host' } | { readonly kind: 'remote' };
export interface Neighbourhood {
  /** Whose interface the workload programs run at. */
  readonly self: { readonly ifindex: number; readonly ipv4: string; readonly ipv6: string; readonly mac: string };
  /** Where an address is; undefined: nobody knows it. */
  readonly place: (address: string) => Place | undefined;
  /** By the policies of both ends; `port`: of ICMP the type. */
  readonly denial: (flow: { from: string; to: string; protocol: number; port: number }) => number;
}
export interface Expected { readonly verdict: 'pass' | 'drop' | 'redirect' | 'next'; readonly reason: number; /** The packet is none of policy's business. */ readonly silent: boolean }

interface Packet {
  readonly ipv4: boolean; readonly from: string; readonly to: string; readonly hops: number;
  readonly protocol: number; readonly sport: number; readonly dport: number; readonly flags: number; readonly icmp: number | undefined;
  readonly code: number; readonly piece: 'none' | 'first' | 'later'; readonly name: string; readonly slot: number; readonly l4: number;
}
interface Tracked { readonly opener: string; state: 'new' | 'established' | 'closed'; readonly fins: Set<string> }

const flag = { fin: 1, syn: 2, rst: 4, ack: 16 };
const [hopByHop, routing, fragmentHeader, options] = [0, 43, 44, 60];
const discovery = (type: number): boolean => (type >= 130 && type <= 137) || type === 143;

class Refused extends Error {
  readonly reason: number;
  constructor(reason: number) { super(); this.reason = reason; }
}
const refuse = (reason: keyof typeof drop_reason): never => { throw new Refused(drop_reason[reason]); };

/** `at`: of the IP header. Throws Refused. `quoted`: in an ICMP error, which may cut the transport header. */
function parseIp(data: Buffer, at: number, type: number, quoted: boolean): Packet {
  const head = { 0x0800: ipv4, 0x86dd: ipv6 }[type];
  if (head === undefined) return refuse('DROP_UNSUPPORTED_L3_PROTOCOL');
  const ip = head(data, at);
  const packet = { ...ip, sport: 0, dport: 0, flags: 0, icmp: undefined, code: 0 };
  return ip.piece === 'later' ? packet : { ...packet, ...transport(data, ip, quoted) };
}

type Ip = Pick<Packet, 'ipv4' | 'from' | 'to' | 'hops' | 'protocol' | 'piece' | 'name' | 'slot' | 'l4'> & { readonly end: number };

function ipv4(data: Buffer, at: number): Ip {
  if (data.length < at + 20 || data[at]! >> 4 !== 4 || (data[at]! & 15) < 5) refuse('DROP_INVALID_PACKET');
  const number = data[at + 9]!;
  if (number === protocol.icmp6) refuse('DROP_INVALID_PACKET');
  const offset = data.readUInt16BE(at + 6);
  const [from, to] = [textOf(data.subarray(at + 12, at + 16)), textOf(data.subarray(at + 16, at + 20))];
  return {
    ipv4: true, from, to, hops: data[at + 8]!, protocol: number, piece: (offset & 0x1fff) !== 0 ? 'later' : (offset & 0x2000) !== 0 ? 'first' : 'none',
    name: [from, to, number, data.readUInt16BE(at + 4)].join(),
    slot: slotOf(data.readUInt16LE(at + 4), data.subarray(at + 12, at + 16), data.subarray(at + 16, at + 20)), l4: at + (data[at]! & 15) * 4, end: at + data.readUInt16BE(at + 2),
  };
}

/** A workload's datagrams share slots, and the later one takes it (lib/fragment.h). */
function slotOf(id: number, from: Buffer, to: Buffer): number {
  const mixed = id ^ from.readUInt32LE() ^ to.readUInt32LE();
  const half = mixed ^ (mixed >>> 16);
  return (half ^ (half >>> 8)) & 255;
}

const mapped = (address: Buffer): boolean => address.subarray(0, 10).every((byte) => byte === 0) && address.readUInt16BE(10) === 0xffff;

function ipv6(data: Buffer, at: number): Ip {
  if (data.length < at + 40 || data[at]! >> 4 !== 6) refuse('DROP_INVALID_PACKET');
  const [from, to] = [data.subarray(at + 8, at + 24), data.subarray(at + 24, at + 40)];
  if (mapped(from) || mapped(to)) refuse('DROP_INVALID_PACKET');
  let next = data[at + 6]!;
  let l4 = at + 40;
  let piece: Packet['piece'] | undefined;
  let id = 0;
  for (let headers = 0; headers < 6 && [hopByHop, routing, fragmentHeader, options].includes(next); headers += 1) {
    if (next === fragmentHeader) {
      if (piece !== undefined || data.length < l4 + 8) refuse('DROP_INVALID_IPV6_EXTENSION_HEADER');
      const offset = data.readUInt16BE(l4 + 2);
      piece = (offset & 0xfff8) !== 0 ? 'later' : (offset & 1) !== 0 ? 'first' : 'none';
      id = data.readUInt32LE(l4 + 4);
      next = data[l4]!;
      l4 += 8;
      if (piece === 'later') break;
    } else {
      if (data.length < l4 + 2) refuse('DROP_INVALID_IPV6_EXTENSION_HEADER');
      next = data[l4]!;
      l4 += (data[l4 + 1]! + 1) * 8;
    }
  }
  if (piece !== 'later' && [hopByHop, routing, fragmentHeader, options, protocol.icmp].includes(next)) refuse('DROP_INVALID_IPV6_EXTENSION_HEADER');
  const [source, destination] = [textOf(from), textOf(to)];
  return {
    ipv4: false, from: source, to: destination, hops: data[at + 7]!, protocol: next, piece: piece ?? 'none',
    name: [source, destination, id].join(), slot: slotOf(id, from.subarray(12), to.subarray(12)), l4, end: at + 40 + data.readUInt16BE(at + 4),
  };
}

const least: Readonly<Record<number, number>> = { [protocol.tcp]: 20, [protocol.udp]: 4, [protocol.sctp]: 4, [protocol.icmp]: 8, [protocol.icmp6]: 8 };

/** Of a quote it takes the ports, or the id of an echo. */
const leastQuoted = (number: number): number => (number === protocol.icmp || number === protocol.icmp6 ? 8 : least[number] === undefined ? 0 : 4);

function transport(data: Buffer, ip: Ip, quoted: boolean): Partial<Packet> {
  const { l4, protocol: number } = ip;
  if (data.length < l4 + (quoted ? leastQuoted(number) : least[number] ?? 0)) refuse('DROP_CT_TRUNCATED_OR_INVALID_HEADER');
  const icmp = number === protocol.icmp || number === protocol.icmp6;
  if (!quoted && ip.piece === 'first') {
    const whole = number === protocol.tcp ? Math.max(20, (data[l4 + 12]! >> 4) * 4) : number === protocol.sctp ? 12 : number === protocol.udp || icmp ? 8 : 0;
    if (l4 + whole > ip.end) refuse('DROP_CT_TRUNCATED_OR_INVALID_HEADER');
    if (number === protocol.icmp6 && discovery(data[l4]!)) refuse('DROP_FORBIDDEN_ICMPV6_MESSAGE');
  }
  if (icmp) {
    const type = data[l4]!;
    const echo = number === protocol.icmp ? type === 0 || type === 8 : type === 128 || type === 129;
    const id = echo || quoted ? data.readUInt16BE(l4 + 4) : 0;
    return { sport: id, dport: id, icmp: type, code: data[l4 + 1]! };
  }
  if (least[number] === undefined) return {};
  return { sport: data.readUInt16BE(l4), dport: data.readUInt16BE(l4 + 2), flags: number === protocol.tcp && !quoted ? data[l4 + 13]! : 0 };
}

const isError = (packet: Packet): boolean => packet.icmp !== undefined
  && (packet.protocol === protocol.icmp ? [3, 11, 12].includes(packet.icmp) : packet.icmp >= 1 && packet.icmp <= 4);
const endOf = (address: string, port: number): string => `${address} ${port}`;
const keyOf = (packet: Packet): string => [packet.protocol, ...[endOf(packet.from, packet.sport), endOf(packet.to, packet.dport)].sort()].join();
const isLinkLocal = (address: string): boolean => /^fe[89ab]/.test(address);
const macText = (bytes: Buffer): string => [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join(':');

const isTagged = (type: number): boolean => type === 0x8100 || type === 0x88a8;
const typeOf = (data: Buffer): number => data.readUInt16BE(12);
const isDiscovery = (packet: Packet): boolean => packet.piece !== 'later' && packet.protocol === protocol.icmp6 && discovery(packet.icmp!);
const silent = (verdict: Expected['verdict']): Expected => ({ verdict, reason: 0, silent: true });
const told = (verdict: Expected['verdict']): Expected => ({ verdict, reason: 0, silent: false });

export class Model {
  readonly #around: Neighbourhood;
  readonly #connections = new Map<string, Tracked>();
  /** By interface, direction and slot. */
  readonly #slots = new Map<string, Packet>();

  constructor(around: Neighbourhood) { this.#around = around; }

  get connections(): number { return this.#connections.size; }

  expect(program: Program, bytes: Uint8Array): Expected {
    const data = Buffer.from(bytes);
    try {
      switch (program) {
        case 'from_workload': return this.#fromWorkload(data);
        case 'to_workload': return this.#toWorkload(data);
        case 'from_netdev': return this.#fromNetdev(data);
        case 'from_overlay': return this.#fromOverlay(data);
      }
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      return { verdict: 'drop', reason: error.reason, silent: false };
    }
  }

  #fromWorkload(data: Buffer): Expected {
    const { self, place } = this.#around;
    if (data.length < 14 || macText(data.subarray(6, 12)) !== self.mac) refuse('DROP_INVALID_SOURCE_MAC');
    const type = typeOf(data);
    if (isTagged(type)) refuse('DROP_VLAN_FILTERED');
    if (type === 0x0806) return this.#arp(data);
    const packet = parseIp(data, 14, type, false);
    if (isDiscovery(packet)) return this.#discovery(data, packet);
    if (packet.from !== (packet.ipv4 ? self.ipv4 : self.ipv6)) refuse('DROP_INVALID_SOURCE_IP');
    const whole = this.#joined(packet, `${self.ifindex} egress`);
    const to = place(whole.to);
    if (to === undefined) return refuse('DROP_EP_NOT_READY');
    this.#policy(data, whole);
    if (to.kind === 'host') return told('pass');
    if (whole.hops <= 1) refuse('DROP_TTL_EXCEEDED');
    return told('redirect');
  }

  /** What the host sends is its own affair but for policy: discovery and ARP pass unread. */
  #toWorkload(data: Buffer): Expected {
    const type = typeOf(data);
    if (isTagged(type)) refuse('DROP_VLAN_FILTERED');
    if (type === 0x0806) return silent('pass');
    const packet = parseIp(data, 14, type, false);
    if (isDiscovery(packet)) return silent('pass');
    this.#policy(data, this.#joined(packet, `${this.#around.self.ifindex} ingress`));
    return told('pass');
  }

  /** Only what other nodes send to a workload of this one is weir's; all else goes on to the programs after it. */
  #fromNetdev(data: Buffer): Expected {
    const { place } = this.#around;
    const packet = isTagged(typeOf(data)) ? undefined : unlessRefused(() => parseIp(data, 14, typeOf(data), false));
    const [from, to] = packet === undefined ? [] : [place(packet.from), place(packet.to)];
    if (packet === undefined || to?.kind !== 'workload' || from === undefined || from.kind === 'host') return silent('next');
    if (from.kind === 'workload') refuse('DROP_INVALID_SOURCE_IP');
    if (isDiscovery(packet)) refuse('DROP_FORBIDDEN_ICMPV6_MESSAGE');
    const whole = this.#joined(packet, `${to.ifindex} ingress`);
    this.#policy(data, whole);
    if (whole.hops <= 1) refuse('DROP_TTL_EXCEEDED');
    return told('redirect');
  }

  /** A test run has no tunnel, so nothing is ever believed. */
  #fromOverlay(data: Buffer): Expected {
    if (isTagged(typeOf(data))) refuse('DROP_VLAN_FILTERED');
    parseIp(data, 14, typeOf(data), false);
    return refuse('DROP_TUNNEL_KEY');
  }

  #arp(data: Buffer): Expected {
    const { self } = this.#around;
    if (data.length < 14 + 28) refuse('DROP_INVALID_PACKET');
    if (macText(data.subarray(22, 28)) !== self.mac) refuse('DROP_INVALID_SOURCE_MAC');
    if (textOf(data.subarray(28, 32)) !== self.ipv4) refuse('DROP_INVALID_SOURCE_IP');
    return silent('pass');
  }

  #discovery(data: Buffer, packet: Packet): Expected {
    const { self } = this.#around;
    if (packet.icmp === 134 || packet.icmp === 137) refuse('DROP_FORBIDDEN_ICMPV6_MESSAGE');
    const mine = (address: string): boolean => address === self.ipv6 || isLinkLocal(address);
    if (!mine(packet.from) && packet.from !== '::') refuse('DROP_INVALID_SOURCE_IP');
    if (packet.icmp === 136) {
      if (data.length < packet.l4 + 24) refuse('DROP_INVALID_PACKET');
      if (!mine(textOf(data.subarray(packet.l4 + 8, packet.l4 + 24)))) refuse('DROP_INVALID_SOURCE_IP');
    }
    return silent('pass');
  }

  #joined(packet: Packet, where: string): Packet {
    if (packet.piece === 'none') return packet;
    const slot = `${where} ${packet.slot}`;
    if (packet.piece === 'first') {
      this.#slots.set(slot, packet);
      return packet;
    }
    const first = this.#slots.get(slot);
    if (first?.name !== packet.name) return refuse('DROP_FRAGMENT_WITHOUT_FIRST');
    return { ...packet, protocol: first.protocol, sport: first.sport, dport: first.dport, icmp: first.icmp, code: first.code };
  }

  #policy(data: Buffer, packet: Packet): void {
    const { place, denial } = this.#around;
    if (packet.piece !== 'later' && isError(packet) && this.#isRelated(data, packet)) return;
    const key = keyOf(packet);
    const known = this.#connections.get(key);
    const opens = packet.protocol === protocol.tcp && (packet.flags & (flag.syn | flag.ack)) === flag.syn;
    if (known !== undefined && !(opens && (known.state === 'closed' || (packet.from !== known.opener && known.state !== 'new')))) {
      follow(known, packet);
      return;
    }
    if (place(packet.from) === undefined || place(packet.to) === undefined) refuse('DROP_EP_NOT_READY');
    const reason = denial({ from: packet.from, to: packet.to, protocol: packet.protocol, port: packet.icmp ?? packet.dport });
    if (reason !== 0) throw new Refused(reason);
    this.#connections.set(key, { opener: packet.from, state: (packet.flags & flag.rst) !== 0 ? 'closed' : 'new', fins: new Set((packet.flags & flag.fin) !== 0 ? [packet.from] : []) });
  }

  /** What it is about was let through, and it goes to who sent that. */
  #isRelated(data: Buffer, packet: Packet): boolean {
    const inner = unlessRefused(() => parseIp(data, packet.l4 + 8, packet.ipv4 ? 0x0800 : 0x86dd, true));
    return inner !== undefined && inner.piece !== 'later' && inner.from === packet.to && this.#connections.has(keyOf(inner));
  }
}

/** TCP alone has states that matter; a connection that was reset may be talked on after a second, which never passes here. */
function follow(known: Tracked, packet: Packet): void {
  if (packet.protocol !== protocol.tcp) return;
  if ((packet.flags & flag.fin) !== 0) known.fins.add(packet.from);
  if ((packet.flags & flag.rst) !== 0 || known.fins.size > 0) known.state = 'closed';
  else if (known.state === 'new' && packet.from !== known.opener && (packet.flags & flag.ack) !== 0) known.state = 'established';
}

function unlessRefused<Result>(work: () => Result): Result | undefined {
  try {
    return work();
  } catch (error) {
    if (error instanceof Refused) return undefined;
    throw error;
  }
}
