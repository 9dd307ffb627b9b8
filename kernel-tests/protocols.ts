// Programs of Node's own for tests, in the network namespace of a workload: a server that speaks gRPC's frames over HTTP/2 without TLS and WebSocket
// over HTTP/1.1, one call, and a client with many streams that honours GOAWAY.
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';

const enter = (shimPid: number): string[] => [`--net=/proc/${shimPid}/ns/net`, process.execPath, '-e'];
/** A message of gRPC: not compressed, its length, itself. */
const framed = 'const framed = (text) => { const body = Buffer.from(text), head = Buffer.alloc(5); head.writeUInt32BE(body.length, 1); return Buffer.concat([head, body]); };';

const running = new Set<ChildProcess>();
/** Servers too, and what a failed test left. */
export const endPrograms = (): void => { for (const child of running) child.kill('SIGKILL'); };

function start(shimPid: number, code: string, ...args: string[]): ChildProcess {
  const child = spawn('nsenter', [...enter(shimPid), code, ...args], { stdio: ['pipe', 'pipe', 'inherit'] });
  running.add(child);
  child.once('close', () => { running.delete(child); });
  return child;
}

/** HTTP/2 at `h2`: each message of gRPC comes back with `<path>` before it, after `?wait=MS`; trailers end it. WebSocket at `ws`: texts come back with `<>` around them. */
export function serveProtocols(shimPid: number, h2: number, ws: number): void {
  start(shimPid, `
const http2 = require('node:http2'), http = require('node:http'), { createHash } = require('node:crypto');
${framed}
http2.createServer().on('stream', (stream, headers) => {
  const path = headers[':path'], wait = Number(/wait=(\\d+)/.exec(path)?.[1] ?? 0);
  stream.on('error', () => undefined).on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0', 'x-client': stream.session.socket.remoteAddress.replace('::ffff:', '') }));
  let rest = Buffer.alloc(0);
  stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
  stream.on('data', (chunk) => {
    rest = Buffer.concat([rest, chunk]);
    while (rest.length >= 5 && rest.length >= 5 + rest.readUInt32BE(1)) {
      const length = rest.readUInt32BE(1), text = rest.toString('utf8', 5, 5 + length);
      rest = rest.subarray(5 + length);
      setTimeout(() => { if (!stream.destroyed) stream.write(framed('<' + path + '>' + text)); }, wait);
    }
  }).on('end', () => setTimeout(() => { if (!stream.destroyed) stream.end(); }, wait + 1));
}).listen(Number(process.argv[1]), '::');
http.createServer().on('upgrade', (request, socket) => {
  const accept = createHash('sha1').update(request.headers['sec-websocket-key'] + '258EAFA5-E914-47DA-95CA-C5AB0DC85B11').digest('base64');
  socket.write('HTTP/1.1 101 Switching Protocols\\r\\nUpgrade: websocket\\r\\nConnection: Upgrade\\r\\nSec-WebSocket-Accept: ' + accept + '\\r\\n\\r\\n');
  let rest = Buffer.alloc(0);
  socket.on('error', () => undefined).on('data', (chunk) => {
    rest = Buffer.concat([rest, chunk]);
    while (rest.length >= 6 && rest.length >= 6 + (rest[1] & 127)) {
      const length = rest[1] & 127, opcode = rest[0] & 15, text = Buffer.from(rest.subarray(6, 6 + length).map((byte, index) => byte ^ rest[2 + index % 4])).toString();
      rest = rest.subarray(6 + length);
      if (opcode === 8) socket.end(Buffer.from([0x88, 0])); else { const answer = Buffer.from('<' + text + '>'); socket.write(Buffer.concat([Buffer.from([0x81, answer.length]), answer])); }
    }
  });
}).listen(Number(process.argv[2]), '::');
`, String(h2), String(ws));
}

function ask<Result>(shimPid: number, code: string, ...args: string[]): Result {
  const { stdout, stderr } = spawnSync('nsenter', [...enter(shimPid), code, ...args], { encoding: 'utf8' });
  if (stdout === '') throw new Error(stderr);
  return JSON.parse(stdout) as Result;
}

const authority = (address: string, port: number): string => `${address.includes(':') ? `[${address}]` : address}:${port}`;

/** `status`: HTTP's; `grpc`: gRPC's; `client`: whom the server saw. */
export interface Called { readonly status: number; readonly grpc: string; readonly got: readonly string[]; readonly client?: string; readonly error?: string }

/** All calls at once over one connection, each with its messages, which it sends one after the other's answer. */
export const call = (shimPid: number, address: string, port: number, calls: readonly { readonly path: string; readonly messages: readonly string[] }[]): Called[] => ask(shimPid, `
const http2 = require('node:http2');
const session = http2.connect('http://' + process.argv[1]).on('error', () => undefined);
${framed}
const one = ({ path, messages }) => new Promise((resolve) => {
  const said = { status: 0, grpc: '', got: [] }, left = [...messages];
  let rest = Buffer.alloc(0);
  const stream = session.request({ ':method': 'POST', ':path': path, 'content-type': 'application/grpc', te: 'trailers' });
  const next = () => { const text = left.shift(); if (text === undefined) stream.end(); else stream.write(framed(text)); };
  stream.on('response', (headers) => { said.status = headers[':status']; said.grpc = headers['grpc-status'] ?? ''; })
    .on('trailers', (trailers) => { said.grpc = trailers['grpc-status']; said.client = trailers['x-client']; })
    .on('data', (chunk) => { rest = Buffer.concat([rest, chunk]); while (rest.length >= 5 && rest.length >= 5 + rest.readUInt32BE(1)) { const length = rest.readUInt32BE(1); said.got.push(rest.toString('utf8', 5, 5 + length)); rest = rest.subarray(5 + length); next(); } })
    .on('error', (error) => { said.error = error.message; }).on('close', () => resolve(said));
  next();
});
Promise.all(JSON.parse(process.argv[2]).map(one)).then((all) => { console.log(JSON.stringify(all)); process.exit(); });
setTimeout(() => process.exit(1), 10000);
`, authority(address, port), JSON.stringify(calls));

/** What came of a WebSocket: its answers; `code`: why it closed, 1006 where it was not even opened. */
export interface Chat { readonly open: boolean; readonly got: readonly string[]; readonly code: number }

/** Each text is sent after the answer to the one before. */
export const chat = (shimPid: number, address: string, port: number, path: string, texts: readonly string[]): Chat => ask(shimPid, `
const said = { open: false, got: [], code: 0 }, left = JSON.parse(process.argv[2]);
const socket = new WebSocket('ws://' + process.argv[1]);
const next = () => { const text = left.shift(); if (text === undefined) socket.close(1000); else socket.send(text); };
socket.onopen = () => { said.open = true; next(); };
socket.onmessage = ({ data }) => { said.got.push(data); next(); };
socket.onclose = ({ code }) => { said.code = code; console.log(JSON.stringify(said)); process.exit(); };
setTimeout(() => process.exit(1), 10000);
`, `${authority(address, port)}${path}`, JSON.stringify(texts));

/** `failed`: calls without an answer; `errors`: why, of the first. `goaways`: connections that were told to end. `most`: calls at once. */
export interface StreamsEnd { readonly answers: Readonly<Record<string, number>>; readonly failed: number; readonly errors: readonly string[]; readonly goaways: number; readonly connections: number; readonly most: number }

/** Asks over one connection, `streams` calls at a time, each of which takes a while, until `stop`; after a GOAWAY new calls go over another. */
export class Streams {
  readonly #child: ChildProcess;
  readonly #ended: Promise<string>;

  constructor(shimPid: number, address: string, port: number, path: string, streams = 16) {
    this.#child = start(shimPid, `
const http2 = require('node:http2');
const [to, path, streams] = [process.argv[1], process.argv[2], Number(process.argv[3])];
const said = { answers: {}, failed: 0, errors: [], goaways: 0, connections: 0, most: 0 };
let current, stopping = false, open = 0;
function connected() {
  if (current !== undefined) return current;
  const session = current = http2.connect('http://' + to);
  said.connections += 1;
  const over = () => { if (current === session) current = undefined; };
  session.on('goaway', () => { said.goaways += 1; over(); }).on('error', over).on('close', over);
  return session;
}
${framed}
const one = () => new Promise((resolve) => {
  const stream = connected().request({ ':method': 'POST', ':path': path, 'content-type': 'application/grpc', te: 'trailers' });
  let status = 'none', grpc, failure;
  open += 1; said.most = Math.max(said.most, open);
  stream.on('response', (headers) => { status = headers[':status']; grpc = headers['grpc-status']; }).on('trailers', (trailers) => { grpc = trailers['grpc-status']; }).resume()
    .on('error', (error) => { failure = error.message; }).on('close', () => {
      open -= 1;
      const key = status + ' ' + grpc;
      if (failure !== undefined || grpc === undefined) { said.failed += 1; if (said.errors.length < 5) said.errors.push(failure ?? key); } else said.answers[key] = (said.answers[key] ?? 0) + 1;
      resolve();
    });
  stream.end(framed('hello'));
});
const ask = async () => { while (!stopping) { await one(); await new Promise((resolve) => setTimeout(resolve, 5)); } };
Promise.all(Array.from({ length: streams }, ask)).then(() => { console.log(JSON.stringify(said)); process.exit(); });
process.stdin.on('end', () => { stopping = true; }).resume();
`, authority(address, port), path, String(streams));
    let out = '';
    this.#child.stdout!.on('data', (data: Buffer) => { out += data.toString(); });
    this.#ended = new Promise((resolve) => { this.#child.once('close', () => { resolve(out); }); });
  }

  async stop(): Promise<StreamsEnd> {
    this.#child.stdin!.end();
    return JSON.parse(await this.#ended) as StreamsEnd;
  }
}
