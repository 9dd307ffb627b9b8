// Questions that others answer: to each of the machine's name servers in turn, bounded in time and number. Every question has a
// socket, so a source port, and an id of its own: what does not come from the server asked, with both, is not heard (RFC 5452).
import { randomInt } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { connect, isIP } from 'node:net';
import { answers } from './message.ts';

export const dnsPort = 53;
const attemptMs = 2_000;
const mostAttempts = 3;
const mostPending = 512;

export class Upstream {
  #servers: readonly string[] = [];
  #pending = 0;
  readonly #port: number;
  /** Questions that found no place. */
  crowded = 0;

  constructor(port: number = dnsPort) { this.#port = port; }

  use(servers: readonly string[]): void { this.#servers = servers; }

  /** The answer as it came, under the id of the question; undefined: nobody answers. */
  async ask(query: Buffer, tcp: boolean): Promise<Buffer | undefined> {
    if (this.#pending >= mostPending) {
      this.crowded += 1;
      return undefined;
    }
    this.#pending += 1;
    try {
      for (const server of this.#servers.slice(0, mostAttempts)) {
        const own = Buffer.from(query);
        own.writeUInt16BE(randomInt(0x10000), 0);
        const answer = await (tcp ? overTcp(server, this.#port, own) : overUdp(server, this.#port, own));
        if (answer === undefined) continue;
        query.copy(answer, 0, 0, 2);
        return answer;
      }
      return undefined;
    } finally {
      this.#pending -= 1;
    }
  }
}

function overUdp(server: string, port: number, query: Buffer): Promise<Buffer | undefined> {
  return new Promise((done) => {
    const socket = createSocket(isIP(server) === 6 ? 'udp6' : 'udp4');
    let over = false;
    const end = (answer?: Buffer): void => {
      if (over) return;
      over = true;
      clearTimeout(timer);
      socket.close();
      done(answer);
    };
    const timer = setTimeout(end, attemptMs);
    socket.on('error', () => { end(); }); // refused or without a route: the next server is asked
    socket.on('message', (bytes) => { if (answers(bytes, query)) end(bytes); });
    socket.connect(port, server, () => { if (!over) socket.send(query); });
  });
}

function overTcp(server: string, port: number, query: Buffer): Promise<Buffer | undefined> {
  return new Promise((done) => {
    const socket = connect({ host: server, port });
    let got = Buffer.alloc(0);
    const end = (answer?: Buffer): void => {
      clearTimeout(timer);
      socket.destroy();
      done(answer);
    };
    const timer = setTimeout(end, attemptMs);
    socket.on('error', () => { end(); });
    socket.on('end', () => { end(); });
    socket.on('connect', () => { socket.write(framed(query)); });
    socket.on('data', (data) => {
      got = Buffer.concat([got, data]);
      if (got.length < 2 || got.length < 2 + got.readUInt16BE(0)) return;
      const answer = got.subarray(2, 2 + got.readUInt16BE(0));
      end(answers(answer, query) ? answer : undefined);
    });
  });
}

/** Over TCP each message has its length before it. */
export function framed(message: Buffer): Buffer {
  const length = Buffer.alloc(2);
  length.writeUInt16BE(message.length);
  return Buffer.concat([length, message]);
}
