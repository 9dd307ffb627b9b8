// DNS messages for packet tables, built and read without any library: RFC 1035, 4.
import { bytesOf } from '../../agent/ipcache/address.ts';

export const dnsType = { a: 1, cname: 5, mx: 15, txt: 16, aaaa: 28, opt: 41, https: 65 } as const;

const u16 = (...values: number[]): Buffer => Buffer.from(values.flatMap((value) => [(value >> 8) & 255, value & 255]));

/** `a.b.`; labels are taken as they are, also too long ones. */
export const wireName = (name: string): Buffer => Buffer.concat([
  ...name.split('.').filter((label) => label !== '').map((label) => Buffer.concat([Buffer.from([label.length]), Buffer.from(label, 'latin1')])), Buffer.from([0]),
]);

/** To where the question's name stands. */
export const toQuestion = u16(0xc00c);

export interface Answer { readonly owner?: Buffer; readonly type: number; readonly class?: number; readonly ttl?: number; readonly data: Uint8Array }

export const record = ({ owner = toQuestion, type, class: kind = 1, ttl = 300, data }: Answer): Buffer =>
  Buffer.concat([owner, u16(type, kind, ttl >>> 16, ttl & 0xffff, data.length), data]);

export const address = (text: string, more: Partial<Answer> = {}): Answer => ({ type: text.includes(':') ? dnsType.aaaa : dnsType.a, data: bytesOf(text), ...more });

export interface Message {
  readonly id?: number;
  readonly name: string | Buffer;
  readonly type?: number;
  readonly flags?: number;
  readonly questions?: number;
  readonly answers?: readonly Answer[];
  /** What the header says, if it is not so many. */
  readonly count?: number;
  readonly tail?: Uint8Array;
}

const message = (flags: number, { id = 7, name, type = dnsType.a, questions = 1, answers = [], count = answers.length, tail = Buffer.alloc(0) }: Message): Buffer => Buffer.concat([
  u16(id, flags, questions, count, 0, 0), typeof name === 'string' ? wireName(name) : name, u16(type, 1), ...answers.map(record), tail,
]);

/** Recursion desired. */
export const query = (of: Message): Buffer => message(of.flags ?? 0x0100, of);
export const answer = (of: Message): Buffer => message(of.flags ?? 0x8180, of);

export interface Read { readonly id: number; readonly flags: number; readonly rcode: number; readonly rest: Buffer }

/** The message in a frame without options or extension headers. */
export function dnsOf(frame: Uint8Array): Read {
  const data = Buffer.from(frame).subarray(frame[12] === 0x86 ? 62 : 42);
  return { id: data.readUInt16BE(0), flags: data.readUInt16BE(2), rcode: data[3]! & 15, rest: data.subarray(4) };
}
