// Sockets that ask for services: real ones, in network namespaces and a cgroup of the test's own. Clients and backends share a namespace, so
// each exchange is a hairpin as well.
import { release } from 'node:os';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { counter, frontend_flag, limit } from './types.gen.ts';
import { SocketWorld, type Python } from './testing/sockets.ts';

const names = { workload: `weir-sock-${process.pid}-a`, node: `weir-sock-${process.pid}-b`, foreign: `weir-sock-${process.pid}-c` } as const;
const backendAddresses = { 4: ['10.1.0.1', '10.1.0.2'], 6: ['fd01::1', 'fd01::2'] } as const;
const service = { 4: '10.96.0.1', 6: 'fd96::1' } as const;
const nodeAddress = '192.0.2.10';
const ports = { web: 80, sticky: 81, empty: 82, ranged: 83, moving: 84, node: 30_080 } as const;
const [major = 0, minor = 0] = release().split('.').map(Number);
/** bpf_set_retval in these hooks: 6.1. */
const precise = major > 6 || (major === 6 && minor >= 1);
const refusal = `errno ${precise ? 111 : 1}`;
const taken = `errno ${precise ? 98 : 1}`;

/** Each backend tells its own address, to whoever connects and for every datagram. */
const server = `
import socket, threading
def accepting(s):
  while True:
    c, _ = s.accept(); threading.Thread(target=serving, args=(c,), daemon=True).start()
def serving(c):
  try:
    while c.recv(100): c.sendall(c.getsockname()[0].encode())
  except OSError: pass
def answering(s):
  while True:
    _, who = s.recvfrom(100); s.sendto(s.getsockname()[0].encode(), who)
for address in ${JSON.stringify([...backendAddresses[4], ...backendAddresses[6]])}:
  family = socket.AF_INET6 if ':' in address else socket.AF_INET
  for kind, work in ((socket.SOCK_STREAM, accepting), (socket.SOCK_DGRAM, answering)):
    s = socket.socket(family, kind); s.bind((address, 8080))
    if kind == socket.SOCK_STREAM: s.listen(100)
    threading.Thread(target=work, args=(s,), daemon=True).start()
`;
const client = `
import socket
def opened(kind, address):
  s = socket.socket(socket.AF_INET6 if ':' in address else socket.AF_INET, socket.SOCK_STREAM if kind == 'TCP' else socket.SOCK_DGRAM); s.settimeout(2); return s
def told(s): s.send(b'x'); return s.recv(100).decode()
def connected(kind, address, port): s = opened(kind, address); s.connect((address, port)); return s
def once(kind, address, port):
  with connected(kind, address, port) as s: return told(s)
def many(count, work): return sorted(set(work() for _ in range(count)))
def end(sockaddr): return list(sockaddr[:2])
def asked(s, address, port): s.sendto(b'x', (address, port)); answer, who = s.recvfrom(100); return [answer.decode(), end(who)]
`;

interface Way { readonly family: string; readonly to: string; readonly backends: readonly string[]; readonly number: 4 | 6 }
const ways: readonly Way[] = [
  { family: 'IPv4', to: service[4], backends: backendAddresses[4], number: 4 },
  { family: 'IPv6', to: service[6], backends: backendAddresses[6], number: 6 },
  { family: 'IPv4 by an IPv6 socket', to: `::ffff:${service[4]}`, backends: backendAddresses[4], number: 4 },
];
const kinds = ['TCP', 'UDP'] as const;
const table = ways.flatMap((way) => kinds.map((kind) => ({ ...way, kind })));
type Row = (typeof table)[number];

/** 1 to 8: TCP before UDP, IPv4 before IPv6. */
const numberOf = (kind: Row['kind'], family: 4 | 6, index: number): number => 1 + kinds.indexOf(kind) * 4 + (family === 4 ? 0 : 2) + index;

let world: SocketWorld;
let workload: Python;
let node: Python;
let foreign: Python;

function writeServices(): void {
  for (const protocol of kinds) {
    for (const family of [4, 6] as const) {
      const backends = [0, 1].map((index) => numberOf(protocol, family, index));
      backends.forEach((number, index) => { world.services.backend(number, { address: backendAddresses[family][index]!, port: 8080 }, protocol); });
      const at = { address: service[family], protocol };
      world.services.write({ ...at, port: ports.web, backends });
      world.services.write({ ...at, port: ports.sticky, backends, affinitySeconds: 100 });
      world.services.write({ ...at, port: ports.empty, backends: [] });
      world.services.write({ ...at, port: ports.ranged, backends, flags: frontend_flag.FRONTEND_SOURCE_RANGES });
    }
    const node = { protocol, port: ports.node, backends: [numberOf(protocol, 4, 0)], flags: frontend_flag.FRONTEND_NODE_PORT };
    for (const address of [nodeAddress, '0.0.0.0', '::']) world.services.write({ ...node, address });
  }
}

beforeAll(async () => {
  world = new SocketWorld(`sockets-${process.pid}`, { [names.workload]: [...backendAddresses[4], ...backendAddresses[6]], [names.node]: [nodeAddress], [names.foreign]: [] });
  writeServices();
  world.client(names.workload, 7);
  world.client(names.node, 0);
  await world.python(names.workload, server);
  [workload, node, foreign] = await Promise.all([names.workload, names.node, names.foreign].map((name) => world.python(name, client))) as [Python, Python, Python];
});
afterAll(async () => { await world.close(); });

const run = async (code: string): Promise<unknown> => workload.run(code);
/** `::ffff:` in front, when an IPv6 socket tells of IPv4. */
const shown = ({ to }: Row, address: string): string => (to.startsWith('::ffff:') ? `::ffff:${address}` : address);

describe('a socket asks for a service', () => {
  test.each(table)('$kind, $family: a backend answers, the service is shown', async ({ kind, to, backends }) => {
    const [answer, peer] = await run(`s=connected('${kind}','${to}',${ports.web}); result=[told(s),end(s.getpeername())]; s.close()`) as [string, unknown];
    expect(backends).toContain(answer);
    expect(peer).toEqual([to, ports.web]);
  });

  test.each(table)('$kind, $family: connections go to all backends', async ({ kind, to, backends }) => {
    expect(await run(`result=many(40, lambda: once('${kind}','${to}',${ports.web}))`)).toEqual([...backends]);
  });

  test.each(table)('$kind, $family: session affinity keeps a client at one backend, until that takes no more', async ({ kind, to, backends, number }) => {
    const [first, ...others] = await run(`result=many(40, lambda: once('${kind}','${to}',${ports.sticky}))`) as string[];
    expect(others).toEqual([]);
    const at = backends.indexOf(first!);
    world.services.backend(numberOf(kind, number, at), { address: first!, port: 8080 }, kind, 1);
    world.services.write({ address: service[number], port: ports.sticky, protocol: kind, backends: [numberOf(kind, number, 1 - at)], affinitySeconds: 100 });
    expect(await run(`result=many(20, lambda: once('${kind}','${to}',${ports.sticky}))`)).toEqual([backends[1 - at]]);
    writeServices();
  });

  test.each(table)('$kind, $family: nobody behind it: refused', async ({ kind, to }) => {
    expect(await run(`connected('${kind}','${to}',${ports.empty})`)).toBe(refusal);
  });

  test.each(table)('$kind, $family: what has source ranges is left to packets', async ({ kind, to }) => {
    expect(await run(`result=once('${kind}','${to}',${ports.ranged})`)).toBe('errno 101');
  });

  test.each(table)('$kind, $family: what is no service stays as it is', async (row) => {
    const { kind, backends } = row;
    const at = shown(row, backends[1]!);
    expect(await run(`s=connected('${kind}','${at}',8080); result=[told(s),end(s.getpeername())]; s.close()`)).toEqual([backends[1], [at, 8080]]);
  });

  test.each(table)('$kind, $family: nothing is remembered of what is closed', async ({ kind, to }) => {
    await run(`s=connected('${kind}','${to}',${ports.web})`);
    expect(world.remembered).toBe(1);
    await run('s.close()');
    expect(world.remembered).toBe(0);
  });
});

describe('datagrams', () => {
  const udp = table.filter(({ kind }) => kind === 'UDP');
  test.each(udp)('$family: unconnected: the service is their source, and one backend answers all', async ({ to, backends }) => {
    const answers = await run(`s=opened('UDP','${to}'); result=[asked(s,'${to}',${ports.web}) for _ in range(20)]; s.close()`) as [string, unknown][];
    expect(new Set(answers.map(([backend]) => backend)).size).toBe(1);
    expect(backends).toContain(answers[0]![0]);
    expect(answers.every(([, source]) => JSON.stringify(source) === JSON.stringify([to, ports.web]))).toBe(true);
  });

  test.each(udp)('$family: another backend when theirs is gone', async ({ to, backends, number }) => {
    const [first] = await run(`s=opened('UDP','${to}'); result=asked(s,'${to}',${ports.web})`) as [string];
    const at = backends.indexOf(first);
    world.services.write({ address: service[number], port: ports.web, protocol: 'UDP', backends: [numberOf('UDP', number, 1 - at)] });
    expect(await run(`result=asked(s,'${to}',${ports.web})`)).toEqual([first, [to, ports.web]]);
    world.removeBackend(numberOf('UDP', number, at));
    expect(await run(`result=asked(s,'${to}',${ports.web}); s.close()`)).toEqual([backends[1 - at], [to, ports.web]]);
    writeServices();
  });

  test.each(udp)('$family: nobody behind it: refused', async ({ to }) => {
    expect(await run(`s=opened('UDP','${to}'); asked(s,'${to}',${ports.empty})`)).toBe(refusal);
  });

  test.each(udp)('$family: connected again elsewhere: shown as it is', async (row) => {
    const { to, backends } = row;
    const at = shown(row, backends[0]!);
    const code = `s=connected('UDP','${to}',${ports.web}); told(s); s.connect(('${at}',8080)); result=[told(s),end(s.getpeername())]; s.close()`;
    expect(await run(code)).toEqual([backends[0], [at, 8080]]);
  });

  test('one socket, more services than it has slots: each answers as itself', async () => {
    const many = Array.from({ length: 20 }, (_, index) => 9_000 + index);
    for (const port of many) world.services.write({ address: service[4], port, protocol: 'UDP', backends: [numberOf('UDP', 4, port % 2)] });
    const answers = await run(`s=opened('UDP','${service[4]}'); result=[asked(s,'${service[4]}',p)[0] for p in ${JSON.stringify(many)}]`);
    expect(answers).toEqual(many.map((port) => backendAddresses[4][port % 2]));
    expect(world.remembered).toBe(limit.SOCK_PEER_SLOTS);
    await run('s.close()');
    expect(world.remembered).toBe(0);
  });
});

describe('who is translated', () => {
  test.each(table)('$kind, $family: nobody in a network namespace of others', async ({ kind, to }) => {
    expect(await foreign.run(`result=once('${kind}','${to}',${ports.web})`)).toBe('errno 101');
  });

  const binds = [
    { name: 'a NodePort', at: '0.0.0.0', port: ports.node, found: taken },
    { name: 'a NodePort at the address of the node', at: nodeAddress, port: ports.node, found: taken },
    { name: 'a NodePort by IPv6', at: '::', port: ports.node, found: taken },
    { name: 'the same port of the loopback address', at: '127.0.0.1', port: ports.node, found: 'bound' },
    { name: 'another port', at: '0.0.0.0', port: ports.node + 1, found: 'bound' },
    { name: 'any port', at: '::', port: 0, found: 'bound' },
  ];
  test.each(binds.flatMap((row) => kinds.map((kind) => ({ ...row, kind }))))('a process of the node binds $name, $kind: $found', async ({ kind, at, port, found }) => {
    expect(await node.run(`s=opened('${kind}','${at}'); s.bind(('${at}',${port})); s.close(); result='bound'`)).toBe(found);
  });

  test('a workload binds the same port', async () => {
    expect(await run(`s=opened('TCP','0.0.0.0'); s.bind(('0.0.0.0',${ports.node})); s.close(); result='bound'`)).toBe('bound');
  });

  test('the node asks for its own NodePort', async () => {
    // It comes to the backend's address, which is not in this namespace.
    expect(await node.run(`connected('TCP','${nodeAddress}',${ports.node})`)).toBe('errno 101');
    expect(world.services.backends.get(numberOf('TCP', 4, 0))!.connections).toBeGreaterThan(0);
  });
});

describe('limits', () => {
  test('no room to remember: left to packets, counted', async () => {
    const { sockPeers } = world.datapath;
    const fill = (slot: number): { cookie: bigint; slot: number } => ({ cookie: 1n << 60n, slot });
    const none = { word: new Uint8Array(16) };
    const row = { frontend: none, backend: none, frontend_port: 0, backend_port: 0, protocol: 0, service: 0, number: 0, ifindex: 0 };
    sockPeers.setAll(Array.from({ length: limit.MAX_SOCK_PEERS }, (_, slot) => [fill(slot), row] as const), limit.MAX_SOCK_PEERS);
    const before = world.datapath.counter(counter.COUNTER_SOCK_PEERS_FULL);
    expect(await run(`result=once('TCP','${service[4]}',${ports.web})`)).toBe('errno 101');
    for (let slot = 0; slot < limit.MAX_SOCK_PEERS; slot += 1) sockPeers.delete(fill(slot));
    expect(world.datapath.counter(counter.COUNTER_SOCK_PEERS_FULL) - before).toBe(1n);
    expect(backendAddresses[4]).toContain(await run(`result=once('TCP','${service[4]}',${ports.web})`));
  });

  test('connections are counted by backend', async () => {
    writeServices();
    await run(`result=many(10, lambda: once('TCP','${service[6]}',${ports.web}))`);
    expect([0, 1].reduce((sum, index) => sum + world.services.backends.get(numberOf('TCP', 6, index))!.connections, 0)).toBe(10);
  });
});
