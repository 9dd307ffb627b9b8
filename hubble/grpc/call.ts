// One gRPC call on its HTTP/2 stream: messages out in frames, a status in the trailers, an end that is told once, whoever ends it.
import { constants, type IncomingHttpHeaders, type OutgoingHttpHeaders, type ServerHttp2Stream } from 'node:http2';
import { frameOf } from './frame.ts';
import { percentEncode, status } from './status.ts';

/** Written and not yet taken by the connection: with so much, a call asks to wait. */
const enoughBytes = 64 * 1024;
/** Who writes on without waiting is ended with so much: small answers to a client that reads nothing. */
const mostBytes = 4 * 2 ** 20;

export class Call<Request = unknown, Response extends object = object> {
  /** Of a method that takes a stream: undefined. */
  request!: Request;
  readonly headers: IncomingHttpHeaders;
  readonly #stream: ServerHttp2Stream;
  readonly #serialize: (message: Response | Buffer) => Buffer;
  readonly #responseHeaders: OutgoingHttpHeaders;
  #listeners: (() => void)[] = [];
  #isOver = false;
  #status: OutgoingHttpHeaders = {};

  constructor(stream: ServerHttp2Stream, headers: IncomingHttpHeaders, serialize: (message: Response | Buffer) => Buffer, responseHeaders: OutgoingHttpHeaders) {
    this.#stream = stream;
    this.headers = headers;
    this.#serialize = serialize;
    this.#responseHeaders = responseHeaders;
    stream.on('wantTrailers', () => { stream.sendTrailers(this.#status); });
    stream.on('close', () => { this.#finish(); });
    stream.on('error', () => undefined); // 'close' follows
  }

  /** False: wait with `whenDrained` before the next one. */
  write(message: Response | Buffer): boolean { return this.writeFrames(frameOf(this.#serialize(message))); }

  /** Whole messages, each in its frame. They are not copied. */
  writeFrames(frames: Uint8Array): boolean {
    if (this.#isOver || this.#stream.destroyed) return true;
    if (this.#stream.writableLength > mostBytes) {
      this.#stream.close(constants.NGHTTP2_ENHANCE_YOUR_CALM);
      return true;
    }
    this.open();
    this.#stream.write(frames);
    return this.#stream.writableLength < enoughBytes;
  }

  whenDrained(go: () => void): void { this.#stream.once('drain', go); }

  /** Calls once, when the call has ended or the client is gone. */
  whenOver(tell: () => void): void {
    if (this.#isOver) tell();
    else this.#listeners.push(tell);
  }

  /** Sends the headers, for a client that waits for them before the first message. */
  open(): void {
    if (!this.#stream.headersSent && !this.#stream.destroyed) this.#stream.respond(this.#responseHeaders, { waitForTrailers: true });
  }

  end(): void { this.#end({ 'grpc-status': String(status.ok) }); }

  /** Without messages before, the status is all that is sent. */
  fail(code: number, message: string): void { this.#end({ 'grpc-status': String(code), 'grpc-message': percentEncode(message) }); }

  #end(trailers: OutgoingHttpHeaders): void {
    if (this.#isOver) return;
    this.#status = trailers;
    const stream = this.#stream;
    if (!stream.destroyed && !stream.headersSent && trailers['grpc-status'] !== '0') stream.respond({ ...this.#responseHeaders, ...trailers }, { endStream: true });
    else if (!stream.destroyed) {
      this.open();
      stream.end();
    }
    this.#finish();
  }

  /** Its time is over: what was not sent until now is not sent. */
  expire(): void {
    if (this.#stream.writableLength > 0) this.#stream.close(constants.NGHTTP2_CANCEL);
    else this.fail(status.deadlineExceeded, 'deadline exceeded');
  }

  #finish(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    for (const tell of this.#listeners) tell();
    this.#listeners = [];
  }
}
