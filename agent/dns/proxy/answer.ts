// An answer of any size -> pieces that the kernel reads: the same question, and at most 24 of its addresses each. Addresses are those of A, AAAA
// and the hints of SVCB and HTTPS (RFC 9460, 7.3).
import { isIP } from 'node:net';
import packet, { type Answer } from 'dns-packet';
import { dns_limit } from '../../../bpf/types.gen.ts';
import { nameEnd } from '../../names/server/compress.ts';
import { word } from './sockets.ts';

const headBytes = 12;
const type = { a: 1, aaaa: 28 } as const;
const size = { [type.a]: 4, [type.aaaa]: 16 } as const;
const hint = { 4: type.a, 6: type.aaaa } as const;
const hintTypes = ['UNKNOWN_64', 'UNKNOWN_65'];
const toQuestion = 0xc00c;
const truncated = 0x02;
const rcode = 0x0f;

interface Address { readonly type: 1 | 28; readonly ttl: number; readonly bytes: Buffer }

/** Of SVCB's data: priority, a name without pointers, then keys with their values. What is cut short ends the list. */
function hintsOf(data: Buffer, ttl: number): Address[] {
  const found: Address[] = [];
  for (let at = nameEnd(data, 2); at + 4 <= data.length;) {
    const [key, length] = [data.readUInt16BE(at), data.readUInt16BE(at + 2)];
    const value = data.subarray(at + 4, at + 4 + length);
    at += 4 + length;
    if (value.length < length || (key !== 4 && key !== 6)) continue;
    const bytes = size[hint[key]];
    for (let from = 0; from + bytes <= length; from += bytes) found.push({ type: hint[key], ttl, bytes: value.subarray(from, from + bytes) });
  }
  return found;
}

/** The codec reads beyond a message that is cut short, and gives text that is none. */
function bytesOf(data: unknown, kind: 4 | 6): Buffer {
  if (isIP(String(data)) !== kind) throw new RangeError('an address that is cut short');
  return kind === 4 ? word(String(data)).subarray(12) : word(String(data));
}

function addressesOf(answer: Answer): Address[] {
  const { type: name, class: kind, flush, ttl = 0, data } = answer as { type: string; class?: string; flush?: boolean; ttl?: number; data?: unknown };
  // `flush`: the class's highest bit, which the codec takes for that of multicast DNS.
  if (kind !== 'IN' || flush === true) return [];
  if (name === 'A') return [{ type: type.a, ttl, bytes: bytesOf(data, 4) }];
  if (name === 'AAAA') return [{ type: type.aaaa, ttl, bytes: bytesOf(data, 6) }];
  return hintTypes.includes(name) && Buffer.isBuffer(data) ? hintsOf(data, ttl) : [];
}

const recordOf = ({ type: kind, ttl, bytes }: Address): Buffer => {
  const head = Buffer.alloc(12);
  head.writeUInt16BE(toQuestion, 0);
  head.writeUInt16BE(kind, 2);
  head.writeUInt16BE(1, 4);
  head.writeUInt32BE(ttl >>> 0, 6);
  head.writeUInt16BE(bytes.length, 10);
  return Buffer.concat([head, bytes]);
};

/** `query`: what was asked, in the client's letters. Always at least one; throws where the codec cannot read the answer. */
export function piecesOf(query: Buffer, answer: Buffer): Buffer[] {
  const question = query.subarray(headBytes, nameEnd(query, headBytes) + 4);
  const useless = (answer[2]! & truncated) !== 0 || (answer[3]! & rcode) !== 0;
  const addresses = useless ? [] : (packet.decode(answer).answers ?? []).flatMap(addressesOf);
  const pieces: Buffer[] = [];
  do {
    const some = addresses.splice(0, dns_limit.DNS_ANSWERS);
    const head = Buffer.alloc(headBytes);
    answer.copy(head, 0, 0, 4);
    head.writeUInt16BE(1, 4);
    head.writeUInt16BE(some.length, 6);
    pieces.push(Buffer.concat([head, question, ...some.map(recordOf)]));
  } while (addresses.length > 0);
  return pieces;
}
