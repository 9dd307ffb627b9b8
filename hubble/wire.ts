// Protobuf's wire format, written by hand where a flow a microsecond is the budget: varints, tags, parts that are copied.
import type protobuf from 'protobufjs';
import { encode, root } from './proto.ts';

const wireType = { varint: 0, bytes: 2 } as const;
const highest = 0x7fffffff;

/** The result is where the next byte goes. */
export function putVarint(bytes: Uint8Array, at: number, value: number): number {
  let next = at;
  let rest = value;
  while (rest > highest) {
    bytes[next] = (rest % 128) | 0x80;
    rest = Math.floor(rest / 128);
    next += 1;
  }
  while (rest > 0x7f) {
    bytes[next] = (rest & 0x7f) | 0x80;
    rest >>>= 7;
    next += 1;
  }
  bytes[next] = rest;
  return next + 1;
}

export function varintBytes(value: number): number {
  let [count, rest] = [1, value];
  while (rest > 0x7f) {
    rest = Math.floor(rest / 128);
    count += 1;
  }
  return count;
}

/** Shorter ones are copied faster byte by byte. */
const setBytes = 12;

export function put(bytes: Uint8Array, at: number, part: Uint8Array): number {
  const { length } = part;
  if (length > setBytes) bytes.set(part, at);
  else for (let index = 0; index < length; index += 1) bytes[at + index] = part[index]!;
  return at + length;
}

const varint = (value: number): Uint8Array => {
  const bytes = new Uint8Array(varintBytes(value));
  putVarint(bytes, 0, value);
  return bytes;
};

/** The tag of a field that is not repeated. */
export function tagOf(message: protobuf.Type, name: string): Uint8Array {
  const { id, type, resolvedType } = message.fields[name]!;
  const hasLength = type === 'string' || (resolvedType !== null && 'fields' in resolvedType);
  return varint((id << 3) | (hasLength ? wireType.bytes : wireType.varint));
}

/** Fields 1 to 15 have such a one. */
export function oneByteTag(message: protobuf.Type, name: string): number {
  const tag = tagOf(message, name);
  if (tag.length !== 1) throw new Error(`the tag of ${message.name}.${name} takes ${tag.length} bytes`);
  return tag[0]!;
}

/** A message as the field of another: tag, length, bytes. */
export function fieldOf(message: protobuf.Type, field: string, type: protobuf.Type, value: object): Uint8Array {
  const body = encode(type, value);
  return Buffer.concat([tagOf(message, field), varint(body.length), body]);
}

export const messageOf = (name: string): protobuf.Type => root.lookupType(name);
