// What clients may try with HTTP/2, frame by frame, against the real Envoy: what no rule allows does not reach the server, and who floods is closed
// while others are served.
import http2 from 'node:http2';
import net from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { http1, mapOf, setOf } from './testing-sets.ts';
import { haveEnvoy, lacking, startBench, type Bench } from './testing.ts';

const only = haveEnvoy ? describe : describe.skip;
const type = { DATA: 0, HEADERS: 1, RST_STREAM: 3, SETTINGS: 4, PING: 6, CONTINUATION: 9 } as const;
const flag = { END_STREAM: 1, END_HEADERS: 4 } as const;
const both = flag.END_STREAM | flag.END_HEADERS;
const preface = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');

function frame(kind: number, flags: number, stream: number, payload: Buffer): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head.writeUInt8(kind, 3);
  head.writeUInt8(flags, 4);
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

/** RFC 7541, 5.2, without Huffman. */
function hpackText(text: string): Buffer {
  const bytes = [0x7f];
  let rest = text.length - 0x7f;
  if (rest < 0) return Buffer.concat([Buffer.from([text.length]), Buffer.from(text, 'latin1')]);
  for (; rest >= 128; rest >>>= 7) bytes.push(rest % 128 + 128);
  return Buffer.concat([Buffer.from([...bytes, rest]), Buffer.from(text, 'latin1')]);
}
/** Literal fields (6.2.2), as they are given; `indexed`: into the table of both sides (6.2.1). */
const block = (...fields: readonly (readonly [name: string, value: string])[]): Buffer => Buffer.concat(fields.map(([name, value]) => Buffer.concat([Buffer.from([0]), hpackText(name), hpackText(value)])));
const indexed = (name: string, value: string): Buffer => Buffer.concat([Buffer.from([0x40]), hpackText(name), hpackText(value)]);
const asked = (path: string, ...more: readonly (readonly [string, string])[]): Buffer => block([':method', 'GET'], [':scheme', 'http'], [':path', path], [':authority', 'a'], ...more);

let bench: Bench;
let server: http2.Http2Server;
const reached: string[] = [];
beforeAll(async () => {
  if (!haveEnvoy) return;
  server = http2.createServer().on('stream', (stream, headers) => {
    reached.push(`${headers[':authority']} ${headers[':path']}`);
    stream.on('error', () => undefined);
    stream.respond({ ':status': 200 });
    stream.end('hello');
  });
  await new Promise<void>((resolve) => { server.listen(0, '127.0.0.1', resolve); });
  bench = await startBench('http2', { changes: { upstream: { address: '127.0.0.1', port: (server.address() as net.AddressInfo).port } } });
  await bench.proxy.serve(mapOf(setOf('path', http1({ path: '/public(/.*)?' })), setOf('host', http1({ host: 'example\\.com' }))));
});
afterAll(async () => {
  if (!haveEnvoy) return;
  await bench.stop();
  server.close();
});

interface Told { readonly answered: number; readonly reset: number; readonly closed: boolean }

/** Envoy closes a second after it has ended a connection. */
const closedMs = 3_000;

/** What came back until it was quiet for a while after an answer, or closed. */
async function send(set: string, ...frames: readonly Buffer[]): Promise<Told> {
  const socket = net.connect(bench.proxy.portOf(set), '127.0.0.1');
  let got = Buffer.alloc(0);
  let heardMs = performance.now();
  const begunMs = heardMs;
  const told = (): Told => {
    const kinds: number[] = [];
    for (let at = 0; at + 9 <= got.length; at += 9 + got.readUIntBE(at, 3)) kinds.push(got[at + 3]!);
    const count = (kind: number): number => kinds.filter((one) => one === kind).length;
    return { answered: count(type.HEADERS), reset: count(type.RST_STREAM), closed: socket.closed };
  };
  const over = (): boolean => {
    const { answered, reset, closed } = told();
    return closed || performance.now() - (answered + reset > 0 ? heardMs + 250 : begunMs + closedMs) > 0;
  };
  socket.on('error', () => undefined).on('data', (chunk: Buffer) => {
    got = Buffer.concat([got, chunk]);
    heardMs = performance.now();
  });
  socket.write(Buffer.concat([preface, frame(type.SETTINGS, 0, 0, Buffer.alloc(0)), ...frames]));
  while (!over()) await new Promise((resolve) => { setTimeout(resolve, 20); });
  const end = told();
  socket.destroy();
  return end;
}

const headers = (payload: Buffer, flags: number = both): Buffer => frame(type.HEADERS, flags, 1, payload);

only(`HTTP/2${lacking}`, () => {
  test.each<{ name: string; set?: string; frames: readonly Buffer[]; reached?: readonly string[] }>([
    { name: 'a path that is allowed', frames: [headers(asked('/public/a'))], reached: ['a /public/a'] },
    { name: 'dots', frames: [headers(asked('/public/../secret'))] },
    { name: 'dots with a parameter', frames: [headers(asked('/public/..;/secret'))] },
    { name: 'an escaped slash', frames: [headers(asked('/public/..%2fsecret'))] },
    { name: 'slashes are merged, for the server too', frames: [headers(asked('//public//a'))], reached: ['a /public/a'] },
    { name: 'two paths', frames: [headers(asked('/public', [':path', '/secret']))] },
    { name: 'two paths, the other first', frames: [headers(asked('/secret', [':path', '/public']))] },
    { name: 'a path that is a URL', frames: [headers(asked('http://a/public'))] },
    { name: 'a path with a space and a version', frames: [headers(asked('/public HTTP/1.1\r\nHost: b\r\n\r\nGET /secret'))] },
    { name: 'a header with a line of its own', frames: [headers(asked('/public', ['x', 'a\r\nx-token: s']))] },
    { name: 'a header in capitals', frames: [headers(asked('/public', ['X-Token', 's']))] },
    { name: 'a header of connections', frames: [headers(asked('/public', ['transfer-encoding', 'chunked']))] },
    { name: 'a pseudo-header behind others', frames: [headers(block([':method', 'GET'], ['x', 'a'], [':scheme', 'http'], [':path', '/public'], [':authority', 'a']))] },
    { name: 'no path', frames: [headers(block([':method', 'GET'], [':scheme', 'http'], [':authority', 'a']))] },
    { name: 'CONNECT', frames: [headers(block([':method', 'CONNECT'], [':authority', 'b:80']))] },
    { name: 'the authority counts, not a host beside it', set: 'host', frames: [headers(asked('/x', ['host', 'example.com']))] },
    { name: 'a host in place of the authority', set: 'host', frames: [headers(block([':method', 'GET'], [':scheme', 'http'], [':path', '/x'], ['host', 'example.com']))], reached: ['example.com /x'] },
    { name: 'an authority in another case', set: 'host', frames: [headers(block([':method', 'GET'], [':scheme', 'http'], [':path', '/x'], [':authority', 'EXAMPLE.com']))] },
  ])('$name', async ({ set = 'path', frames, reached: expected = [] }) => {
    const before = reached.length;
    const { answered, reset, closed } = await send(set, ...frames);
    expect(reached.slice(before)).toEqual(expected);
    // Nobody is left waiting.
    expect(answered + reset > 0 || closed).toBe(true);
  });

  const bomb = (): Buffer[] => {
    const value = indexed('x-bomb', 'a'.repeat(4_000));
    return [headers(Buffer.concat([asked('/public'), value, Buffer.alloc(16_000 - value.length, 0x80 + 62)]), flag.END_STREAM | flag.END_HEADERS)];
  };
  /** `refused`: that one request, its connection goes on; all else ends the connection. */
  test.each<{ name: string; refused?: true; frames: () => readonly Buffer[] }>([
    { name: 'headers of 62 MB in a frame of 16 KB', refused: true, frames: bomb },
    { name: 'headers that go on for 1,000 frames', refused: true, frames: () => [headers(asked('/public'), flag.END_STREAM), ...Array.from({ length: 1_000 }, () => frame(type.CONTINUATION, 0, 1, block(['x', 'a'.repeat(16_000)])))] },
    { name: 'frames of headers that are empty, 100,000 of them', frames: () => [headers(asked('/public'), flag.END_STREAM), ...Array.from({ length: 100_000 }, () => frame(type.CONTINUATION, 0, 1, Buffer.alloc(0)))] },
    { name: '100,000 pings', frames: () => Array.from({ length: 100_000 }, () => frame(type.PING, 0, 0, Buffer.alloc(8))) },
    { name: '100,000 settings', frames: () => Array.from({ length: 100_000 }, () => frame(type.SETTINGS, 0, 0, Buffer.alloc(0))) },
    { name: '100,000 frames of data with nothing in them', frames: () => [headers(asked('/public'), flag.END_HEADERS), ...Array.from({ length: 100_000 }, () => frame(type.DATA, 0, 1, Buffer.alloc(0)))] },
  ])('a flood: $name', async ({ frames, refused }) => {
    const before = reached.length;
    const attack = send('path', ...frames());
    const other = http2.connect(`http://127.0.0.1:${bench.proxy.portOf('path')}`);
    const begunMs = performance.now();
    const stream = other.request({ ':path': '/public/other' });
    const status = await new Promise((resolve, reject) => { stream.on('response', ({ ':status': code }) => { resolve(code); }).on('error', reject); });
    expect(status).toBe(200);
    expect(performance.now() - begunMs).toBeLessThan(3_000);
    other.close();
    const { answered, reset, closed } = await attack;
    expect(refused === true ? answered + reset : closed).toBe(refused === true ? 1 : true);
    expect(reached.slice(before).filter((one) => !one.endsWith(' /public/other') && (refused === true || one !== 'a /public'))).toEqual([]);
    expect(bench.proxy.status().restarts).toBe(0);
  }, 30_000);
});
