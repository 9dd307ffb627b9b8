// One client's connection: each query judged by the kernel, those that may be asked sent on to the server that the client meant, by one connection of
// its own; each answer learned before the client gets it. Answers come in any order (RFC 7766, 6.2.1.1).
import { randomInt } from 'node:crypto';
import type { Socket } from 'node:net';
import { KernelError } from '../../kernel/errors.ts';
import { answers } from '../../names/server/message.ts';
import { framed } from '../../names/server/upstream.ts';
import { piecesOf } from './answer.ts';
import { Frames } from './frames.ts';
import type { Connection, Judge } from './kernel.ts';

/** Under way on one connection; more wait in the client's own buffers. */
const mostQueries = 32;
const answerMs = 10_000;
const idleMs = 30_000;
/** What the client does not take holds up the queries behind it; answers to those before are told to have failed. */
const mostUnsentBytes = 1 << 17;
const headBytes = 12;
const code = { serverFailure: 2, refused: 5 } as const;
const flag = { response: 0x80, opcodes: 0x78, recursionDesired: 0x01, recursionAvailable: 0x80, checkingDisabled: 0x10 } as const;

export interface Counts { connections: number; queries: number; refused: number; answered: number; failed: number; unread: number; crowded: number }

export interface Parts {
  readonly judge: Judge;
  /** A connection to the server, under the client's address. */
  readonly dial: (of: Connection) => Socket;
  readonly counts: Counts;
}

interface Waiting { readonly query: Buffer; readonly own: Buffer; readonly sinceNs: bigint; readonly timer: NodeJS.Timeout }

/** The question alone, with a code. */
function reply(query: Buffer, rcode: number): Buffer {
  const bytes = Buffer.from(query);
  bytes[2] = flag.response | (query[2]! & flag.recursionDesired);
  bytes[3] = flag.recursionAvailable | (query[3]! & flag.checkingDisabled) | rcode;
  return bytes;
}

const isQuery = (message: Buffer): boolean => message.length > headBytes && (message[2]! & (flag.response | flag.opcodes)) === 0 && message.readUInt16BE(4) === 1;

export class Conversation {
  readonly #client: Socket;
  readonly #of: Connection;
  readonly #parts: Parts;
  readonly #waiting = new Map<number, Waiting>();
  readonly #asked = new Frames();
  #server: Socket | undefined;
  #told = new Frames();
  #ended = false;

  constructor(client: Socket, of: Connection, parts: Parts) {
    this.#client = client;
    this.#of = of;
    this.#parts = parts;
    client.setNoDelay(true);
    client.setTimeout(idleMs, () => { client.destroy(); });
    client.on('error', () => { client.destroy(); });
    client.on('close', () => { this.#close(); });
    client.on('end', () => {
      this.#ended = true;
      this.#go();
    });
    client.on('drain', () => { this.#go(); });
    client.on('data', (data: Buffer) => {
      this.#asked.add(data);
      this.#go();
    });
  }

  #go(): void {
    let drained = false;
    while (!this.#client.destroyed && this.#waiting.size < mostQueries && this.#client.writableLength < mostUnsentBytes) {
      const message = this.#asked.next();
      drained = message === undefined;
      if (message === undefined) break;
      this.#ask(message);
    }
    if (this.#client.destroyed) return;
    if (this.#asked.full || this.#waiting.size >= mostQueries) this.#client.pause();
    else this.#client.resume();
    if (this.#ended && drained && this.#waiting.size === 0) this.#client.end();
  }

  /** What is no query ends the connection: nothing behind it could be believed. */
  #ask(query: Buffer): void {
    const { judge, counts } = this.#parts;
    const said = isQuery(query) ? judge.mayAsk(this.#of, query) : undefined;
    if (said === undefined || said === 'gone') {
      counts.unread += 1;
      this.#client.resetAndDestroy();
      return;
    }
    counts.queries += 1;
    if (said === 'no') {
      counts.refused += 1;
      this.#client.write(framed(reply(query, code.refused)));
      return;
    }
    const own = Buffer.from(query);
    let id = randomInt(0x10000);
    while (this.#waiting.has(id)) id = randomInt(0x10000);
    own.writeUInt16BE(id, 0);
    const timer = setTimeout(() => { this.#fail(id); }, answerMs);
    this.#waiting.set(id, { query, own, sinceNs: process.hrtime.bigint(), timer });
    try {
      this.#upstream().write(framed(own));
    } catch (error) {
      if (!(error instanceof KernelError)) throw error;
      // No socket to be had.
      this.#take(id);
      counts.failed += 1;
      this.#client.write(framed(reply(query, code.serverFailure)));
    }
  }

  #upstream(): Socket {
    if (this.#server !== undefined && !this.#server.destroyed && !this.#server.writableEnded) return this.#server;
    const server = this.#parts.dial(this.#of);
    this.#server = server;
    this.#told = new Frames();
    server.setNoDelay(true);
    server.on('error', () => { server.destroy(); });
    server.on('end', () => { server.destroy(); });
    // Nobody else answers what it was asked.
    server.on('close', () => { if (this.#server === server) for (const id of [...this.#waiting.keys()]) this.#fail(id); });
    server.on('data', (data: Buffer) => {
      this.#told.add(data);
      for (let message = this.#told.next(); message !== undefined; message = this.#told.next()) this.#answer(message);
    });
    return server;
  }

  #answer(answer: Buffer): void {
    const id = answer.length < headBytes ? -1 : answer.readUInt16BE(0);
    const waiting = this.#waiting.get(id);
    if (waiting === undefined || !answers(answer, waiting.own)) return;
    const { query, sinceNs } = waiting;
    const latencyNs = process.hrtime.bigint() - sinceNs;
    let pieces: Buffer[];
    try {
      pieces = piecesOf(query, answer);
    } catch {
      // What the codec cannot read teaches nothing, so nobody gets it.
      this.#parts.counts.unread += 1;
      this.#fail(id);
      return;
    }
    this.#take(id);
    if (this.#client.writableLength >= mostUnsentBytes || !pieces.every((piece) => this.#parts.judge.learn(this.#of, piece, latencyNs))) {
      this.#parts.counts.failed += 1;
      this.#client.write(framed(reply(query, code.serverFailure)));
    } else {
      this.#parts.counts.answered += 1;
      query.copy(answer, 0, 0, 2);
      this.#client.write(framed(answer));
    }
    this.#go();
  }

  #take(id: number): Waiting | undefined {
    const waiting = this.#waiting.get(id);
    clearTimeout(waiting?.timer);
    this.#waiting.delete(id);
    return waiting;
  }

  #fail(id: number): void {
    const waiting = this.#take(id);
    if (waiting === undefined || this.#client.destroyed) return;
    this.#parts.counts.failed += 1;
    this.#client.write(framed(reply(waiting.query, code.serverFailure)));
    this.#go();
  }

  #close(): void {
    for (const id of [...this.#waiting.keys()]) this.#take(id);
    this.#server?.destroy();
  }
}
