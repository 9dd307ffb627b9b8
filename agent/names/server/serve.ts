// The sockets: UDP and TCP on one port, both families. What cannot be answered now is refused or dropped, and counted.
import { randomInt } from 'node:crypto';
import { createSocket, type Socket as Datagrams } from 'node:dgram';
import { createServer, isIP, type Server, type Socket } from 'node:net';
import type { Answer } from 'dns-packet';
import { reply, type Code, type Outcome, type Reply } from './answer.ts';
import { readAnswer, readRequest, writeQuestion, writeReply, type Request } from './message.ts';
import { framed, type Upstream } from './upstream.ts';

export interface ServeOptions {
  readonly port: number;
  /** `::` stands for both families. */
  readonly address: string;
  readonly answer: (request: Request) => Outcome;
  readonly upstream: Upstream;
}

export interface Counts { queries: number; forwarded: number; refused: number; failed: number; crowded: number }

const mostConnections = 256;
const idleMs = 10_000;
const mostBytes = 2 + 0xffff;
/** The kernel's own default (208 KiB) holds some 300 small datagrams. */
const receiveBytes = 1 << 20;

export class NameServer {
  readonly counts: Counts = { queries: 0, forwarded: 0, refused: 0, failed: 0, crowded: 0 };
  readonly #options: ServeOptions;
  readonly #udp: Datagrams;
  readonly #tcp: Server;

  constructor(options: ServeOptions) {
    this.#options = options;
    this.#udp = createSocket({ type: isIP(options.address) === 6 ? 'udp6' : 'udp4', recvBufferSize: receiveBytes });
    this.#udp.on('message', (bytes, peer) => {
      void this.#handle(bytes, true).then((answer) => { if (answer !== undefined) this.#udp.send(answer, peer.port, peer.address); });
    });
    this.#tcp = createServer((socket) => { this.#converse(socket); });
    this.#tcp.maxConnections = mostConnections;
    this.#tcp.on('drop', () => { this.counts.crowded += 1; });
  }

  async listen(): Promise<void> {
    const { port, address: host } = this.#options;
    await new Promise<void>((done, fail) => {
      this.#udp.once('error', fail);
      this.#udp.bind(port, host, () => {
        this.#udp.off('error', fail);
        // A peer that has gone (ICMP) is no reason to end.
        this.#udp.on('error', () => { this.counts.failed += 1; });
        done();
      });
    });
    await new Promise<void>((done, fail) => { this.#tcp.once('error', fail).listen(this.#udp.address().port, host, done); });
  }

  get port(): number { return this.#udp.address().port; }

  close(): void {
    this.#udp.close();
    this.#tcp.close();
  }

  async #handle(bytes: Buffer, udp: boolean): Promise<Buffer | undefined> {
    this.counts.queries += 1;
    const read = readRequest(bytes);
    if (read.kind === 'ignore') return undefined;
    if (read.kind === 'refuse') {
      this.counts.refused += 1;
      return read.bytes;
    }
    const { request } = read;
    try {
      const outcome = this.#options.answer(request);
      if (outcome.kind === 'reply') return writeReply(request, outcome, udp);
      this.counts.forwarded += 1;
      if (outcome.kind === 'chase') return writeReply(request, await this.#chase(request, outcome.answers, outcome.target), udp);
      return await this.#options.upstream.ask(bytes, !udp) ?? writeReply(request, this.#failure('SERVFAIL'), udp);
    } catch {
      // A name that the codec reads but cannot write.
      return writeReply(request, this.#failure('SERVFAIL'), udp);
    }
  }

  #failure(code: Code): Reply {
    this.counts.failed += 1;
    return reply(code, false);
  }

  /** An alias to a name outside: its records come from upstream, over TCP where they are many. */
  async #chase({ question }: Request, aliases: readonly Answer[], target: string): Promise<Reply> {
    if (question.type === 'CNAME') return reply('NOERROR', true, aliases);
    const query = writeQuestion(randomInt(0x10000), target, question.type);
    const first = await this.#options.upstream.ask(query, false);
    const bytes = first !== undefined && (first.readUInt16BE(2) & 0x0200) !== 0 ? await this.#options.upstream.ask(query, true) : first;
    if (bytes === undefined) return { ...this.#failure('SERVFAIL'), answers: aliases };
    const { answers = [], rcode } = readAnswer(bytes) as ReturnType<typeof readAnswer> & { rcode: string };
    const code = rcode === 'NOERROR' || rcode === 'NXDOMAIN' ? rcode : 'SERVFAIL';
    return reply(code, true, [...aliases, ...answers]);
  }

  /** One question at a time: answers keep the order, and nobody fills the queue of upstream. */
  #converse(socket: Socket): void {
    let got = Buffer.alloc(0);
    let busy = false;
    socket.setTimeout(idleMs, () => { socket.destroy(); });
    socket.on('error', () => { socket.destroy(); });
    const next = async (): Promise<void> => {
      while (!busy && got.length >= 2 && got.length >= 2 + got.readUInt16BE(0)) {
        const message = got.subarray(2, 2 + got.readUInt16BE(0));
        got = got.subarray(2 + message.length);
        busy = true;
        const answer = await this.#handle(message, false);
        busy = false;
        if (answer !== undefined && !socket.destroyed) socket.write(framed(answer));
      }
      if (got.length < mostBytes) socket.resume();
    };
    socket.on('data', (data: Buffer) => {
      got = Buffer.concat([got, data]);
      if (got.length >= mostBytes) socket.pause();
      void next();
    });
  }
}
