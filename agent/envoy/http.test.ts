// What clients may try with HTTP, byte by byte, against the real Envoy: nothing that a rule does not allow reaches the server, and what
// reaches it is what the rule has seen.
import { once } from 'node:events';
import http2 from 'node:http2';
import net from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { http1, mapOf, setOf } from './testing-sets.ts';
import { haveEnvoy, lacking, startBench, type Bench } from './testing.ts';

const only = haveEnvoy ? describe : describe.skip;
const quietMs = 120;
const closed = async (socket: net.Socket): Promise<void> => new Promise((resolve) => { socket.on('close', () => { resolve(); }); });

let bench: Bench;
beforeAll(async () => {
  if (!haveEnvoy) return;
  bench = await startBench('http');
  await bench.proxy.serve(mapOf(
    setOf('see', http1({})), setOf('path', http1({ path: '/public(/.*)?' })), setOf('host', http1({ host: 'example\\.com' })), setOf('underscore', http1({ host: 'my_host\\.com' })), setOf('token', http1({ headers: [{ name: 'x-token', value: 's' }] })),
    setOf('change', http1({ path: '/m', mismatches: [{ name: 'x-add', value: '1', action: 'ADD' }, { name: 'x-del', value: '1', action: 'DELETE' }, { name: 'x-rep', value: '1', action: 'REPLACE' }] })),
  ));
});
afterAll(async () => { await bench?.stop(); });

/** Sends bytes as they are; what came back until it was quiet for a while or closed. */
async function raw(set: string, text: string): Promise<string> {
  const socket = net.connect(bench.proxy.portOf(set), '127.0.0.1');
  let got = '';
  socket.on('error', () => undefined).on('data', (chunk) => { got += chunk.toString('latin1'); });
  socket.write(text, 'latin1');
  await Promise.race([closed(socket), new Promise((resolve) => { setTimeout(resolve, quietMs).unref(); })]);
  for (let before = -1; before !== got.length || got === '';) {
    before = got.length;
    if (socket.destroyed) break;
    await new Promise((resolve) => { setTimeout(resolve, quietMs); });
  }
  socket.destroy();
  return got;
}

const codes = (answer: string): number[] => [...answer.matchAll(/HTTP\/1\.[01] (\d{3})/g)].map(([, code]) => Number(code));
const request = (line: string, ...headers: readonly string[]): string => [line, 'Host: a', ...headers, '', ''].join('\r\n');
const get = (path: string, ...headers: readonly string[]): string => request(`GET ${path} HTTP/1.1`, ...headers);
const chunked = 'Transfer-Encoding: chunked';

/** `head`: it may have gone on before the body turned out to be none; its connection to the server ends then. */
type Reached = readonly string[] | 'head';

only(`requests${lacking}`, () => {
  test.each<{ name: string; set: string; text: string; codes: readonly number[]; reached?: Reached }>([
    { name: 'a path that is allowed', set: 'path', text: get('/public/a?b=%2f'), codes: [200], reached: ['/public/a?b=%2f'] },
    { name: 'dots', set: 'path', text: get('/public/../secret'), codes: [403] },
    { name: 'escaped dots', set: 'path', text: get('/public/%2e%2E/secret'), codes: [403] },
    { name: 'an escaped slash', set: 'path', text: get('/public/..%2fsecret'), codes: [403] },
    { name: 'an escaped slash where no path is asked for', set: 'see', text: get('/a%2Fb'), codes: [200], reached: ['/a%2Fb'] },
    { name: 'a slash that is escaped twice', set: 'path', text: get('/public/..%252fsecret'), codes: [403] },
    { name: 'a backslash', set: 'path', text: get('/public/..\\secret'), codes: [403] },
    { name: 'an escaped backslash', set: 'path', text: get('/public/..%5Csecret'), codes: [403] },
    { name: 'dots with a parameter', set: 'path', text: get('/public/..;/secret'), codes: [403] },
    { name: 'dots with a parameter that has a value', set: 'path', text: get('/public/..;a=b/secret'), codes: [403] },
    { name: 'dots with an escaped parameter', set: 'path', text: get('/public/..%3b/secret'), codes: [403] },
    { name: 'dots behind a parameter', set: 'path', text: get('/public;a=b/../secret'), codes: [403] },
    { name: 'dots, one of them escaped', set: 'path', text: get('/public/.%2e/secret'), codes: [403] },
    { name: 'dots in absolute form', set: 'path', text: get('http://a/public/../secret'), codes: [403] },
    { name: 'a space in the path', set: 'path', text: get('/public /secret'), codes: [400] },
    { name: 'slashes are merged, for the server too', set: 'path', text: get('//public//a'), codes: [200], reached: ['/public/a'] },
    { name: 'another case', set: 'path', text: get('/PUBLIC'), codes: [403] },
    { name: 'a NUL', set: 'path', text: get('/public/%00'), codes: [400] },
    { name: 'a fragment', set: 'path', text: get('/secret#/public/'), codes: [400] },
    { name: 'two in one packet', set: 'path', text: get('/public') + get('/secret'), codes: [200, 403], reached: ['/public'] },
    { name: 'absolute form: its host counts', set: 'host', text: get('http://example.com/x'), codes: [200], reached: ['/x'] },
    { name: 'absolute form: the Host header does not', set: 'host', text: 'GET http://other.com/x HTTP/1.1\r\nHost: example.com\r\n\r\n', codes: [403] },
    { name: 'absolute form: not who stands before the host', set: 'host', text: get('http://example.com@other.com/x'), codes: [403] },
    { name: 'a host with an underscore', set: 'underscore', text: 'GET /x HTTP/1.1\r\nHost: my_host.com\r\n\r\n', codes: [200], reached: ['/x'] },
    { name: 'a host with a dash in its place', set: 'underscore', text: 'GET /x HTTP/1.1\r\nHost: my-host.com\r\n\r\n', codes: [403] },
    { name: 'two hosts', set: 'host', text: 'GET /x HTTP/1.1\r\nHost: example.com\r\nHost: other.com\r\n\r\n', codes: [403] },
    { name: 'a host with a port is another', set: 'host', text: 'GET /x HTTP/1.1\r\nHost: example.com:80\r\n\r\n', codes: [403] },
    { name: 'a host in another case is another', set: 'host', text: 'GET /x HTTP/1.1\r\nHost: EXAMPLE.com\r\n\r\n', codes: [403] },
    { name: 'no host', set: 'see', text: 'GET /x HTTP/1.1\r\n\r\n', codes: [400] },
    { name: 'a header', set: 'token', text: get('/x', 'X-Token: s'), codes: [200], reached: ['/x'] },
    { name: 'a header with an underscore', set: 'token', text: get('/x', 'X_Token: s'), codes: [403] },
    { name: 'a header twice', set: 'token', text: get('/x', 'X-Token: s', 'X-Token: t'), codes: [403] },
    { name: 'HTTP/1.0', set: 'see', text: request('GET /x HTTP/1.0'), codes: [200], reached: ['/x'] },
    { name: 'CONNECT', set: 'see', text: request('CONNECT b:80 HTTP/1.1'), codes: [403] },
    { name: 'CL.TE', set: 'see', text: `${request('POST /x HTTP/1.1', 'Content-Length: 6', chunked)}0\r\n\r\n${get('/y')}`, codes: [400] },
    { name: 'TE.CL', set: 'see', text: `${request('POST /x HTTP/1.1', chunked, 'Content-Length: 4')}1c\r\n${request('GET /y HTTP/1.1')}\r\n0\r\n\r\n`, codes: [400] },
    { name: 'TE.TE: a coding that is none behind', set: 'see', text: `${request('POST /x HTTP/1.1', chunked, 'Transfer-Encoding: x')}0\r\n\r\n${get('/y')}`, codes: [501] },
    { name: 'TE.TE: chunked, and the same as itself', set: 'see', text: `${request('POST /x HTTP/1.1', 'Transfer-Encoding: chunked, identity')}0\r\n\r\n${get('/y')}`, codes: [501] },
    { name: 'a coding behind a vertical tab', set: 'see', text: `${request('POST /x HTTP/1.1', 'Transfer-Encoding: \x0bchunked')}0\r\n\r\n`, codes: [400] },
    { name: 'a length that leaves a request over', set: 'path', text: `${request('POST /public HTTP/1.1', 'Content-Length: 2')}ab${get('/secret')}`, codes: [200, 403], reached: ['/public'] },
    { name: 'two lengths', set: 'see', text: `${request('POST /x HTTP/1.1', 'Content-Length: 6', 'Content-Length: 5')}abcdef`, codes: [400] },
    { name: 'a length with a sign', set: 'see', text: `${request('POST /x HTTP/1.1', 'Content-Length: +6')}abcdef`, codes: [400] },
    { name: 'another transfer coding', set: 'see', text: `${request('POST /x HTTP/1.1', 'Transfer-Encoding: xchunked')}0\r\n\r\n`, codes: [501] },
    { name: 'a space before the colon', set: 'see', text: `${request('POST /x HTTP/1.1', 'Transfer-Encoding : chunked')}0\r\n\r\n`, codes: [400] },
    { name: 'a chunk that is none', set: 'see', text: `${request('POST /x HTTP/1.1', chunked)}zz\r\nab\r\n0\r\n\r\n`, codes: [400], reached: 'head' },
    { name: 'a chunk of 17 digits', set: 'see', text: `${request('POST /x HTTP/1.1', chunked)}10000000000000001\r\na\r\n0\r\n\r\n`, codes: [400], reached: 'head' },
    { name: 'a chunk in C\'s way', set: 'see', text: `${request('POST /x HTTP/1.1', chunked)}0x2\r\nab\r\n0\r\n\r\n`, codes: [400], reached: 'head' },
    { name: 'a chunk below nothing', set: 'see', text: `${request('POST /x HTTP/1.1', chunked)}-2\r\nab\r\n0\r\n\r\n`, codes: [400], reached: 'head' },
    { name: 'a header that goes on in the next line', set: 'token', text: get('/x', 'X-Token:', ' s'), codes: [200], reached: ['/x'] },
    { name: 'a NUL in a header', set: 'see', text: get('/x', 'X: a\0b'), codes: [400] },
    { name: 'an upgrade to HTTP/2: none', set: 'path', text: get('/public', 'Connection: Upgrade, HTTP2-Settings', 'Upgrade: h2c', 'HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA'), codes: [200], reached: ['/public'] },
    { name: 'chunks without CR', set: 'see', text: `${request('POST /x HTTP/1.1', chunked)}2\nab\n0\n\n`, codes: [400], reached: 'head' },
    { name: 'headers of 62 KiB', set: 'see', text: get('/x', `X: ${'a'.repeat(63_000)}`), codes: [431] },
    { name: '300 headers', set: 'see', text: get('/x', ...Array.from({ length: 300 }, () => 'X: a')), codes: [431] },
    { name: 'what is no HTTP', set: 'see', text: '\x16\x03\x01\x02\x00\x01\r\n\r\n', codes: [400] },
  ])('$name', async ({ set, text, codes: expected, reached = [] }) => {
    const before = bench.requests.length;
    expect(codes(await raw(set, text))).toEqual(expected);
    if (reached !== 'head') expect(bench.requests.slice(before).map(({ url }) => url)).toEqual(reached);
  });

  test('the server gets what the client sent and one header more', async () => {
    await raw('see', get('/x', 'X-Forwarded-For: 9.9.9.9', 'X-Request-Id: 1', 'traceparent: 00-1'));
    expect(bench.requests.at(-1)!.rawHeaders).toEqual(['host', 'a', 'x-forwarded-for', '9.9.9.9', 'x-request-id', '1', 'traceparent', '00-1', 'x-forwarded-proto', 'http']);
  });
  test('what is no line of its own to Envoy is none to the server', async () => {
    await raw('token', get('/x', 'X-Token:', ' s', 'X: a\rX-Other: b'));
    expect(bench.requests.at(-1)!.rawHeaders).toEqual(['host', 'a', 'x-token', 's', 'x', 'aX-Other: b', 'x-forwarded-proto', 'http']);
  });
  test('headers that a rule changes, also under the names that servers take for the same', async () => {
    await raw('change', get('/m', 'x-del: 2', 'x-rep: 2', 'x_rep: 3'));
    expect(bench.requests.at(-1)!.headers).toMatchObject({ 'x-add': '1', 'x-rep': '1' });
    expect(Object.keys(bench.requests.at(-1)!.headers).filter((name) => /del|_/.test(name))).toEqual([]);
    await raw('change', get('/m', 'x-add: 1', 'x-del: 1', 'x-rep: 1'));
    expect(bench.requests.at(-1)!.headers).toMatchObject({ 'x-add': '1', 'x-del': '1', 'x-rep': '1' });
  });
});

only(`connections${lacking}`, () => {
  test('headers that do not come to an end: closed after 10 s', async () => {
    const socket = net.connect(bench.proxy.portOf('see'), '127.0.0.1');
    const begunMs = performance.now();
    const drip = setInterval(() => { socket.write('a'); }, 500);
    socket.on('error', () => { clearInterval(drip); }).resume();
    socket.write('GET /x HTTP/1.1\r\nX: ');
    await closed(socket);
    clearInterval(drip);
    expect(performance.now() - begunMs).toBeGreaterThan(8_000);
    expect(performance.now() - begunMs).toBeLessThan(20_000);
  }, 30_000);

  test('500 connections that drip, in headers and in bodies: others are served', async () => {
    const sockets = Array.from({ length: 500 }, (_, index) => {
      const socket = net.connect(bench.proxy.portOf('see'), '127.0.0.1').on('error', () => undefined).resume();
      socket.write(index % 2 === 0 ? 'GET /x HTTP/1.1\r\nX: ' : request('POST /x HTTP/1.1', 'Content-Length: 100000'));
      return socket;
    });
    const drip = setInterval(() => { for (const socket of sockets) socket.write('a'); }, 50);
    try {
      for (let time = 0; time < 10; time += 1) {
        const begunMs = performance.now();
        expect(codes(await raw('path', get('/public')))).toEqual([200]);
        expect(performance.now() - begunMs).toBeLessThan(2_000);
      }
    } finally {
      clearInterval(drip);
      for (const socket of sockets) socket.destroy();
    }
  }, 30_000);

  test('HTTP/2: streams that are reset at once do not keep others from being served', async () => {
    const session = http2.connect(`http://127.0.0.1:${bench.proxy.portOf('path')}`);
    session.on('error', () => undefined);
    for (let index = 0; index < 20_000 && !session.destroyed; index += 1) {
      const stream = session.request({ ':path': '/secret' });
      stream.on('error', () => undefined);
      stream.close(http2.constants.NGHTTP2_CANCEL);
      if (index % 500 === 0) await new Promise(setImmediate);
    }
    const begunMs = performance.now();
    expect(codes(await raw('path', get('/public')))).toEqual([200]);
    expect(performance.now() - begunMs).toBeLessThan(3_000);
    expect(bench.proxy.status().restarts).toBe(0);
    session.destroy();
  }, 30_000);

  test('WebSocket', async () => {
    const server = net.createServer((socket) => {
      socket.once('data', () => {
        socket.write('HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n');
        socket.on('data', (chunk) => { socket.write(`<${String(chunk)}>`); });
      }).on('error', () => undefined);
    });
    await new Promise<void>((resolve) => { server.listen(0, '127.0.0.1', resolve); });
    const own = await startBench('websocket', { changes: { upstream: { address: '127.0.0.1', port: (server.address() as net.AddressInfo).port } } });
    await own.proxy.serve(mapOf(setOf('ws', http1({ path: '/chat' }))));
    const socket = net.connect(own.proxy.portOf('ws'), '127.0.0.1');
    let got = '';
    socket.on('data', (chunk) => { got += String(chunk); });
    socket.write(get('/chat', 'Upgrade: websocket', 'Connection: Upgrade', 'Sec-WebSocket-Version: 13', 'Sec-WebSocket-Key: AAAA'));
    for (let tries = 0; !got.includes('\r\n\r\n') && tries < 200; tries += 1) await new Promise((resolve) => { setTimeout(resolve, 10); });
    socket.write('ping');
    for (let tries = 0; !got.includes('<ping>') && tries < 200; tries += 1) await new Promise((resolve) => { setTimeout(resolve, 10); });
    expect(got).toMatch(/^HTTP\/1\.1 101 [^]*<ping>$/);
    socket.destroy();
    await own.stop();
    await new Promise((resolve) => { server.close(resolve); });
  });

  test('HTTP/2 without TLS, with trailers, to a server that speaks it', async () => {
    const server = http2.createServer();
    server.on('stream', (stream, headers) => {
      stream.on('wantTrailers', () => { stream.sendTrailers({ 'grpc-status': '0' }); });
      stream.respond({ ':status': 200, 'content-type': 'application/grpc', 'x-path': headers[':path'] }, { waitForTrailers: true });
      stream.end('answer');
    });
    await new Promise<void>((resolve) => { server.listen(0, '127.0.0.1', resolve); });
    const own = await startBench('grpc', { changes: { upstream: { address: '127.0.0.1', port: (server.address() as net.AddressInfo).port } } });
    await own.proxy.serve(mapOf(setOf('grpc', http1({ path: '/svc/Allowed' }))));
    const session = http2.connect(`http://127.0.0.1:${own.proxy.portOf('grpc')}`);
    const call = async (path: string): Promise<unknown[]> => {
      const stream = session.request({ ':method': 'POST', ':path': path, 'content-type': 'application/grpc', te: 'trailers' });
      const got: unknown[] = [];
      stream.on('response', (headers) => { got.push(headers[':status'], headers['grpc-status']); }).on('trailers', (trailers) => { got.push(trailers['grpc-status']); });
      stream.end('ask');
      stream.resume();
      await once(stream, 'close');
      return got;
    };
    expect(await call('/svc/Allowed')).toEqual([200, undefined, '0']);
    // gRPC clients get their own form of 403.
    expect(await call('/svc/Other')).toEqual([200, '7']);
    session.destroy();
    await own.stop();
    await new Promise((resolve) => { server.close(resolve); });
  });
});
