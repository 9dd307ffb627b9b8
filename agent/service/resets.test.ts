// A backend goes, and who was connected to it by its service is told: real sockets under the shipped programs.
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { mappedBytes } from '../ipcache/address.ts';
import { SocketWorld, type Python } from '../../bpf/testing/sockets.ts';
import { Resets } from './resets.ts';

const netns = `weir-resets-${process.pid}`;
const ifindex = 7;
const backends = { 4: ['10.1.0.1', '10.1.0.2'], 6: ['fd01::1', 'fd01::2'] } as const;
const service = { 4: '10.96.0.1', 6: 'fd96::1' } as const;
const port = 8080;
/** ECONNABORTED; who sends by UDP finds itself unconnected: EDESTADDRREQ. */
const ended = { TCP: 'errno 103', UDP: 'errno 89' } as const;
const alive = 'x';

const server = `
import socket, threading
def serving(c):
  try:
    while True:
      data = c.recv(100)
      if not data: return
      c.sendall(data)
  except OSError: pass
def accepting(s):
  while True: threading.Thread(target=serving, args=(s.accept()[0],), daemon=True).start()
def answering(s):
  while True: s.sendto(*s.recvfrom(100))
for address in ${JSON.stringify([...backends[4], ...backends[6]])}:
  family = socket.AF_INET6 if ':' in address else socket.AF_INET
  for kind, work in ((socket.SOCK_STREAM, accepting), (socket.SOCK_DGRAM, answering)):
    s = socket.socket(family, kind); s.bind((address, ${port}))
    if kind == socket.SOCK_STREAM: s.listen(100)
    threading.Thread(target=work, args=(s,), daemon=True).start()
`;
const client = `
import socket
def connected(kind, address, port):
  s = socket.socket(socket.AF_INET6 if ':' in address else socket.AF_INET, socket.SOCK_STREAM if kind == 'TCP' else socket.SOCK_DGRAM); s.settimeout(2); s.connect((address, port)); return s
def echoed(s):
  try: s.send(b'x'); return s.recv(100).decode()
  except OSError as e: return 'errno %d' % e.errno
`;

let world: SocketWorld;
let python: Python;
beforeAll(async () => {
  world = new SocketWorld(`resets-${process.pid}`, { [netns]: [...backends[4], ...backends[6]] });
  world.client(netns, ifindex);
  await world.python(netns, server);
  python = await world.python(netns, client);
});
afterAll(async () => { await world.close(); });

const rows = (['TCP', 'UDP'] as const).flatMap((kind) => [
  { kind, family: 'IPv4', version: 4, to: service[4], direct: backends[4][0] },
  { kind, family: 'IPv6', version: 6, to: service[6], direct: backends[6][0] },
  { kind, family: 'IPv4 by an IPv6 socket', version: 4, to: `::ffff:${service[4]}`, direct: `::ffff:${backends[4][0]}` },
] as const);

test.each(rows)('$kind, $family: its clients by the service are told, nobody else', async ({ kind, version, to, direct }) => {
  const resets = new Resets({ datapath: world.datapath, netnsOf: (index) => (index === ifindex ? `/run/netns/${netns}` : undefined), log: (line) => { throw new Error(line); } });
  const { services } = world;
  [1, 2].forEach((number) => {
    services.backend(number, { address: backends[version][number - 1]!, port }, kind);
    services.write({ address: service[version], port: 80 + number, protocol: kind, backends: [number] });
  });
  await python.run(`told=connected('${kind}','${to}',81); other=connected('${kind}','${to}',82); direct=connected('${kind}','${direct}',${port})`);
  expect(await python.run('result=[echoed(s) for s in (told,other,direct)]')).toEqual([alive, alive, alive]);
  services.write({ address: service[version], port: 81, protocol: kind, backends: [2] });
  world.removeBackend(1);
  resets.gone([{ number: 1, address: mappedBytes(backends[version][0]), port }]);
  for (let left = 100; left > 0 && resets.counts[kind] === 0; left -= 1) await sleep(20);
  await resets.stop();
  expect(await python.run('result=[echoed(s) for s in (told,other,direct)]')).toEqual([ended[kind], alive, alive]);
  expect(resets.counts).toEqual({ TCP: 0, UDP: 0, [kind]: 1 });
  expect(await python.run(`again=connected('${kind}','${to}',81); result=echoed(again); [s.close() for s in (told,other,direct,again)]`)).toBe(alive);
  expect(world.remembered).toBe(0);
});

test('a number that is another backend by now is left alone', async () => {
  const resets = new Resets({ datapath: world.datapath, netnsOf: () => `/run/netns/${netns}`, log: (line) => { throw new Error(line); } });
  world.services.backend(1, { address: backends[4][1], port }, 'TCP');
  world.services.write({ address: service[4], port: 81, protocol: 'TCP', backends: [1] });
  await python.run(`s=connected('TCP','${service[4]}',81)`);
  resets.gone([{ number: 1, address: mappedBytes(backends[4][0]), port }]);
  await sleep(100);
  await resets.stop();
  expect(await python.run('result=echoed(s); s.close()')).toBe(alive);
  expect(resets.counts).toEqual({ TCP: 0, UDP: 0 });
});
