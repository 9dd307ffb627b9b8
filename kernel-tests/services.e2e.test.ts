// Services on a node of its own: by name and address, from workloads and the node; replicas that are replaced, and an agent that is killed, under load.
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { Cluster, pod, traces, withNames } from './cluster.ts';
import { slowness } from './programs.ts';

/** Says its version and its name to everybody who asks. */
const answering = `
import os, socket, threading
def answer(peer):
    with peer:
        peer.recv(100); peer.sendall((os.environ['VERSION'] + ' ' + os.environ['POD_NAME'] + '\\n').encode())
listener = socket.create_server(('::', 8080), family=socket.AF_INET6, backlog=1000, dualstack_ipv6=True)
while True: threading.Thread(target=answer, args=(listener.accept()[0],), daemon=True).start()
`;
const web = (version: string, replicas = 3): object => ({
  apiVersion: 'apps/v1', kind: 'Deployment', metadata: { name: 'web', namespace: 'shop' },
  spec: {
    replicas, selector: { matchLabels: { app: 'web' } },
    template: {
      metadata: { labels: { app: 'web' } },
      spec: {
        terminationGracePeriodSeconds: 2,
        containers: [{
          name: 'web', ports: [{ name: 'http', containerPort: 8080 }], command: ['python3', '-u', '-c', answering], env: [{ name: 'VERSION', value: version }],
          readinessProbe: { tcpSocket: { port: 8080 }, periodSeconds: 1 },
        }],
      },
    },
  },
});
const service = (name: string, spec: object): object => ({ apiVersion: 'v1', kind: 'Service', metadata: { name, namespace: 'shop' }, spec });
const webService = service('web', { type: 'NodePort', ipFamilyPolicy: 'PreferDualStack', selector: { app: 'web' }, ports: [{ port: 80, targetPort: 'http' }] });

/** Asks by name, over both families in turn, some hundred times a second (each leaves its connections in conntrack for up to 30 s, under a quota), and counts from the first answer on; a line each half second: requests, failures, who answered. */
const asking = `
import collections, socket, time
done, failed, seen, told = 0, 0, collections.Counter(), time.monotonic()
while True:
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            address = socket.getaddrinfo('web', 80, family, socket.SOCK_STREAM)[0][4]
            with socket.socket(family, socket.SOCK_STREAM) as s:
                s.settimeout(5); s.connect(address); s.sendall(b'hello'); answer = s.recv(100).decode().split()
            done += 1; seen[answer[0]] += 1
        except Exception as error:
            if not done: continue # names and backends are on their way
            failed += 1; print('failed', repr(error), flush=True)
        time.sleep(0.002)
    if time.monotonic() - told > 0.5:
        print(done, failed, ' '.join(sorted(seen)), flush=True); seen.clear(); told = time.monotonic()
`;

interface Load { readonly done: number; readonly failed: number; readonly versions: readonly string[] }

let cluster: Cluster;
const lines = (): string[] => cluster.weir('workload', 'logs', 'shop/client', '--tail', '2000').out.trim().split('\n').map((line) => line.replace(/^\S+ std(out|err) /, ''));
function load(): Load {
  const [done = '0', failed = '0', ...versions] = lines().filter((line) => /^\d/.test(line)).at(-1)?.split(' ') ?? [];
  return { done: Number(done), failed: Number(failed), versions };
}
const listed = (name: string) => cluster.json<{ name: string; clusterIps: string[]; ports: string[]; backends: string; state: string; connections: number }[]>('service', 'list').find((row) => row.name === name)!;

beforeAll(async () => {
  cluster = await Cluster.start('services', {
    'namespace.yaml': { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'shop' } }, 'web.yaml': web('one'), 'web-service.yaml': webService,
    'client.yaml': pod('client', ['python3', '-u', '-c', asking], { app: 'client' }, 'shop'),
    'nobody.yaml': service('nobody', { selector: { app: 'nobody' }, ports: [{ port: 80 }] }),
  }, [withNames]);
  await cluster.until('all replicas stand behind the Service', () => listed('web').backends === '6 of 6');
}, 180_000 * slowness);
afterAll(async () => {
  await cluster.close();
  expect(traces(cluster.instance)).toEqual([]);
}, 60_000 * slowness);

const ask = (address: string, port: number): string => `import socket; s = socket.create_connection((${JSON.stringify(address)}, ${port}), 5); s.sendall(b'x'); print(s.getpeername()[:2], s.recv(100).decode().strip())`;

describe('a Service is reached', () => {
  test('by its name, from a workload', async () => {
    await cluster.until('requests', () => load().done > 50);
    expect(load().versions).toEqual(['one']);
  });
  test.each([[0, 'IPv4'], [1, 'IPv6']])('by ClusterIP %i (%s), from the node, which sees that address as its peer', (index) => {
    const address = listed('web').clusterIps[index]!;
    const { out, error } = cluster.on('node', 'python3', '-c', ask(address, 80));
    expect(error).toBe('');
    expect(out).toMatch(new RegExp(`^\\('${address}', 80\\) one web-`));
  });
  test('and counts whom it sent on', () => {
    const before = listed('web').connections;
    for (let round = 0; round < 5; round += 1) cluster.on('node', 'python3', '-c', ask(listed('web').clusterIps[0]!, 80));
    expect(listed('web').connections).toBeGreaterThanOrEqual(before + 5);
  });
  test('nowhere, without backends: the connection is refused at once', () => {
    const { error } = cluster.on('node', 'python3', '-c', ask(listed('nobody').clusterIps[0]!, 80));
    expect(error).toMatch(/ConnectionRefusedError/);
    expect(listed('nobody').state).toBe('no backends');
  });
});

describe('what the command line says', () => {
  test('service get', () => {
    const { out } = cluster.weir('service', 'get', 'shop/web');
    expect(out).toMatch(/web-service\.yaml:1/);
    expect(out.match(/web-\w{5}-\d +\S+ +active/g)).toHaveLength(6);
  });
  test('service explain, of a frontend, of a backend and of neither', () => {
    const address = listed('web').clusterIps[0]!;
    expect(cluster.weir('service', 'explain', `${address}:80`).out).toMatch(/ClusterIP of Service shop\/web(.|\n)*-> \S+:8080\/TCP shop\/web-/);
    expect(cluster.weir('service', 'explain', `${address}:81`).out).toMatch(/which has no port 81; it has 80:\d+\/TCP/);
    expect(cluster.weir('service', 'explain', '192.0.2.7:80').out).toMatch(/is no address of a Service/);
    expect(cluster.weir('service', 'explain', 'web').error).toMatch(/expected an address and a port/);
  });
  test('bpf lb has what the table has', () => {
    const kernel = cluster.json<{ frontend: string; scope: string; backends: string[] }[]>('bpf', 'lb').map(({ frontend, scope, backends }) => `${frontend} ${scope} ${[...backends].sort().join()}`).sort();
    const table = cluster.json<{ key: string; backends: string[] }[]>('db', 'show', 'frontends').map(({ key, backends }) => `${key} ${[...backends].sort().join()}`).sort();
    expect(kernel).toEqual(table);
  });
});

describe('under load no request fails', () => {
  test('while all backends are replaced, one by one', async () => {
    const before = load();
    cluster.write('web.yaml', web('two'));
    await cluster.until('only the new version answers', () => load().versions.join() === 'two', 60_000 * slowness);
    await cluster.settled();
    await cluster.until('the last backends', () => listed('web').backends === '6 of 6');
    await sleep(1_000);
    const after = load();
    expect(lines().filter((line) => line.startsWith('failed')).slice(0, 5)).toEqual([]);
    expect(after.done - before.done).toBeGreaterThan(100);
    expect(after.failed).toBe(0);
  }, 120_000 * slowness);

  test('while the agent is killed and another takes over', async () => {
    const before = load();
    const addresses = listed('web').clusterIps;
    const backends = cluster.json<{ backends: object[] }>('service', 'get', 'shop/web').backends.length;
    await cluster.stop('SIGKILL');
    await sleep(2_000);
    await cluster.up();
    await cluster.until('requests', () => load().done > before.done + 100, 30_000 * slowness);
    await sleep(1_000);
    expect(listed('web').clusterIps).toEqual(addresses);
    expect(cluster.json<{ backends: object[] }>('service', 'get', 'shop/web').backends).toHaveLength(backends);
    expect(lines().filter((line) => line.startsWith('failed')).slice(0, 5)).toEqual([]);
    expect(load().failed).toBe(0);
  }, 120_000 * slowness);
});
