// A bad line: packets lost, late, doubled and out of order (netem). What is allowed arrives whole, what is denied never does.
import { spawnSync } from 'node:child_process';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { Cluster, pod, policy } from './cluster.ts';
import { hasNetem } from './modules.ts';
import { idle, server } from './programs.ts';

const bytes = 1 << 18;

/** Sends numbered bytes through an echo on each of some connections and prints how many came back right. */
const transfer = (address: string): string[] => ['python3', '-c', `
import socket, threading
whole = bytes(i * 7 & 255 for i in range(${bytes}))
right = []
def one():
    s = socket.create_connection(('${address}', 8080), timeout=60)
    line = s.makefile('rb').readline()
    threading.Thread(target=lambda: s.sendall(whole), daemon=True).start()
    back = bytearray()
    while len(back) < len(whole): back += s.recv(65536)
    if bytes(back) == whole: right.append(1)
    s.close()
threads = [threading.Thread(target=one) for _ in range(2)]
for t in threads: t.start()
for t in threads: t.join()
print(len(right))
`];

const scenario = hasNetem() ? describe : describe.skip;

scenario('netem', () => {
  let cluster: Cluster;
  beforeAll(async () => {
    cluster = await Cluster.start('loss', {
      'all.yaml': [
        pod('server', server(8080, 9090)), pod('client', idle),
        policy('server', { endpointSelector: { matchLabels: { app: 'server' } }, ingress: [
          { fromEndpoints: [{ matchLabels: { app: 'client' } }], toPorts: [{ ports: [{ port: '8080', protocol: 'TCP' }] }] },
        ] }),
      ],
    });
    const { ipv4 } = cluster.end('default/server');
    await cluster.until('the server listens', () => cluster.probe('default/client', [{ kind: 'tcp', to: ipv4, port: 8080 }])[0] === 'open');
  }, 120_000);
  afterAll(async () => { await cluster.close(); });

  /** On what both workloads send. */
  function disturb(how: string): void {
    for (const { shimPid } of cluster.json<{ shimPid: number }[]>('db', 'show', 'workloads')) {
      const { status, stderr } = spawnSync('nsenter', [`--net=/proc/${shimPid}/ns/net`, 'tc', 'qdisc', 'replace', 'dev', 'eth0', 'root', 'netem', ...how.split(' ')], { encoding: 'utf8' });
      if (status !== 0) throw new Error(`netem ${how}: ${stderr}`);
    }
  }

  describe.each([
    { name: 'loss', how: 'loss 3%' },
    { name: 'reordering', how: 'delay 5ms reorder 30% 50%' },
    { name: 'doubles', how: 'duplicate 10%' },
    { name: 'delay that jumps', how: 'delay 10ms 8ms' },
  ])('$name', ({ how }) => {
    test.each(['ipv4', 'ipv6'] as const)('%s: transfers are whole, the port that is denied stays silent', (family) => {
      disturb(how);
      const address = cluster.end('default/server')[family];
      expect(cluster.exec('default/client', ...transfer(address))).toMatchObject({ code: 0, out: '2\n' });
      expect(cluster.probe('default/client', [{ kind: 'tcp', to: address, port: 9090 }])).toEqual(['silent']);
    }, 120_000);
  });

  test('no packet of what is allowed was dropped', () => {
    const flows = cluster.weir('observe', '--last', '1000', '--verdict', 'DROPPED', '--port', '8080', '-o', 'json');
    expect([flows.code, flows.out]).toEqual([0, '']);
  });
});
