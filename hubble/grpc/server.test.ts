// What clients of any make may send and want to see: bare HTTP/2 requests against the server, and calls of grpc-js.
import { mkdtempSync, rmSync } from 'node:fs';
import http2, { type IncomingHttpHeaders, type OutgoingHttpHeaders } from 'node:http2';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import grpc from '@grpc/grpc-js';
import { listenUnix } from '../listen.ts';
import type { Call } from './call.ts';
import { frameOf } from './frame.ts';
import { Gather } from './gather.ts';
import { GrpcServer, type Method } from './server.ts';
import { percentEncode, StatusError, timeoutMs } from './status.ts';

const bytes = (message: Buffer): Buffer => message;
const method = (name: string, requestStream = false, responseStream = false): Method<Buffer, Buffer> =>
  ({ path: `/test.Test/${name}`, requestStream, responseStream, requestDeserialize: bytes, responseSerialize: bytes });

let folder: string;
let server: GrpcServer;
let remove: () => void;
let session: http2.ClientHttp2Session;
/** Calls of Follow that are open, and how many ended. */
let following: Call<Buffer, Buffer>[];
let over: number;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'grpc-'));
  following = [];
  over = 0;
  server = new GrpcServer({ 'x-version': '7' });
  server.unary(method('Echo'), (request) => request);
  server.unary(method('Later'), async (request) => new Promise((resolve) => { setTimeout(resolve, 20, request); }));
  server.unary(method('Fails'), () => { throw new StatusError(5, 'no such thing: 100 % ä\n'); });
  server.unary(method('Bug'), () => { throw new TypeError('a bug'); });
  server.stream(method('Three', false, true), (call) => { for (const text of ['a', 'b', 'c']) call.write(Buffer.from(text)); call.end(); });
  server.stream(method('OneThenFails', false, true), (call) => { call.write(Buffer.from('a')); call.fail(9, 'enough'); });
  server.stream(method('Follow', false, true), (call) => { following.push(call as never); call.whenOver(() => { over += 1; }); });
  server.stream(method('Chat', true, true), (call, messages) => {
    messages.each = (message) => { call.write(message); };
    messages.ended = () => { call.end(); };
  });
  remove = await listenUnix(server, join(folder, 's.sock'));
  session = connect();
});
afterEach(() => {
  session.destroy();
  server.close();
  remove();
  rmSync(folder, { recursive: true });
});

const connect = (): http2.ClientHttp2Session => {
  const made = http2.connect('http://localhost', { createConnection: () => net.connect(join(folder, 's.sock')) });
  made.on('error', () => undefined);
  return made;
};

interface Answer { readonly headers: IncomingHttpHeaders; readonly trailers: IncomingHttpHeaders; readonly body: string; readonly rstCode: number }

const plain = { ':method': 'POST', 'content-type': 'application/grpc', te: 'trailers' };

/** Sends it as it is; `body` in pieces. */
async function ask(headers: OutgoingHttpHeaders, ...body: readonly Buffer[]): Promise<Answer> {
  const stream = session.request({ ...plain, ...headers });
  const answer = { headers: {}, trailers: {}, body: '', rstCode: 0 } as { -readonly [Key in keyof Answer]: Answer[Key] };
  stream.on('response', (got) => { answer.headers = got; });
  stream.on('trailers', (got) => { answer.trailers = got; });
  stream.on('data', (chunk: Buffer) => { answer.body += chunk.toString('latin1'); });
  stream.on('error', () => undefined);
  for (const piece of body) {
    stream.write(piece);
    await new Promise(setImmediate);
  }
  stream.end();
  await new Promise((resolve) => { stream.on('close', resolve); });
  answer.rstCode = stream.rstCode;
  return answer;
}

const statusOf = ({ headers, trailers }: Answer): string => {
  const of = headers['grpc-status'] === undefined ? trailers : headers;
  return `${String(of['grpc-status'])} ${decodeURIComponent(String(of['grpc-message'] ?? ''))}`.trim();
};

const x = frameOf(Buffer.from('x'));
const big = frameOf(Buffer.alloc(5 * 2 ** 20));

describe('requests', () => {
  test.each<{ name: string; headers: OutgoingHttpHeaders; body: readonly Buffer[]; status: string; got?: string }>([
    { name: 'one message', headers: { ':path': '/test.Test/Echo' }, body: [x], status: '0', got: 'x' },
    { name: 'an empty message', headers: { ':path': '/test.Test/Echo' }, body: [frameOf(Buffer.alloc(0))], status: '0', got: '' },
    { name: 'byte by byte', headers: { ':path': '/test.Test/Echo' }, body: [...x].map((byte) => Buffer.of(byte)), status: '0', got: 'x' },
    { name: 'an answer that takes its time', headers: { ':path': '/test.Test/Later' }, body: [x], status: '0', got: 'x' },
    { name: 'application/grpc+proto', headers: { ':path': '/test.Test/Echo', 'content-type': 'application/grpc+proto' }, body: [x], status: '0', got: 'x' },
    { name: 'encoding identity', headers: { ':path': '/test.Test/Echo', 'grpc-encoding': 'identity' }, body: [x], status: '0', got: 'x' },
    { name: 'an unknown method', headers: { ':path': '/test.Test/Nope' }, body: [x], status: '12 unknown method /test.Test/Nope' },
    { name: 'a status with what HTTP cannot carry', headers: { ':path': '/test.Test/Fails' }, body: [x], status: '5 no such thing: 100 % ä' },
    { name: 'a bug', headers: { ':path': '/test.Test/Bug' }, body: [x], status: '13 a bug' },
    { name: 'no message', headers: { ':path': '/test.Test/Echo' }, body: [], status: '13 no request' },
    { name: 'two messages', headers: { ':path': '/test.Test/Echo' }, body: [x, x], status: '13 more than one request' },
    { name: 'half a message', headers: { ':path': '/test.Test/Echo' }, body: [x.subarray(0, 5)], status: '13 the request ends within a message' },
    { name: 'half a header', headers: { ':path': '/test.Test/Echo' }, body: [x.subarray(0, 3)], status: '13 the request ends within a message' },
    { name: 'a compressed message', headers: { ':path': '/test.Test/Echo' }, body: [Buffer.of(1, 0, 0, 0, 1, 0x78)], status: '12 compressed messages are not taken' },
    { name: 'a flag that means nothing', headers: { ':path': '/test.Test/Echo' }, body: [Buffer.of(7, 0, 0, 0, 1, 0x78)], status: '13 a message begins with 7: neither compressed nor plain' },
    { name: 'a compression', headers: { ':path': '/test.Test/Echo', 'grpc-encoding': 'gzip' }, body: [x], status: '12 compression gzip is not taken' },
    { name: 'a message that is too long', headers: { ':path': '/test.Test/Echo' }, body: [big], status: '8 a message of 5242880 bytes: at most 4194304 are taken' },
    { name: 'a length that is too long', headers: { ':path': '/test.Test/Echo' }, body: [Buffer.of(0, 255, 255, 255, 255)], status: '8 a message of 4294967295 bytes: at most 4194304 are taken' },
    { name: 'a timeout that is none', headers: { ':path': '/test.Test/Echo', 'grpc-timeout': '1 second' }, body: [x], status: '13 grpc-timeout "1 second": expected up to 8 digits and a unit' },
    { name: 'a timeout of a thousand years', headers: { ':path': '/test.Test/Echo', 'grpc-timeout': '8760000H' }, body: [x], status: '0', got: 'x' },
    { name: 'a deadline', headers: { ':path': '/test.Test/Follow', 'grpc-timeout': '30m' }, body: [x], status: '4 deadline exceeded' },
    { name: 'a stream', headers: { ':path': '/test.Test/Three' }, body: [x], status: '0', got: 'abc' },
    { name: 'a stream that fails', headers: { ':path': '/test.Test/OneThenFails' }, body: [x], status: '9 enough', got: 'a' },
    { name: 'many to many', headers: { ':path': '/test.Test/Chat' }, body: [x, x, x], status: '0', got: 'xxx' },
  ])('$name', async ({ headers, body, status, got }) => {
    const answer = await ask(headers, ...body);
    expect(statusOf(answer)).toBe(status);
    expect(answer.headers).toMatchObject({ ':status': 200, 'content-type': 'application/grpc+proto', 'x-version': '7' });
    // Without a message the status is all: trailers alone.
    if (got === undefined) expect([answer.body, answer.rstCode]).toEqual(['', 0]);
    else expect(answer.body.replaceAll(/\0\0\0\0[\0\x01]/g, '')).toBe(got);
    expect(server.calls).toBe(0);
  });

  test.each([
    ['GET', { ':method': 'GET' }, 405], ['another content', { 'content-type': 'application/json' }, 415], ['grpc-web', { 'content-type': 'application/grpc-web' }, 415],
  ])('%s is no gRPC', async (_, headers, code) => {
    const answer = await ask({ ':path': '/test.Test/Echo', ...headers });
    expect(answer.headers[':status']).toBe(code);
  });

  test('headers that are all there is: no request', async () => {
    const stream = session.request({ ...plain, ':path': '/test.Test/Echo' }, { endStream: true });
    const headers = await new Promise<IncomingHttpHeaders>((resolve) => { stream.on('response', resolve); });
    expect(headers).toMatchObject({ 'grpc-status': '13', 'grpc-message': 'no request' });
    stream.resume();
    await new Promise((resolve) => { stream.on('close', resolve); });
  });

  test('1,000 calls at once over one connection', async () => {
    const answers = await Promise.all(Array.from({ length: 1_000 }, async () => ask({ ':path': '/test.Test/Later' }, x)));
    expect(answers.every((answer) => statusOf(answer) === '0')).toBe(true);
  });

  test.each([{ name: 'as HTTP/2 has it', windowBytes: undefined, settings: [65_535, 16_384] }, { name: 'more, for one that sends all the time', windowBytes: 1 << 20, settings: [1 << 20, 128 * 1024] }])('what a client may send ahead: $name', async ({ windowBytes, settings }) => {
    const other = new GrpcServer({}, windowBytes);
    const path = join(folder, 'window.s.sock');
    const removeOther = await listenUnix(other, path);
    const client = http2.connect('http://localhost', { createConnection: () => net.connect(path) });
    client.on('error', () => undefined);
    const { initialWindowSize, maxFrameSize } = await new Promise<http2.Settings>((resolve) => { client.once('remoteSettings', resolve); });
    expect([initialWindowSize, maxFrameSize]).toEqual(settings);
    client.destroy();
    removeOther();
    other.close();
  });
  test('an error of a listener is counted, and the server goes on', async () => {
    server.listener().emit('error', new Error('accept ECONNABORTED'));
    expect(server.refused).toBe(1);
    expect(statusOf(await ask({ ':path': '/test.Test/Echo' }, x))).toBe('0');
  });

  test('bytes that are no HTTP/2 harm nobody', async () => {
    const socket = net.connect(join(folder, 's.sock'));
    socket.on('error', () => undefined);
    socket.resume().write('GET / HTTP/1.1\r\n\r\n');
    await new Promise((resolve) => { socket.on('close', resolve); });
    expect(statusOf(await ask({ ':path': '/test.Test/Echo' }, x))).toBe('0');
  });
});

describe('streams', () => {
  const until = async (holds: () => boolean): Promise<void> => {
    for (let turn = 0; turn < 250 && !holds(); turn += 1) await new Promise((resolve) => { setTimeout(resolve, 20); });
    expect(holds()).toBe(true);
  };
  const client = (): grpc.Client => new grpc.Client(`unix://${join(folder, 's.sock')}`, grpc.credentials.createInsecure(), { 'grpc.use_local_subchannel_pool': 1 });
  const follow = (from: grpc.Client, options: grpc.CallOptions = {}): grpc.ClientReadableStream<Buffer> => {
    const call = from.makeServerStreamRequest('/test.Test/Follow', bytes, bytes, Buffer.from('x'), options);
    call.on('error', () => undefined);
    return call;
  };

  test('a client that cancels, one that goes away, one whose time is over', async () => {
    const [one, two] = [client(), client()];
    const cancelled = follow(one);
    follow(two);
    follow(one, { deadline: Date.now() + 2_000 });
    await until(() => following.length === 3);
    cancelled.cancel();
    await until(() => over >= 1);
    two.close();
    const raw = connect();
    raw.request({ ...plain, ':path': '/test.Test/Follow' }).end(x);
    await until(() => following.length === 4);
    raw.destroy();
    await until(() => over >= 3);
    cancelled.cancel();
    await until(() => server.calls <= 1);
    one.close();
    for (const call of following) expect(call.write(Buffer.from('y'))).toBe(true); // to nobody
  });

  test('headers come before the first message; messages in one write come one by one', async () => {
    const one = client();
    const call = follow(one);
    const got: string[] = [];
    call.on('data', (message: Buffer) => { got.push(message.toString()); });
    const metadata = await new Promise<grpc.Metadata>((resolve) => { call.on('metadata', resolve); });
    expect(metadata.get('x-version')).toEqual(['7']);
    const gather = new Gather(following[0]!);
    const want = Array.from({ length: 3_000 }, (_, index) => `message ${index} ${'x'.repeat(index % 50)}`);
    for (const text of want) gather.add(Buffer.from(text));
    gather.add(Buffer.alloc(100_000, 'y'));
    gather.flush();
    following[0]!.end();
    await new Promise((resolve) => { call.on('end', resolve); });
    expect(got.slice(0, -1)).toEqual(want);
    expect(got.at(-1)).toHaveLength(100_000);
    one.close();
  });

  test('who does not read is waited for, and goes on; who writes without waiting is ended', async () => {
    const one = client();
    const call = follow(one);
    let got = 0;
    call.on('data', () => {
      got += 1;
      if (got === 1) call.pause();
    });
    await until(() => following.length === 1);
    const message = Buffer.alloc(16_000, 'z');
    let written = 0;
    while (following[0]!.write(message)) {
      written += 1;
      await new Promise(setImmediate);
      expect(written).toBeLessThan(1_000);
    }
    written += 1;
    let drained = false;
    following[0]!.whenDrained(() => { drained = true; });
    await new Promise((resolve) => { setTimeout(resolve, 50); });
    expect(drained).toBe(false);
    call.resume();
    await until(() => drained && got === written);
    call.pause();
    for (let count = 0; count < 2_000 && over === 0; count += 1) {
      following[0]!.write(message);
      if (count % 100 === 0) await new Promise(setImmediate);
    }
    await until(() => over === 1);
    one.close();
  });

  test('close ends every call', async () => {
    const one = client();
    const call = follow(one);
    await until(() => following.length === 1);
    const ended = new Promise<grpc.ServiceError>((resolve) => { call.on('error', resolve); });
    server.close();
    expect((await ended).code).toBe(grpc.status.UNAVAILABLE);
    expect([over, server.calls]).toEqual([1, 0]);
    one.close();
  });
});

test.each([['1H', 3_600_000], ['2M', 120_000], ['3S', 3_000], ['4m', 4], ['5000u', 5], ['1n', 1e-6]])('timeout %s', (text, ms) => { expect(timeoutMs(text)).toBeCloseTo(ms, 9); });
test.each([['plain', 'plain'], ['100 %', '100 %25'], ['ä\n', '%C3%A4%0A'], ['', '']])('message %j', (text, encoded) => { expect(percentEncode(text)).toBe(encoded); });
