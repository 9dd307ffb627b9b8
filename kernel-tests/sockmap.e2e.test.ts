// End to end: TCP between two workloads of a node from socket to socket (--sockmap marked): applications that wait for events see what they
// see of packets, in order, whatever policies do meanwhile; and policy holds for each message. IPv4 and IPv6.
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { whyNoSockmap } from '../agent/datapath/sockmap.ts';
import { cgroupRoot } from '../agent/node/check.ts';
import { Python } from '../bpf/testing/sockets.ts';
import { Cluster, pod, policy } from './cluster.ts';
import { idle } from './programs.ts';

/** Sockets with a timeout do not block: Python waits for events. */
const prelude = `
import hashlib, os, random, select, socket, struct, threading, time
socket.setdefaulttimeout(10)
def listening(port):
  global listener
  listener = socket.create_server(('::', port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=2000)
def accepted(): global s; s, _ = listener.accept(); s.settimeout(10)
def connected(address, port): global s; s = socket.create_connection((address, port))
def in_background(work):
  global thread, found
  found = None
  def run():
    global found
    try: found = work()
    except OSError as e: found = repr(e)
  thread = threading.Thread(target=run); thread.start()
def ended(): thread.join(); return found
def exactly(c, size):
  data = b''
  while len(data) < size:
    more = c.recv(size - len(data))
    if not more: break
    data += more
  return data
def swallowed(c):
  digest, size = hashlib.sha256(), 0
  while data := c.recv(1 << 16): digest.update(data); size += len(data)
  return [size, digest.hexdigest()]
stopping, told = False, 0
def numbers(c):  # messages of any size, of numbers that go on
  global told
  number = 0
  while not stopping:
    count = random.choice((1, 3, 20, 200, 1000, 5000))
    c.sendall(struct.pack('>%dQ' % count, *range(number, number + count))); number += count; told = number
    if random.random() < 0.3: time.sleep(0.002)
  c.shutdown(socket.SHUT_WR); return number
wrong, seen = 0, 0
def check(c):
  global wrong, seen
  rest = b''
  while data := c.recv(1 << 16):
    rest += data; count = len(rest) // 8
    wrong += struct.unpack('>%dQ' % count, rest[:count * 8]) != tuple(range(seen, seen + count))
    rest = rest[count * 8:]; seen += count
  return seen
`;

interface Counts { readonly messages: number; readonly bytes: number; readonly packets: number }
/** By name where the kernel cannot. */
const can = whyNoSockmap() === undefined;
const families = ['ipv4', 'ipv6'] as const;
const port = 8080;
const marked = { 'sockmap.weir.io/join': 'true' };
const from = (...apps: string[]): object => ({ endpointSelector: { matchLabels: { app: 'server' } }, ingress: [{ fromEndpoints: apps.map((app) => ({ matchLabels: { app } })) }] });

let cluster: Cluster;
let client: Python;
let server: Python;
let stranger: Python;
const status = (): { generation: number; sockmap: Counts } => cluster.json('status');
const counts = (): Counts => status().sockmap;
const since = (before: Counts): Counts => {
  const now = counts();
  return { messages: now.messages - before.messages, bytes: now.bytes - before.bytes, packets: now.packets - before.packets };
};

beforeAll(async () => {
  if (!can) return;
  cluster = await Cluster.start('sockmap', {
    'pods.yaml': [pod('client', idle, { app: 'client', ...marked }), pod('server', idle, { app: 'server', ...marked }), pod('stranger', idle)], 'allow.yaml': policy('allow', from('client', 'stranger')),
  }, ['--sockmap', 'marked']);
  const netns = new Map(cluster.json<{ name: string; shimPid: number }[]>('db', 'show', 'workloads').map(({ name, shimPid }) => [name, `/proc/${shimPid}/ns/net`]));
  [client, server, stranger] = ['client', 'server', 'stranger'].map((name) => new Python(netns.get(name)!, cgroupRoot()!, prelude)) as [Python, Python, Python];
  for (const python of [client, server, stranger]) await python.ready();
  await server.run(`listening(${port})`);
}, 120_000);
afterAll(async () => {
  if (!can) return;
  for (const python of [client, server, stranger]) await python.close();
  await cluster.close();
});

async function pair(family: typeof families[number], one = client): Promise<void> {
  await one.run(`connected('${cluster.end('default/server')[family]}', ${port})`);
  await server.run('accepted()');
}

async function talk(one: Python, rounds: number): Promise<void> {
  for (let round = 0; round < rounds; round += 1) {
    await one.run(`s.sendall(b'ask %d' % ${round})`);
    expect(await server.run('result = s.recv(100).decode()')).toBe(`ask ${round}`);
    await server.run(`s.sendall(b'answer %d' % ${round})`);
    expect(await one.run('result = s.recv(100).decode()')).toBe(`answer ${round}`);
  }
}

const close = async (one = client): Promise<void> => { for (const python of [one, server]) await python.run('s.close()'); };

(can ? describe : describe.skip).each(families)('%s', (family) => {
  test('messages of both ends go from socket to socket, and count for their connection', async () => {
    const before = counts();
    await pair(family);
    await talk(client, 10);
    const bytes = 10 * ('ask 0'.length + 'answer 0'.length);
    expect(since(before)).toEqual({ messages: 20, bytes, packets: 0 });
    const mine = await client.run('result = s.getsockname()[1]');
    const row = cluster.json<{ sourcePort: number; bytes: number; packets: number }[]>('bpf', 'ct').find(({ sourcePort }) => sourcePort === mine);
    expect(row?.packets).toBeGreaterThanOrEqual(20 + 3);
    expect(row?.bytes).toBeGreaterThan(bytes);
    await client.run('s.close()');
    expect(await server.run('result = s.recv(100).decode(); s.close()')).toBe('');
  });

  test('without the mark of both ends all goes as packets', async () => {
    const before = counts();
    await pair(family, stranger);
    await talk(stranger, 10);
    await close(stranger);
    expect(since(before).messages).toBe(0);
  });

  test('1,000 connections at once', async () => {
    const before = counts();
    await server.run(`
def serve():
  cs = [listener.accept()[0] for _ in range(1000)]
  for c in cs: c.settimeout(10); c.sendall(exactly(c, 8)[::-1])
  for c in cs: c.close()
in_background(serve)`);
    expect(await client.run(`
cs = [socket.create_connection(('${cluster.end('default/server')[family]}', ${port})) for _ in range(1000)]
for index, c in enumerate(cs): c.sendall(b'%08d' % index)
result = sum(exactly(c, 9) == (b'%08d' % index)[::-1] for index, c in enumerate(cs))
for c in cs: c.close()`)).toBe(1000);
    await server.run('ended()');
    const { messages, packets } = since(before);
    expect([messages > 1000, messages + packets]).toEqual([true, 2000]);
  }, 60_000);

  const endings = [
    { name: 'after a FIN that was read, sending is refused', end: 's.shutdown(socket.SHUT_WR)', last: '', then: `
try: result = s.send(b'x')
except OSError as e: result = type(e).__name__`, finds: 'BrokenPipeError' },
    { name: 'a FIN is read after what went before it', end: "s.sendall(b'end'); s.close()", last: 'end', then: 'result = 0', finds: 0 },
    { name: 'an RST is read after what went before it', end: "s.sendall(b'end'); s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0)); s.close()", last: 'end', then: 'result = 0', finds: 0, reset: true },
  ];
  test.each(endings)('$name', async ({ end, last, then, finds, reset }) => {
    await pair(family);
    await talk(client, 2);
    await client.run(end);
    await sleep(100);
    if (last !== '') expect(await server.run('result = s.recv(100).decode()')).toBe(last);
    expect(await server.run('result = s.recv(100).decode()')).toBe(reset === true ? 'errno 104' : '');
    const before = counts();
    expect(await client.run(then)).toBe(finds);
    expect(since(before).messages).toBe(0);
    await close();
  });

  test('a low-water mark is left to packets', async () => {
    await pair(family);
    await server.run('s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 20); poll = select.poll(); poll.register(s, select.POLLIN)');
    await client.run("s.sendall(b'x' * 10)");
    expect(await server.run('result = len(poll.poll(200))')).toBe(0);
    await client.run("s.sendall(b'y' * 10)");
    expect(await server.run('result = [len(poll.poll(2000)), s.recv(100).decode()]')).toEqual([1, 'x'.repeat(10) + 'y'.repeat(10)]);
    await close();
  });

  const bulk = 'b"".join(struct.pack(">Q", n) for n in range(1 << 20))';
  test.each([
    { name: 'large writes', send: `data = ${bulk}; s.sendall(data)` },
    { name: 'small writes', send: `data = ${bulk}[:1 << 20]\nfor at in range(0, len(data), 1000): s.sendall(data[at:at + 1000])` },
    { name: 'a file', send: `data = ${bulk}\nwith open('/tmp/weir-sockmap-%d' % os.getpid(), 'w+b') as f: f.write(data); f.seek(0); os.unlink(f.name); s.sendfile(f)` },
  ])('$name arrive whole, to their end, and so does the answer', async ({ send }) => {
    await pair(family);
    await server.run('in_background(lambda: swallowed(s))');
    const sent = await client.run(`${send}\ns.shutdown(socket.SHUT_WR); result = [len(data), hashlib.sha256(data).hexdigest()]`);
    expect(await server.run('result = ended()')).toEqual(sent);
    await client.run('in_background(lambda: swallowed(s))');
    const answered = await server.run(`data = ${bulk}; s.sendall(data); s.close(); result = [len(data), hashlib.sha256(data).hexdigest()]`);
    expect(await client.run('result = ended(); s.close()')).toEqual(answered);
  }, 60_000);

  test('who is not read has to wait, and nothing is lost', async () => {
    await pair(family);
    const before = counts();
    const sent = await client.run(`
s.setblocking(False); digest, size = hashlib.sha256(), 0
try:
  while size < 1 << 28:
    block = os.urandom(random.choice((1, 100, 5000))); n = s.send(block); digest.update(block[:n]); size += n
except BlockingIOError: pass
result = [size, digest.hexdigest()]; s.shutdown(socket.SHUT_WR)`) as [number, string];
    // Plain TCP takes tcp_wmem and tcp_rmem; without a bound of our own it would be all 256 MiB.
    expect(sent[0]).toBeLessThan(48 << 20);
    await sleep(500);
    const { messages, packets } = since(before);
    expect([messages > 0, packets > 0]).toEqual([true, true]);
    expect(await server.run('result = swallowed(s)')).toEqual(sent);
    await close();
  }, 60_000);

  test('numbers stay in order both ways while the generation moves hundreds of times', async () => {
    await pair(family);
    const before = status();
    for (const python of [client, server]) {
      await python.run('stopping, wrong, seen = False, 0, 0; sender = threading.Thread(target=numbers, args=(s,)); sender.start(); in_background(lambda: check(s))');
    }
    for (let flip = 0; flip < 300; flip += 1) {
      cluster.write('other.yaml', policy('other', from(flip % 2 === 0 ? 'x' : 'y')));
      await sleep(20);
    }
    for (const python of [client, server]) await python.run('stopping = True; sender.join()');
    const ends = [];
    for (const python of [client, server]) ends.push(await python.run('result = [told, ended(), wrong]') as [number, number, number]);
    const after = status();
    cluster.remove('other.yaml');
    await close();
    const [[clientTold, clientSaw, clientWrong], [serverTold, serverSaw, serverWrong]] = ends as [[number, number, number], [number, number, number]];
    const { messages, packets } = since(before.sockmap);
    console.log(`${after.generation - before.generation} generations, ${clientTold + serverTold} numbers, ${messages} messages from socket to socket, ${packets} as packets`);
    expect([clientWrong, serverWrong, clientSaw, serverSaw]).toEqual([0, 0, serverTold, clientTold]);
    expect(after.generation - before.generation).toBeGreaterThan(100);
    expect(messages).toBeGreaterThan(1000);
    expect(packets).toBeGreaterThan(100);
  }, 120_000);

  test('after a revocation nothing arrives; after its end all does', async () => {
    await pair(family);
    await client.run('stopping = False; in_background(lambda: numbers(s))');
    await server.run('wrong, seen = 0, 0; in_background(lambda: check(s))');
    await sleep(200);
    const { generation } = status();
    cluster.write('allow.yaml', policy('allow', from('stranger')));
    await cluster.until('the flip', () => status().generation > generation);
    await sleep(100);
    const [at, before] = [await server.run('result = seen'), counts()];
    await sleep(1_000);
    expect(await server.run('result = seen')).toBe(at);
    expect(since(before).messages).toBe(0);
    cluster.write('allow.yaml', policy('allow', from('client', 'stranger')));
    await cluster.until('bytes flow again', () => since(before).messages > 10);
    const sent = await client.run('stopping = True; result = ended()');
    expect(await server.run('result = [ended(), wrong]')).toEqual([sent, 0]);
    await close();
  }, 60_000);
});

(can ? test : test.skip)('an agent that is killed, one that takes over, and one that joins no sockets: the connection goes on', async () => {
  await pair('ipv4');
  await talk(client, 3);
  const before = counts();
  await cluster.stop('SIGKILL');
  await talk(client, 5);
  await cluster.up();
  expect(since(before).messages).toBeGreaterThanOrEqual(10);
  const adopted = counts();
  await talk(client, 5);
  expect(since(adopted).messages).toBeGreaterThanOrEqual(8);
  await cluster.stop('SIGKILL');
  await cluster.up([]);
  const off = counts();
  await talk(client, 5);
  expect(since(off).messages).toBe(0);
  await cluster.stop('SIGKILL');
  await cluster.up(['--sockmap', 'marked', '--conntrack-entries', '4096']);
  const upgraded = counts();
  await talk(client, 5);
  expect(since(upgraded).messages).toBe(0);
  await close();
  await pair('ipv6');
  await talk(client, 5);
  expect(since(upgraded).messages).toBe(10);
  await close();
}, 120_000);
