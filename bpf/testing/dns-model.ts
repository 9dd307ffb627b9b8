// What the programs are to make of an answer, written a second time and plainly: for random messages (bpf/dns_fuzz.test.ts).
import { isRefusedAddress } from './dns-addresses.ts';
import { dnsType } from './dns.ts';

export interface Verdict { readonly passes: boolean; /** Addresses as 32 hexadecimal digits, mapped. */ readonly learned: readonly string[] }

interface Name { readonly text: string; readonly end: number }

/** Of a question: labels alone. Undefined: none. */
function questionName(message: Buffer): Name | undefined {
  const labels: string[] = [];
  let at = 12;
  for (;;) {
    const length = message[at];
    if (length === undefined || length > 63) return undefined;
    if (length === 0) break;
    if (at + 1 + length > message.length) return undefined;
    labels.push(`${length}:${message.toString('latin1', at + 1, at + 1 + length).replace(/[A-Z]/g, (letter) => letter.toLowerCase())}`);
    at += 1 + length;
  }
  return at - 12 > 254 ? undefined : { text: labels.join('.'), end: at + 1 };
}

/** Where a name ends; undefined: it is none. Pointers lead before the part of it that they stand in. */
function nameEnd(message: Buffer, from: number): number | undefined {
  let [at, begin, end, total] = [from, from, undefined as number | undefined, 0];
  for (let steps = 0; steps < 128; steps += 1) {
    const length = message[at];
    if (length === undefined || total >= 255) return undefined;
    if (length === 0) return end ?? at + 1;
    if (length < 0xc0) {
      if (length > 63) return undefined;
      total += 1 + length;
      at += 1 + length;
      continue;
    }
    if (message[at + 1] === undefined) return undefined;
    end ??= at + 2;
    at = message.readUInt16BE(at) & 0x3fff;
    if (at >= begin) return undefined;
    begin = at;
  }
  return undefined;
}

/** `query`: the one that waits; its name is allowed by a rule that also makes addresses peers. */
export function modelOf(query: Buffer, message: Buffer): Verdict {
  const dropped = { passes: false, learned: [] };
  if (message.length < 17) return dropped;
  if ((message[2]! & 0xf8) !== 0x80 || message.readUInt16BE(4) !== 1) return dropped;
  const [asked, told] = [questionName(query)!, questionName(message)];
  if (message.readUInt16BE(0) !== query.readUInt16BE(0) || told === undefined || told.end + 4 > message.length) return dropped;
  if (told.text !== asked.text || message.readUInt32BE(told.end) !== query.readUInt32BE(asked.end)) return dropped;
  const count = message[2]! & 2 || message[3]! & 15 ? 0 : message.readUInt16BE(6);
  // Handed on cut short.
  if (message.length > 1_536 || count > 24) return { passes: true, learned: [] };
  const learned: string[] = [];
  let at = told.end + 4;
  for (let left = count; left > 0; left -= 1) {
    const head = nameEnd(message, at);
    if (head === undefined || head + 10 > message.length) return dropped;
    const [type, kind, size] = [message.readUInt16BE(head), message.readUInt16BE(head + 2), message.readUInt16BE(head + 8)];
    const data = message.subarray(head + 10, head + 10 + size);
    if (data.length < size) return dropped;
    at = head + 10 + size;
    if (type === dnsType.cname && nameEnd(message, head + 10) !== at) return dropped;
    if (type !== dnsType.a && type !== dnsType.aaaa) continue;
    if (size !== (type === dnsType.a ? 4 : 16)) return dropped;
    if (kind !== 1) continue;
    const word = size === 4 ? `00000000000000000000ffff${data.toString('hex')}` : data.toString('hex');
    if (!isRefusedAddress(word)) learned.push(word);
  }
  return { passes: true, learned };
}
