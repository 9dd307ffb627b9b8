// Cuts a frame into IP fragments and joins them again, as a sender and a receiver do (RFC 791, 3.2; RFC 8200, 4.5).
import { checksum } from './packet.ts';

const ethernet = 14;
const fragmentHeader = 44;
const isIpv6 = (frame: Uint8Array): boolean => Buffer.from(frame).readUInt16BE(12) === 0x86dd;

/** The same frame in IPv4 terms of offset and more to come, with this part of its data. */
function piece(frame: Buffer, data: Buffer, offset: number, more: boolean, id: number): Uint8Array {
  if (isIpv6(frame)) {
    const head = Buffer.from(frame.subarray(0, ethernet + 40));
    const extension = Buffer.from([head[20]!, 0, 0, 0, 0, 0, 0, 0]);
    extension.writeUInt16BE(offset | Number(more), 2);
    extension.writeUInt32BE(id, 4);
    head[20] = fragmentHeader;
    head.writeUInt16BE(8 + data.length, 18);
    return new Uint8Array(Buffer.concat([head, extension, data]));
  }
  const head = Buffer.from(frame.subarray(0, ethernet + 20));
  head.writeUInt16BE(20 + data.length, 16);
  head.writeUInt16BE(id & 0xffff, 18);
  head.writeUInt16BE((more ? 0x2000 : 0) | offset >> 3, 20);
  head.writeUInt16BE(0, 24);
  head.writeUInt16BE(checksum(head.subarray(ethernet)), 24);
  return new Uint8Array(Buffer.concat([head, data]));
}

/** `cuts`: where the pieces after the first one begin in what follows the IP header; none: one piece that is not to be joined. */
export function cut(frame: Uint8Array, cuts: readonly number[], id: number): Uint8Array[] {
  const whole = Buffer.from(frame);
  const data = whole.subarray(ethernet + (isIpv6(whole) ? 40 : 20));
  return [0, ...cuts].map((at, index) => piece(whole, data.subarray(at, cuts[index]), at, index < cuts.length, id));
}

/** The frame that the pieces were, in any order; throws where an IPv4 header's checksum is wrong or the pieces differ in their addresses. */
export function join(pieces: readonly Uint8Array[]): Uint8Array {
  const parts = pieces.map((one) => {
    const frame = Buffer.from(one);
    if (isIpv6(frame)) return { frame, addresses: frame.toString('hex', 22, 54), at: frame.readUInt16BE(56) & 0xfff8, data: frame.subarray(62) };
    if (checksum(frame.subarray(ethernet, 34)) !== 0) throw new Error('a header checksum is wrong');
    return { frame, addresses: frame.toString('hex', 26, 34), at: (frame.readUInt16BE(20) & 0x1fff) * 8, data: frame.subarray(34) };
  }).sort((a, b) => a.at - b.at);
  const first = parts[0]!.frame;
  if (new Set(parts.map((part) => part.addresses)).size !== 1) throw new Error('the pieces differ in their addresses');
  const data = Buffer.concat(parts.map((part) => part.data));
  if (!isIpv6(first)) return piece(first, data, 0, false, first.readUInt16BE(18));
  const head = Buffer.from(first.subarray(0, 54));
  head[20] = first[54]!;
  head.writeUInt16BE(data.length, 18);
  return new Uint8Array(Buffer.concat([head, data]));
}
