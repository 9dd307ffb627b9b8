// Flows from a file instead of a server, JSON lines or what `weir record` wrote: the same filters, times and numbers, applied here.
import { createReadStream } from 'node:fs';
import { ConfigError, messageOf } from '../agent/errors.ts';
import { fromJson } from '../hubble/json.ts';
import { flowMessage, getFlowsResponseMessage } from '../hubble/proto.ts';
import { isPast, type Query } from '../hubble/query.ts';
import { isBinary, linesOf, readBlocks } from '../hubble/recording.ts';
import { compareTimes } from '../hubble/time.ts';
import type { Flow, GetFlowsResponse } from '../hubble/types.ts';

/** `path` "-" is standard input. What is no flow is told by `warn` and left out; so is the rest of a file that was cut. */
export async function readFlows(path: string, query: Query, receive: (response: GetFlowsResponse) => void | Promise<void>, warn: (text: string) => void): Promise<void> {
  const input = path === '-' ? process.stdin : createReadStream(path);
  const failed = new Promise<never>((_, reject) => {
    input.once('error', (error: Error) => { reject(new ConfigError(`read ${path}: ${error.message}`)); });
  });
  await Promise.race([failed, select(responsesOf(input as AsyncIterable<Buffer>, path, warn), query, receive)]);
}

/** Whichever of both forms it is: its first bytes say it. */
async function * responsesOf(input: AsyncIterable<Buffer>, path: string, warn: (text: string) => void): AsyncGenerator<GetFlowsResponse> {
  const chunks = input[Symbol.asyncIterator]();
  let start: Buffer = Buffer.alloc(0);
  while (start.length < 16) {
    const { value, done } = await chunks.next();
    if (done === true) break;
    start = Buffer.concat([start, value]);
  }
  const whole = async function * (): AsyncGenerator<Buffer> {
    yield start;
    yield * { [Symbol.asyncIterator]: () => chunks };
  };
  yield * isBinary(start) ? unpack(whole(), path, warn) : parse(whole(), path, warn);
}

async function * unpack(chunks: AsyncIterable<Buffer>, path: string, warn: (text: string) => void): AsyncGenerator<GetFlowsResponse> {
  let number = 0;
  for await (const read of readBlocks(chunks)) {
    if ('cut' in read) { warn(cutText(path, number, read.cut)); return; }
    number += 1;
    yield read.response;
  }
}

const cutText = (path: string, number: number, why: string): string => `${path}: read up to message ${number}: ${why}\n`;

async function * parse(chunks: AsyncIterable<Buffer>, path: string, warn: (text: string) => void): AsyncGenerator<GetFlowsResponse> {
  let number = 0;
  for await (const { text, whole, tooLong } of linesOf(chunks)) {
    number += 1;
    if (tooLong) warn(`${path}:${number}: no flow: the line is too long\n`);
    if (text.trim() === '') continue;
    try {
      yield responseOf(JSON.parse(text));
    } catch (error) {
      warn(whole ? `${path}:${number}: no flow: ${messageOf(error)}\n` : cutText(path, number - 1, 'it was cut there'));
    }
  }
}

/** A response of the observer, or a bare flow, as older clients wrote them. */
function responseOf(json: unknown): GetFlowsResponse {
  const isResponse = typeof json === 'object' && json !== null && ['flow', 'lost_events', 'node_status'].some((field) => field in json);
  if (isResponse) return fromJson<GetFlowsResponse>(getFlowsResponseMessage, json, true);
  const flow = fromJson<Flow>(flowMessage, json, true);
  return { flow, ...(flow.node_name !== undefined && { node_name: flow.node_name }), ...(flow.time && { time: flow.time }) };
}

async function select(responses: AsyncIterable<GetFlowsResponse>, query: Query, receive: (response: GetFlowsResponse) => void | Promise<void>): Promise<void> {
  const fromEnd = query.number > 0 && !query.first && query.since === undefined;
  const last: GetFlowsResponse[] = [];
  let flows = 0;
  for await (const response of responses) {
    const time = response.flow?.time ?? response.time;
    if (query.since !== undefined && time != null && compareTimes(time, query.since) < 0) continue;
    if (isPast(query, time)) break;
    if (response.flow != null) {
      if (!query.matches(response.flow)) continue;
      flows += 1;
    }
    const masked = query.mask !== undefined && response.flow != null ? { ...response, flow: query.mask(response.flow) } : response;
    if (!fromEnd) await receive(masked);
    else {
      last.push(masked);
      if (response.flow != null && flows > query.number) last.splice(0, last.findIndex(({ flow }) => flow != null) + 1);
    }
    if (query.first && query.number > 0 && flows >= query.number) break;
  }
  for (const response of last) await receive(response);
}
