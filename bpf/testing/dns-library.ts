// What a DNS library takes from an answer: the oracle for what the programs may learn (bpf/testing/dns-fuzz.ts). Data of records that give no
// address is opaque to both (RFC 3597), and what stands behind the answers is read by neither.
import dnsPacket from 'dns-packet';
import { mappedBytes } from '../../agent/ipcache/address.ts';
import { dnsType } from './dns.ts';

interface Decoder<Result> { readonly decode: ((buffer: Buffer, offset: number) => Result) & { readonly bytes: number } }
interface Library {
  readonly name: Decoder<string>;
  readonly answer: Decoder<{ readonly type: string; readonly class: string; readonly data: unknown }>;
}
/** Its parts, which its types leave out. */
const { name, answer } = dnsPacket as unknown as Library;

/** The root, and a type for private use. */
const opaqueHead = Buffer.from([0, 0xff, 0]);
const read = new Set<number>([dnsType.a, dnsType.aaaa, dnsType.cname]);
const [questionAt, response, opcode, truncated, rcode] = [12, 0x8000, 0x7800, 0x0200, 0x000f] as const;

/** The addresses as 32 hexadecimal digits, IPv4 mapped; undefined: it is no answer to `query`, which has one question. */
export function acceptedBy(query: Buffer, message: Buffer): ReadonlySet<string> | undefined {
  try {
    return addressesOf(query, message);
  } catch (error) {
    // What the library throws at what it cannot read.
    if (error instanceof Error) return undefined;
    throw error;
  }
}

function addressesOf(query: Buffer, message: Buffer): Set<string> | undefined {
  const flags = message.readUInt16BE(2);
  if (message.readUInt16BE(0) !== query.readUInt16BE(0) || message.readUInt16BE(4) !== 1) return undefined;
  if ((flags & (response | opcode)) !== response) return undefined;
  const asked = name.decode(query, questionAt).toLowerCase();
  const kind = query.readUInt32BE(questionAt + name.decode.bytes);
  if (name.decode(message, questionAt).toLowerCase() !== asked) return undefined;
  let at = questionAt + name.decode.bytes;
  if (message.readUInt32BE(at) !== kind) return undefined;
  at += 4;
  const found = new Set<string>();
  if (flags & (truncated | rcode)) return found;
  for (let left = message.readUInt16BE(6); left > 0; left -= 1) {
    name.decode(message, at);
    const typeAt = at + name.decode.bytes;
    if (!read.has(message.readUInt16BE(typeAt))) {
      // In a copy without its name: names may lead through any byte of the message.
      answer.decode(Buffer.concat([opaqueHead, message.subarray(typeAt + 2)]), 0);
      at = typeAt + answer.decode.bytes - 1;
      if (at > message.length) return undefined;
      continue;
    }
    const { type, class: of, data } = answer.decode(message, at);
    at += answer.decode.bytes;
    if (at > message.length) return undefined;
    if (of === 'IN' && (type === 'A' || type === 'AAAA')) found.add(Buffer.from(mappedBytes(data as string)).toString('hex'));
  }
  return found;
}
