// Flows in a file, in two forms: a line of JSON each, or blocks of the messages as they travel, compressed (about a tenth of the size).
// Either may be cut anywhere: a block says its length and its checksum, so that a reader takes what is whole and knows that it ends there.
import { crc32, deflateRawSync, inflateRawSync } from 'node:zlib';
import { toJson } from './json.ts';
import { encode, getFlowsResponseMessage } from './proto.ts';
import type { GetFlowsResponse } from './types.ts';

export const recordingForms = ['json', 'binary'] as const;
export type RecordingForm = typeof recordingForms[number];

/** At the beginning of a binary one; the last byte is the version of what follows. */
const magic = Buffer.from('weirflow\u0001');
/** Before each block: bytes that follow, their checksum, flows and other messages in them. */
const headBytes = 12;
/** So much is compressed at once; a block is never larger than this and one message. */
export const blockBytes = 1 << 16;
/** Nothing that we wrote is larger: a length above it is no length. */
const maxBlockBytes = 16 << 20;

export const beginning = (form: RecordingForm): Buffer => (form === 'binary' ? magic : Buffer.alloc(0));
export const isBinary = (start: Buffer): boolean => start.subarray(0, magic.length).equals(magic);

/** One message as it waits for its block. */
export function entryOf(form: RecordingForm, response: GetFlowsResponse): Buffer {
  if (form === 'json') return Buffer.from(`${JSON.stringify(toJson(getFlowsResponseMessage, response))}\n`);
  const message = encode(getFlowsResponseMessage, response);
  const length = Buffer.alloc(4);
  length.writeUInt32LE(message.length);
  return Buffer.concat([length, message]);
}

export function blockOf(form: RecordingForm, entries: readonly Buffer[]): Buffer {
  const content = Buffer.concat(entries);
  if (form === 'json') return content;
  const packed = deflateRawSync(content);
  const head = Buffer.alloc(headBytes);
  head.writeUInt32LE(packed.length, 0);
  head.writeUInt32LE(crc32(packed), 4);
  head.writeUInt32LE(entries.length, 8);
  return Buffer.concat([head, packed]);
}

/** What a reader meets. `cut`: the file ends in the middle of something, or is not what was written from there on. */
export type Read = { readonly response: GetFlowsResponse } | { readonly cut: string };

/** Of a binary one, from its beginning. */
export async function * readBlocks(chunks: AsyncIterable<Buffer>): AsyncGenerator<Read> {
  let waiting: Buffer = Buffer.alloc(0);
  let needed = magic.length + headBytes;
  let at = magic.length;
  for await (const chunk of chunks) {
    waiting = Buffer.concat([waiting, chunk]);
    while (waiting.length >= needed) {
      const length = waiting.readUInt32LE(at);
      if (length > maxBlockBytes) { yield { cut: 'what follows is no block' }; return; }
      needed = at + headBytes + length;
      if (waiting.length < needed) break;
      const block = unpack(waiting.subarray(at + headBytes, needed), waiting.readUInt32LE(at + 4));
      if (block === undefined) { yield { cut: 'what follows is damaged' }; return; }
      yield * block;
      waiting = waiting.subarray(needed);
      [at, needed] = [0, headBytes];
    }
  }
  if (waiting.length > at) yield { cut: 'it was cut there' };
}

function unpack(packed: Buffer, checksum: number): Read[] | undefined {
  if (crc32(packed) !== checksum) return undefined;
  const content = inflateRawSync(packed, { maxOutputLength: maxBlockBytes });
  const read: Read[] = [];
  for (let at = 0; at < content.length;) {
    const end = at + 4 + content.readUInt32LE(at);
    read.push({ response: getFlowsResponseMessage.decode(content.subarray(at + 4, end)) as GetFlowsResponse });
    at = end;
  }
  return read;
}

/** Longer ones are no flow: they are passed over. */
const maxLineBytes = 4 << 20;

export interface Line { readonly text: string; /** False: the file ends in it. */ readonly whole: boolean; readonly tooLong: boolean }

export async function * linesOf(chunks: AsyncIterable<Buffer>): AsyncGenerator<Line> {
  let parts: Buffer[] = [];
  let bytes = 0;
  const take = (part: Buffer): void => {
    bytes += part.length;
    if (bytes <= maxLineBytes) parts.push(part);
  };
  const lineOf = (whole: boolean): Line => {
    const line = { text: bytes > maxLineBytes ? '' : Buffer.concat(parts).toString(), whole, tooLong: bytes > maxLineBytes };
    [parts, bytes] = [[], 0];
    return line;
  };
  for await (const chunk of chunks) {
    let from = 0;
    for (let end = chunk.indexOf(0x0a); end >= 0; end = chunk.indexOf(0x0a, from)) {
      take(chunk.subarray(from, end));
      yield lineOf(true);
      from = end + 1;
    }
    if (from < chunk.length) take(chunk.subarray(from));
  }
  if (bytes > 0) yield lineOf(false);
}
