// Conversations with the proxy, over sockets of this process: the kernel's part is played by a table of names.
import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import packet from 'dns-packet';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { address, answer, query } from '../../../bpf/testing/dns.ts';
import { framed } from '../../names/server/upstream.ts';
import { Conversation, type Counts } from './conversation.ts';
import { Frames } from './frames.ts';

let counts: Counts;
let learned: string[];
let servers: Server[];
let sockets: Socket[];
beforeEach(() => {
  counts = { connections: 0, queries: 0, refused: 0, answered: 0, failed: 0, unread: 0, crowded: 0 };
  [learned, servers, sockets] = [[], [], []];
});
afterEach(() => {
  for (const socket of sockets) socket.destroy();
  for (const server of servers) server.close();
});

async function listen(onConnection: (socket: Socket) => void): Promise<number> {
  const server = createServer({ allowHalfOpen: true }, onConnection).listen(0, '127.0.0.1');
  servers.push(server);
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}

/** `upstream`: what it sends for the queries that came so far. */
async function world(upstream: (queries: readonly Buffer[], socket: Socket) => void): Promise<Socket> {
  const above = await listen((socket) => {
    const [frames, queries] = [new Frames(), [] as Buffer[]];
    socket.on('error', () => { socket.destroy(); }).on('data', (data) => {
      frames.add(data);
      for (let one = frames.next(); one !== undefined; one = frames.next()) {
        queries.push(one);
        upstream(queries, socket);
      }
    });
  });
  const judge = {
    mayAsk: (_: unknown, asked: Buffer) => { const { name } = packet.decode(asked).questions![0]!; return name.endsWith('gone') ? 'gone' as const : name.endsWith('test') ? 'yes' as const : 'no' as const; },
    learn: (_: unknown, piece: Buffer) => { learned.push(...packet.decode(piece).answers!.map((one) => String((one as { data?: unknown }).data))); return true; },
  };
  const of = { client: { address: '127.0.0.1', port: 1 }, server: { address: '127.0.0.1', port: above } };
  const port = await listen((socket) => { new Conversation(socket, of, { judge, dial: () => connect(above, '127.0.0.1'), counts }); });
  const client = connect(port, '127.0.0.1');
  sockets.push(client);
  client.on('error', () => undefined); // a reset is what some rows wait for: `told` sees the end
  return client;
}

/** Until so many have come, or the connection ends. */
async function told(client: Socket, count: number): Promise<string[]> {
  const frames = new Frames();
  const found: string[] = [];
  await new Promise<void>((resolve) => {
    client.on('close', () => { found.push('closed'); resolve(); });
    client.on('data', (data: Buffer) => {
      frames.add(data);
      for (let one = frames.next(); one !== undefined; one = frames.next()) {
        const { id, rcode, answers = [] } = packet.decode(one) as ReturnType<typeof packet.decode> & { rcode: string };
        found.push(`${id} ${rcode}${answers.map((each) => ` ${String((each as { data?: unknown }).data)}`).join('')}`);
      }
      if (found.length >= count) resolve();
    });
  });
  return found;
}
const reply = (asked: Buffer, name: string, ...ips: string[]): Buffer => framed(answer({ id: asked.readUInt16BE(0), name, answers: ips.map((ip) => address(ip)) }));

const rows: readonly { name: string; asks: readonly Buffer[]; upstream: (queries: readonly Buffer[], socket: Socket) => void; told: readonly string[]; learned?: readonly string[] }[] = [
  { name: 'allowed: answered under the id that was asked, and learned', asks: [query({ id: 9, name: 'a.test' })], upstream: ([one], socket) => { socket.write(reply(one!, 'a.test', '203.0.113.1')); }, told: ['9 NOERROR 203.0.113.1'], learned: ['203.0.113.1'] },
  { name: 'refused, and the server hears nothing', asks: [query({ id: 9, name: 'a.org' })], upstream: (_, socket) => { socket.destroy(); }, told: ['9 REFUSED'] },
  { name: 'answers in another order', asks: [query({ id: 1, name: 'a.test' }), query({ id: 2, name: 'b.test' })],
    upstream: (all, socket) => { if (all.length === 2) socket.write(Buffer.concat([reply(all[1]!, 'b.test', '203.0.113.2'), reply(all[0]!, 'a.test', '203.0.113.1')])); }, told: ['2 NOERROR 203.0.113.2', '1 NOERROR 203.0.113.1'], learned: ['203.0.113.2', '203.0.113.1'] },
  { name: 'another name, then the right one', asks: [query({ id: 9, name: 'a.test' })], upstream: ([one], socket) => { socket.write(Buffer.concat([reply(one!, 'b.test', '203.0.113.6'), reply(one!, 'a.test', '203.0.113.1')])); }, told: ['9 NOERROR 203.0.113.1'], learned: ['203.0.113.1'] },
  { name: 'the server goes', asks: [query({ id: 9, name: 'a.test' })], upstream: (_, socket) => { socket.destroy(); }, told: ['9 SERVFAIL'] },
  { name: 'an answer that nobody can read', asks: [query({ id: 9, name: 'a.test' })], upstream: ([one], socket) => { socket.write(framed(answer({ id: one!.readUInt16BE(0), name: 'a.test', answers: [address('203.0.113.1')], count: 5 }))); }, told: ['9 SERVFAIL'] },
  { name: 'an answer from a client', asks: [answer({ id: 9, name: 'a.test' })], upstream: () => undefined, told: ['closed'] },
  { name: 'two questions', asks: [query({ id: 9, name: 'a.test', questions: 2 })], upstream: () => undefined, told: ['closed'] },
  { name: 'half a header', asks: [Buffer.alloc(5)], upstream: () => undefined, told: ['closed'] },
  { name: 'the kernel knows no such connection', asks: [query({ id: 9, name: 'a.gone' })], upstream: () => undefined, told: ['closed'] },
];

describe('conversations', () => {
  test.each(rows)('$name', async ({ asks, upstream, told: wanted, learned: teaches = [] }) => {
    const client = await world(upstream);
    const heard = told(client, wanted.length);
    client.write(Buffer.concat(asks.map(framed)));
    expect(await heard).toEqual(wanted);
    expect(learned).toEqual(teaches);
  });

  test('byte by byte, and a client that closes its side first', async () => {
    const client = await world(([one], socket) => { setTimeout(() => { socket.write(reply(one!, 'a.test', '203.0.113.1')); }, 50); });
    const heard = told(client, 2);
    client.setNoDelay(true);
    for (const byte of framed(query({ id: 9, name: 'a.test' }))) client.write(Buffer.from([byte]));
    client.end();
    expect(await heard).toEqual(['9 NOERROR 203.0.113.1', 'closed']);
  });

  test('hundreds at once: as many under way as are allowed, and all answered', async () => {
    let most = 0;
    const waiting: Buffer[] = [];
    const client = await world((all, socket) => {
      waiting.push(all.at(-1)!);
      most = Math.max(most, waiting.length);
      setTimeout(() => { for (const one of waiting.splice(0)) socket.write(reply(one, 'a.test', '203.0.113.1')); }, 1);
    });
    const heard = told(client, 300);
    client.write(Buffer.concat(Array.from({ length: 300 }, (_, id) => framed(query({ id, name: 'a.test' })))));
    expect(new Set(await heard).size).toBe(300);
    expect(most).toBeLessThanOrEqual(32);
    expect(counts).toMatchObject({ queries: 300, answered: 300, failed: 0 });
  });
});
