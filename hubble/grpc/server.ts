// A gRPC server on node:http2: unary and streaming calls, many messages in one write. Why not grpc-js on this side: it writes each
// message by itself, 4 µs of CPU; in frames of ours, many to a write, it is a tenth. Clients are grpc-js's, Go's, any.
import http2, { type Http2SecureServer, type Http2Server, type IncomingHttpHeaders, type OutgoingHttpHeaders, type SecureServerOptions, type ServerHttp2Session, type ServerHttp2Stream } from 'node:http2';
import { Call } from './call.ts';
import { Deframer } from './frame.ts';
import { status, StatusError, timeoutMs } from './status.ts';

export interface Method<Request, Response> {
  /** `/package.Service/Method`. */
  readonly path: string;
  readonly requestStream: boolean;
  readonly responseStream: boolean;
  readonly requestDeserialize: (data: Buffer) => Request;
  readonly responseSerialize: (message: Response | Buffer) => Buffer;
}

type Handler = (call: Call<never, never>, messages: Messages<never>) => void;
interface Registered { readonly method: Method<never, never>; readonly handle: Handler }

/** The requests of a stream of them. */
export interface Messages<Request> { each: (request: Request) => void; ended: () => void }

/** Of one connection, and of all together; what comes beyond is refused. */
const mostStreams = 1_024;
const mostCalls = 8_192;
/** Of a client that sends all the time; others have the 16 KiB of HTTP/2. */
const mostFrameBytes = 128 * 1024;
/** Longer timers are none to setTimeout. */
const longestTimeoutMs = 2 ** 31 - 1;
const keepaliveMs = 60_000;

export class GrpcServer {
  readonly #headers: OutgoingHttpHeaders;
  readonly #windowBytes: number | undefined;
  readonly #methods = new Map<string, Registered>();
  readonly #sessions = new Set<ServerHttp2Session>();
  readonly #listeners = new Set<Http2Server | Http2SecureServer>();
  #calls = 0;
  /** Errors of listeners. A connection for which no file descriptor is left is none: libuv closes it and says nothing; its client tries again. */
  refused = 0;

  /** `headers`: what every answer says beside gRPC's own. `windowBytes`: what a client may send ahead, for one that sends all the time. */
  constructor(headers: OutgoingHttpHeaders = {}, windowBytes?: number) {
    this.#windowBytes = windowBytes;
    this.#headers = { ':status': 200, 'content-type': 'application/grpc+proto', 'grpc-accept-encoding': 'identity', ...headers };
  }

  /** Calls that are open. */
  get calls(): number { return this.#calls; }

  unary<Request, Response extends object>(method: Method<Request, Response>, answer: (request: Request) => Response | Promise<Response>): void {
    this.stream<Request, Response>(method, (call) => {
      void (async () => answer(call.request))().then((response) => { call.write(response); call.end(); }, (error: unknown) => { refuse(call, error); });
    });
  }

  /** `handle` may throw StatusError. */
  stream<Request, Response extends object>(method: Method<Request, Response>, handle: (call: Call<Request, Response>, messages: Messages<Request>) => void): void {
    this.#methods.set(method.path, { method, handle } as unknown as Registered);
  }

  /** A server to listen with, where the caller likes; with options it speaks TLS. */
  listener(tls?: SecureServerOptions): Http2Server | Http2SecureServer {
    const windowBytes = this.#windowBytes;
    const ahead = windowBytes === undefined ? {} : { initialWindowSize: windowBytes, maxFrameSize: mostFrameBytes };
    const options = { settings: { maxConcurrentStreams: mostStreams, enablePush: false, ...ahead }, keepAlive: true, keepAliveInitialDelay: keepaliveMs };
    const server = tls === undefined ? http2.createServer(options) : http2.createSecureServer({ ...options, ...tls });
    server.on('session', (session: ServerHttp2Session) => {
      this.#sessions.add(session);
      session.on('close', () => { this.#sessions.delete(session); });
      session.on('error', () => undefined); // 'close' follows
      if (windowBytes !== undefined) session.setLocalWindowSize(windowBytes);
    });
    server.on('stream', (stream, headers) => { this.#accept(stream, headers); });
    server.on('error', () => { this.refused += 1; });
    this.#listeners.add(server);
    return server;
  }

  /** Ends every call. */
  close(): void {
    for (const listener of this.#listeners) listener.close();
    for (const session of this.#sessions) session.destroy();
    this.#listeners.clear();
  }

  #accept(stream: ServerHttp2Stream, headers: IncomingHttpHeaders): void {
    if (headers[':method'] !== 'POST' || !/^application\/grpc(?:$|[+;])/.test(headers['content-type'] ?? '')) {
      stream.on('error', () => undefined);
      stream.respond({ ':status': headers[':method'] === 'POST' ? 415 : 405 }, { endStream: true });
      return;
    }
    const registered = this.#methods.get(headers[':path'] ?? '');
    const call = new Call<never, never>(stream, headers, registered?.method.responseSerialize ?? ((message: Buffer) => message), this.#headers);
    this.#calls += 1;
    call.whenOver(() => { this.#calls -= 1; });
    try {
      if (registered === undefined) throw new StatusError(status.unimplemented, `unknown method ${headers[':path']}`);
      if (this.#calls > mostCalls) throw new StatusError(status.resourceExhausted, `more than ${mostCalls} calls`);
      const encoding = headers['grpc-encoding'];
      if (encoding !== undefined && encoding !== 'identity') throw new StatusError(status.unimplemented, `compression ${String(encoding)} is not taken`);
      expireAfter(call, headers['grpc-timeout']);
      if (registered.method.requestStream) readMany(stream, call, registered);
      else readOne(stream, call, registered);
    } catch (error) {
      refuse(call, error);
    }
  }
}

function expireAfter(call: Call<never, never>, timeout: string | string[] | undefined): void {
  if (timeout === undefined) return;
  const ms = timeoutMs(String(timeout));
  if (ms > longestTimeoutMs) return;
  const timer = setTimeout(() => { call.expire(); }, ms);
  call.whenOver(() => { clearTimeout(timer); });
}

function refuse(call: Pick<Call, 'fail'>, error: unknown): void {
  if (error instanceof StatusError) call.fail(error.code, error.message);
  else call.fail(status.internal, error instanceof Error ? error.message : String(error));
}

/** Reads messages until the client has said all; what is wrong with them ends the call. */
function read(stream: ServerHttp2Stream, call: Call<never, never>, { method }: Registered, each: (request: never) => void, ended: () => void): void {
  const deframer = new Deframer();
  const attempt = (step: () => void): void => {
    try {
      step();
    } catch (error) {
      refuse(call, error);
      stream.removeAllListeners('data').removeAllListeners('end').resume();
    }
  };
  stream.on('data', (chunk: Buffer) => { attempt(() => { deframer.push(chunk, (message) => { each(method.requestDeserialize(message)); }); }); });
  stream.on('end', () => {
    attempt(() => {
      if (!deframer.isEmpty) throw new StatusError(status.internal, 'the request ends within a message');
      ended();
    });
  });
}

function readOne(stream: ServerHttp2Stream, call: Call<never, never>, registered: Registered): void {
  let count = 0;
  read(stream, call, registered, (request) => {
    count += 1;
    if (count > 1) throw new StatusError(status.internal, 'more than one request');
    call.request = request;
  }, () => {
    if (count === 0) throw new StatusError(status.internal, 'no request');
    registered.handle(call, { each: () => undefined, ended: () => undefined });
    if (registered.method.responseStream) call.open();
  });
}

function readMany(stream: ServerHttp2Stream, call: Call<never, never>, registered: Registered): void {
  const messages: Messages<never> = { each: () => undefined, ended: () => undefined };
  read(stream, call, registered, (request) => { messages.each(request); }, () => { messages.ended(); });
  registered.handle(call, messages);
}
