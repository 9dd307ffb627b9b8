// Bytes <-> questions and answers (RFC 1035, EDNS by RFC 6891): what no server should answer, what fits into a datagram.
import packet, { type DecodedPacket, type Question } from 'dns-packet';
import type { Reply } from './answer.ts';
import { compress, nameEnd } from './compress.ts';

/** No fragments on any path (DNS flag day 2020). */
const mostUdpBytes = 1_232;
const leastUdpBytes = 512;
const headerBytes = 12;
const flag = { response: 0x8000, authoritative: 0x0400, truncated: 0x0200, recursionDesired: 0x0100, recursionAvailable: 0x0080, checkingDisabled: 0x0010 } as const;
const opcodes = 0x7800;
const codes = { NOERROR: 0, FORMERR: 1, SERVFAIL: 2, NXDOMAIN: 3, NOTIMP: 4, REFUSED: 5 } as const;
const badVersion = 1; // of the extended code: 16, BADVERS

export interface Request {
  readonly id: number;
  readonly flags: number;
  readonly question: Question;
  /** Of the asker's EDNS; absent: it knows none. */
  readonly edns?: { readonly bytes: number; readonly version: number };
}

/** `refuse`: bytes that say why. `ignore`: nothing is owed (an answer, half a header). */
export type Read = { readonly kind: 'request'; readonly request: Request } | { readonly kind: 'refuse'; readonly bytes: Buffer } | { readonly kind: 'ignore' };

function bare(bytes: Buffer, code: keyof typeof codes): Buffer {
  const head = Buffer.alloc(headerBytes);
  bytes.copy(head, 0, 0, 2);
  head.writeUInt16BE((flag.response | (bytes.readUInt16BE(2) & (opcodes | flag.recursionDesired)) | codes[code]), 2);
  return head;
}

export function readRequest(bytes: Buffer): Read {
  if (bytes.length < headerBytes) return { kind: 'ignore' };
  const flags = bytes.readUInt16BE(2);
  if ((flags & flag.response) !== 0) return { kind: 'ignore' };
  if ((flags & opcodes) !== 0) return { kind: 'refuse', bytes: bare(bytes, 'NOTIMP') };
  if (bytes.readUInt16BE(4) !== 1) return { kind: 'refuse', bytes: bare(bytes, 'FORMERR') };
  let decoded: DecodedPacket;
  try {
    decoded = packet.decode(bytes);
  } catch {
    return { kind: 'refuse', bytes: bare(bytes, 'FORMERR') }; // whatever the codec stumbled over
  }
  const options = (decoded.additionals ?? []).filter((one) => one.type === 'OPT') as unknown as { udpPayloadSize: number; ednsVersion: number }[];
  if (options.length > 1) return { kind: 'refuse', bytes: bare(bytes, 'FORMERR') };
  const [edns] = options;
  return {
    kind: 'request',
    request: { id: decoded.id ?? 0, flags, question: decoded.questions![0]!, ...(edns === undefined ? {} : { edns: { bytes: edns.udpPayloadSize, version: edns.ednsVersion } }) },
  };
}

/** `udp`: cut to what the asker takes; it asks again over TCP. */
export function writeReply({ id, flags, question, edns }: Request, { code, own, answers, authorities, additionals }: Reply, udp: boolean): Buffer {
  const base = (flags & (flag.recursionDesired | flag.checkingDisabled)) | flag.recursionAvailable | (own ? flag.authoritative : 0) | codes[code];
  const unknown = edns !== undefined && edns.version !== 0;
  const option = edns === undefined ? [] : [{ type: 'OPT', name: '.', udpPayloadSize: mostUdpBytes, extendedRcode: unknown ? badVersion : 0, ednsVersion: 0, flags: 0, flag_do: false, options: [] } as never];
  const encode = (more: number, whole: boolean, extra: boolean): Buffer => compress(packet.encode({
    type: 'response', id, flags: more, questions: [question], answers: whole ? [...answers] : [], authorities: whole ? [...authorities] : [], additionals: [...(extra ? additionals : []), ...option],
  }));
  if (unknown) return encode(base & ~0xf, false, false);
  const most = udp ? Math.min(Math.max(edns?.bytes ?? leastUdpBytes, leastUdpBytes), mostUdpBytes) : 0xffff;
  const full = encode(base, true, true);
  if (full.length <= most) return full;
  // What only saves a second question goes first.
  const lean = additionals.length > 0 ? encode(base, true, false) : full;
  return lean.length <= most ? lean : encode(base | flag.truncated, false, false);
}

/** For what an alias leads to. */
export const writeQuestion = (id: number, name: string, type: Question['type']): Buffer =>
  packet.encode({ type: 'query', id, flags: flag.recursionDesired, questions: [{ name, type, class: 'IN' }] });

export const readAnswer = (bytes: Buffer): DecodedPacket => packet.decode(bytes);

/** Whether it answers this question: the id, and the question as it was asked. */
export function answers(bytes: Buffer, query: Buffer): boolean {
  if (bytes.length < headerBytes || bytes.readUInt16BE(0) !== query.readUInt16BE(0) || (bytes.readUInt16BE(2) & flag.response) === 0) return false;
  const end = nameEnd(query, headerBytes) + 4;
  // Some servers leave the question out of an error.
  if (bytes.readUInt16BE(4) === 0) return (bytes.readUInt16BE(2) & 0xf) !== 0;
  return bytes.length >= end && bytes.toString('latin1', headerBytes, end).toLowerCase() === query.toString('latin1', headerBytes, end).toLowerCase();
}
