// Frames for packet tables, built layer by layer: `frame().ipv4('10.0.0.1', '10.0.0.2').tcp(1000, 80, 'S').bytes()`.
import { bytesOf, textOf } from '../../agent/ipcache/address.ts';

const etherType = { ipv4: 0x0800, arp: 0x0806, ipv6: 0x86dd } as const;
/** Tag protocols: IEEE 802.1Q and 802.1ad. */
export const tag = { vlan: 0x8100, provider: 0x88a8 } as const;
export const protocol = { icmp: 1, tcp: 6, udp: 17, icmp6: 58, sctp: 132 } as const;
const tcpFlag: Readonly<Record<string, number>> = { F: 1, S: 2, R: 4, P: 8, A: 16 };

/** RFC 1071 over whole 16-bit words, odd ends padded. */
export function checksum(...parts: readonly Uint8Array[]): number {
  const data = Buffer.concat(parts.map((part) => (part.length % 2 === 0 ? part : Buffer.concat([part, Buffer.alloc(1)]))));
  let sum = 0;
  for (let at = 0; at < data.length; at += 2) sum += data.readUInt16BE(at);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

/** RFC 9260, appendix A; the checksum's own place has to be zero. */
export function crc32c(data: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of data) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit += 1) crc = (crc >>> 1) ^ ((crc & 1) * 0x82f63b78);
  }
  return ~crc >>> 0;
}

interface Network { readonly family: 4 | 6; readonly source: string; readonly destination: string; readonly ttl: number; readonly fragment: number; readonly extensions: Buffer; readonly next: number | undefined; readonly options: Buffer }

const u16 = (...values: number[]): Buffer => { const out = Buffer.alloc(values.length * 2); values.forEach((value, i) => out.writeUInt16BE(value & 0xffff, i * 2)); return out; };

export class Frame {
  #smac = '02:00:00:00:00:01';
  #dmac = '02:00:00:00:00:fe';
  #network: Network | undefined;
  #protocol = 0;
  #payload: Buffer = Buffer.alloc(0);
  #checksumAt = -1;
  #type: number | undefined;
  #tags: Buffer = Buffer.alloc(0);

  /** The outermost tag is the one named first. */
  vlan(id: number, type: number = tag.vlan): this { this.#tags = Buffer.concat([this.#tags, u16(type, id)]); return this; }

  mac(source: string, destination = this.#dmac): this { this.#smac = source; this.#dmac = destination; return this; }

  /** `options`: padded to whole words by the caller (RFC 791, 3.1). */
  ipv4(source: string, destination: string, options: { ttl?: number; fragment?: number; options?: readonly number[] } = {}): this {
    this.#network = { family: 4, source, destination, ttl: options.ttl ?? 64, fragment: options.fragment ?? 0, extensions: Buffer.alloc(0), next: undefined, options: Buffer.from(options.options ?? []) };
    return this;
  }

  /** `extensions`: protocol numbers of empty 8-byte extension headers before the payload. */
  ipv6(source: string, destination: string, options: { ttl?: number; extensions?: readonly number[] } = {}): this {
    const list = options.extensions ?? [];
    const extensions = Buffer.concat(list.map((_, index) => Buffer.from([list[index + 1] ?? 0xff, 0, 1, 4, 0, 0, 0, 0])));
    this.#network = { family: 6, source, destination, ttl: options.ttl ?? 64, fragment: 0, extensions, next: list[0], options: Buffer.alloc(0) };
    return this;
  }

  ip(source: string, destination: string): this { return source.includes(':') ? this.ipv6(source, destination) : this.ipv4(source, destination); }

  /** `flags`: letters of F S R P A. */
  tcp(source: number, destination: number, flags: string, data = ''): this {
    const bits = [...flags].reduce((sum, letter) => sum | tcpFlag[letter]!, 0);
    const head = Buffer.concat([u16(source, destination), Buffer.alloc(8), Buffer.from([0x50, bits]), u16(1024, 0, 0)]);
    return this.#transport(protocol.tcp, Buffer.concat([head, Buffer.from(data)]), 16);
  }

  udp(source: number, destination: number, data: string | Uint8Array = ''): this {
    return this.#transport(protocol.udp, Buffer.concat([u16(source, destination, 8 + data.length, 0), Buffer.from(data)]), 6);
  }

  /** Without `data` its checksum is zero, as the stack leaves it to a device. */
  sctp(source: number, destination: number, data?: string): this {
    const packet = Buffer.concat([u16(source, destination), Buffer.alloc(20), Buffer.from(data ?? '')]);
    if (data !== undefined) packet.writeUInt32LE(crc32c(packet), 8);
    return this.#transport(protocol.sctp, packet, -1);
  }

  /** ICMP or ICMPv6 by the address family; `about`: the packet that an error carries. */
  icmp(type: number, options: { code?: number; id?: number; about?: Uint8Array } = {}): this {
    const head = Buffer.concat([Buffer.from([type, options.code ?? 0, 0, 0]), u16(options.id ?? 0, 1)]);
    const about = options.about === undefined ? Buffer.alloc(8) : Buffer.from(options.about);
    return this.#transport(this.#network?.family === 6 ? protocol.icmp6 : protocol.icmp, Buffer.concat([head, about]), 2);
  }

  raw(number: number, data: Uint8Array): this { return this.#transport(number, Buffer.from(data), -1); }

  arp(operation: 1 | 2, senderMac: string, sender: string, target: string): this {
    this.#type = etherType.arp;
    this.#payload = Buffer.concat([u16(1, etherType.ipv4), Buffer.from([6, 4]), u16(operation), macBytes(senderMac), bytesOf(sender), Buffer.alloc(6), bytesOf(target)]);
    return this;
  }

  /** The packet without its Ethernet header. */
  packet(): Buffer {
    const network = this.#network!;
    const source = Buffer.from(bytesOf(network.source));
    const destination = Buffer.from(bytesOf(network.destination));
    const payload = Buffer.from(this.#payload);
    const length = payload.length + network.extensions.length;
    if (this.#checksumAt >= 0) {
      const pseudo = this.#protocol === protocol.icmp ? Buffer.alloc(0) : Buffer.concat([source, destination, u16(0, payload.length, 0, this.#protocol)]);
      payload.writeUInt16BE(checksum(pseudo, payload), this.#checksumAt);
    }
    if (network.family === 6) {
      const extensions = Buffer.from(network.extensions);
      if (extensions.length > 0) extensions[extensions.length - 8] = this.#protocol;
      const head = Buffer.concat([Buffer.from([0x60, 0, 0, 0]), u16(length), Buffer.from([network.next ?? this.#protocol, network.ttl])]);
      return Buffer.concat([head, source, destination, extensions, payload]);
    }
    const words = 5 + network.options.length / 4;
    const head = Buffer.concat([Buffer.from([0x40 | words, 0]), u16(words * 4 + length, 1, network.fragment), Buffer.from([network.ttl, this.#protocol, 0, 0]), source, destination, network.options]);
    head.writeUInt16BE(checksum(head), 10);
    return Buffer.concat([head, payload]);
  }

  bytes(): Uint8Array {
    const type = this.#type ?? (this.#network?.family === 6 ? etherType.ipv6 : etherType.ipv4);
    const body = this.#network === undefined ? this.#payload : this.packet();
    return new Uint8Array(Buffer.concat([macBytes(this.#dmac), macBytes(this.#smac), this.#tags, u16(type), body]));
  }

  #transport(number: number, payload: Buffer, checksumAt: number): this {
    this.#protocol = number;
    this.#payload = payload;
    this.#checksumAt = checksumAt;
    return this;
  }
}

export const macBytes = (text: string): Buffer => Buffer.from(text.split(':').map((part) => parseInt(part, 16)));
export const frame = (): Frame => new Frame();

/** True when IPv4 header and transport checksums of a frame are right. */
export function checksumsHold(bytes: Uint8Array): boolean {
  const data = Buffer.from(bytes);
  const is6 = data.readUInt16BE(12) === etherType.ipv6;
  const l4 = is6 ? 54 : 14 + (data[14]! & 15) * 4;
  const number = is6 ? data[20]! : data[23]!;
  if (!is6 && checksum(data.subarray(14, l4)) !== 0) return false;
  const addresses = is6 ? data.subarray(22, 54) : data.subarray(26, 34);
  const end = is6 ? 54 + data.readUInt16BE(18) : 14 + data.readUInt16BE(16);
  const payload = Buffer.from(data.subarray(l4, end));
  if (number === protocol.sctp) {
    const sum = payload.readUInt32LE(8);
    payload.writeUInt32LE(0, 8);
    return sum === 0 || sum === crc32c(payload);
  }
  const pseudo = number === protocol.icmp ? Buffer.alloc(0) : Buffer.concat([addresses, u16(0, payload.length, 0, number)]);
  return checksum(pseudo, payload) === 0;
}

export interface Fields { readonly dmac: string; readonly smac: string; readonly ttl: number; readonly source: string; readonly destination: string; readonly sport: number; readonly dport: number }

/** What tables compare of a frame without extension headers; ICMP: the id as both ports. */
export function fieldsOf(bytes: Uint8Array): Fields {
  const data = Buffer.from(bytes);
  const mac = (at: number): string => data.subarray(at, at + 6).toString('hex');
  const is6 = data.readUInt16BE(12) === etherType.ipv6;
  const l4 = is6 ? 54 : 14 + (data[14]! & 15) * 4;
  const number = is6 ? data[20]! : data[23]!;
  const [from, length] = is6 ? [22, 16] : [26, 4];
  const icmp = number === protocol.icmp || number === protocol.icmp6;
  return {
    dmac: mac(0), smac: mac(6), ttl: is6 ? data[21]! : data[22]!,
    source: textOf(data.subarray(from, from + length)), destination: textOf(data.subarray(from + length, from + 2 * length)),
    sport: data.readUInt16BE(l4 + (icmp ? 4 : 0)), dport: data.readUInt16BE(l4 + (icmp ? 4 : 2)),
  };
}
