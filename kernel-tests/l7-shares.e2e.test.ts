// One workload that takes all it can get of the shared Envoy, and one that asks now and then: what becomes of each, and who is told.
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type { Flow } from '../hubble/types.ts';
import { Cluster, pod, policy, traces } from './cluster.ts';
import { asking, codesOf, endLoads, httpServer, Load } from './http.ts';
import { slowness } from './programs.ts';

const port = 8080;
const families = ['ipv4', 'ipv6'] as const;
const most = 20;

let cluster: Cluster;
beforeAll(async () => {
  cluster = await Cluster.start('l7-shares', {
    'policy.yaml': policy('web', { endpointSelector: { matchLabels: { app: 'web' } }, ingress: [{ fromEndpoints: [{}], toPorts: [{ ports: [{ port: String(port), protocol: 'TCP' }], rules: { http: [{ path: '/.*' }] } }] }] }),
    'pods.yaml': [pod('web', httpServer(port)), ...['quiet', 'greedy', 'hoarder'].map((name) => pod(name, ['sleep', '100000']))],
  }, ['--l7-share', '10', '--l7-connections', String(most)]);
  await cluster.until('Envoy answers', () => families.every((family) => ask('quiet', family, 1)[0] === 200));
}, 180_000 * slowness);
afterAll(async () => {
  endLoads();
  await cluster.close();
  expect(traces(cluster.instance)).toEqual([]);
}, 60_000 * slowness);

const ask = (who: string, family: (typeof families)[number], count: number): number[] =>
  codesOf(cluster.exec(`default/${who}`, ...asking(cluster.end('default/web')[family], port, Array.from({ length: count }, () => ({ path: '/' })))));

interface Used { readonly endpoint: string; readonly connections: number; readonly dropped: number; readonly refused: number }
const used = (who: string): Used | undefined => cluster.json<Used[]>('bpf', 'l7').find(({ endpoint }) => endpoint === `default/${who}`);
const shimPid = (who: string): number => cluster.json<{ name: string; shimPid: number }[]>('db', 'show', 'workloads').find(({ name }) => name === who)!.shimPid;

test.each(families)('%s: who floods is held to its share, the other notices nothing', async (family) => {
  const before = used('greedy')?.dropped ?? 0;
  const load = new Load(shimPid('greedy'), cluster.end('default/web')[family], port, '/flood', { connections: 64, fresh: true });
  const codes: number[] = [];
  for (let turn = 0; turn < 5; turn += 1) {
    codes.push(...ask('quiet', family, 3));
    await sleep(300);
  }
  const flooded = await load.stop();
  expect(codes).toEqual(Array.from({ length: 15 }, () => 200));
  expect(flooded.codes['200']).toBeGreaterThan(0);
  expect(used('greedy')!.dropped).toBeGreaterThan(before);
  expect(used('quiet')).toMatchObject({ dropped: 0, refused: 0 });
}, 90_000 * slowness);

test('it is told: status, flows, metrics of the kernel', () => {
  expect(cluster.json<{ envoy: { limited: readonly { endpoint: string }[] } }>('status').envoy.limited.map(({ endpoint }) => endpoint)).toEqual(['default/greedy']);
  expect(cluster.weir('status').out).toMatch(/1 held to their share \(default\/greedy: [1-9]\d* packets, \d+ connections\)/);
  expect(cluster.weir('bpf', 'drops').out).toMatch(/Rate limited +egress +[1-9]/);
  const flows = cluster.weir('observe', '--last', '50', '--verdict', 'DROPPED', '-o', 'jsonpb').out.trim().split('\n').map((line) => (JSON.parse(line) as { flow: Flow }).flow);
  expect(flows.length).toBeGreaterThan(0);
  for (const flow of flows) expect(flow).toMatchObject({ source: { pod_name: 'greedy' }, destination: { pod_name: 'web' }, drop_reason_desc: 'DROP_RATE_LIMITED' });
});

/** Opens so many connections that stay silent, says how many came to be, and closes them. What comes at once beyond the share is opened by a later SYN. */
const hoarding = (address: string, count: number): string[] => ['python3', '-c', `
import socket, sys, threading
opened = []
def dial():
    try: opened.append(socket.create_connection((sys.argv[1], ${port}), timeout=${4.5 * slowness}))
    except OSError: pass
threads = [threading.Thread(target=dial) for _ in range(${count})]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(len(opened))
`, address];

test.each(families)('%s: no more than so many open connections; those that end make room', async (family) => {
  const hoard = (): number => Number(cluster.exec('default/hoarder', ...hoarding(cluster.end('default/web')[family], most + 5)).out.trim());
  expect(hoard()).toBe(most);
  expect(used('hoarder')!.refused).toBeGreaterThanOrEqual(5);
  await cluster.until('they have ended', () => used('hoarder')!.connections === 0);
  expect(ask('hoarder', family, 1)).toEqual([200]);
}, 60_000 * slowness);
