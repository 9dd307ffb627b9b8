// End to end: TCP between two workloads of a node from socket to socket (--sockmap on): what applications see is what they see of packets,
// and policy holds for each message. IPv4 and IPv6.
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { cgroupRoot } from '../agent/node/check.ts';
import { Python } from '../bpf/testing/sockets.ts';
import { Cluster, pod } from './cluster.ts';
import { idle } from './programs.ts';

const prelude = `
import socket, threading, time, struct, hashlib, os, select
socket.setdefaulttimeout(5)
def listening(port):
  global listener
  listener = socket.create_server(('::', port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=2000)
def accepted(): global s; s, _ = listener.accept(); s.settimeout(5)
def connected(address, port): global s; s = socket.create_connection((address, port))
def exactly(n):
  data = b''
  while len(data) < n:
    more = s.recv(n - len(data))
    if not more: break
    data += more
  return data
`;

interface Counts { readonly messages: number; readonly bytes: number; readonly packets: number }
let cluster: Cluster;
let client: Python;
let server: Python;
const counts = (): Counts => cluster.json<{ sockmap: Counts }>('status').sockmap;

beforeAll(async () => {
  cluster = await Cluster.start('sockmap', { 'pods.yaml': [pod('client', idle), pod('server', idle)] }, ['--sockmap', 'on']);
  const netns = new Map(cluster.json<{ name: string; shimPid: number }[]>('db', 'show', 'workloads').map(({ name, shimPid }) => [name, `/proc/${shimPid}/ns/net`]));
  [client, server] = [new Python(netns.get('client')!, cgroupRoot()!, prelude), new Python(netns.get('server')!, cgroupRoot()!, prelude)];
  for (const python of [client, server]) await python.ready();
  await server.run('listening(8080)');
}, 120_000);
afterAll(async () => {
  for (const python of [client, server]) await python.close();
  await cluster.close();
});

async function pair(family: 'ipv4' | 'ipv6'): Promise<void> {
  await client.run(`connected('${cluster.end('default/server')[family]}', 8080)`);
  await server.run('accepted()');
}

describe.each(['ipv4', 'ipv6'] as const)('%s', (family) => {
  test('messages of both ends go from socket to socket', async () => {
    const before = counts();
    await pair(family);
    for (let round = 0; round < 10; round += 1) {
      await client.run(`s.sendall(b'ask %d' % ${round})`);
      expect(await server.run('result = s.recv(100).decode()')).toBe(`ask ${round}`);
      await server.run(`s.sendall(b'answer %d' % ${round})`);
      expect(await client.run('result = s.recv(100).decode()')).toBe(`answer ${round}`);
    }
    await client.run('s.close()');
    expect(await server.run('result = s.recv(100).decode(); s.close()')).toBe('');
    const after = counts();
    expect(after.messages - before.messages).toBe(20);
    expect(after.bytes - before.bytes).toBe(10 * ('ask 0'.length + 'answer 0'.length));
    expect(after.packets).toBe(before.packets);
  });
});
