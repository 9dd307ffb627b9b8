// The listening side: both families at one port, for whatever address the kernel sends up; so many connections in all and of one client.
import { createServer, type Server, type Socket } from 'node:net';
import { Conversation, type Counts, type Parts } from './conversation.ts';
import { listening } from './sockets.ts';

const mostConnections = 1_024;
/** The rest are told so by a reset, and counted. */
const mostOfClient = 64;

export class DnsServer {
  readonly counts: Counts = { connections: 0, queries: 0, refused: 0, answered: 0, failed: 0, unread: 0, crowded: 0 };
  readonly #parts: Omit<Parts, 'counts'>;
  readonly #ofClient = new Map<string, number>();
  readonly #servers: Server[] = [];

  constructor(parts: Omit<Parts, 'counts'>) { this.#parts = parts; }

  /** `fd`: of a socket that is bound. */
  async listen(fd: number): Promise<void> {
    const server = createServer({ allowHalfOpen: true }, (socket) => { this.#accept(socket); });
    server.maxConnections = mostConnections;
    server.on('drop', () => { this.counts.crowded += 1; });
    this.#servers.push(server);
    await new Promise<void>((done, fail) => { server.once('error', fail).listen({ fd }, done); });
  }

  close(): void { for (const server of this.#servers) server.close(); }

  #accept(socket: Socket): void {
    const { remoteAddress: address, remotePort, localAddress, localPort } = socket;
    // Gone before it was looked at.
    if (address === undefined || remotePort === undefined || localAddress === undefined || localPort === undefined) {
      socket.destroy();
      return;
    }
    const count = this.#ofClient.get(address) ?? 0;
    if (count >= mostOfClient) {
      this.counts.crowded += 1;
      socket.resetAndDestroy();
      return;
    }
    this.counts.connections += 1;
    this.#ofClient.set(address, count + 1);
    socket.once('close', () => {
      const left = this.#ofClient.get(address)! - 1;
      if (left === 0) this.#ofClient.delete(address);
      else this.#ofClient.set(address, left);
    });
    new Conversation(socket, { client: { address, port: remotePort }, server: { address: localAddress, port: localPort } }, { ...this.#parts, counts: this.counts });
  }
}

export const listenOn = async (server: DnsServer, port: number, mark: number): Promise<void> => {
  for (const address of ['127.0.0.1', '::1']) await server.listen(listening(address, port, mark));
};
