// Envoy's workers: each workload's connections are one's, at every listener, and whoever floods has one alone.
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { Cluster, pod, policy, traces } from './cluster.ts';
import { asking, codesOf, endLoads, httpServer, Load } from './http.ts';
import { slowness } from './programs.ts';

const ports = [8080, 8081] as const;
const families = ['ipv4', 'ipv6'] as const;
const workers = 4;
/** More than there are workers: two of them share one. */
const clients = ['one', 'two', 'three', 'four', 'five'] as const;

let cluster: Cluster;
beforeAll(async () => {
  cluster = await Cluster.start('l7-workers', {
    // Rules of another kind at each port: a listener each.
    'policy.yaml': policy('web', { endpointSelector: { matchLabels: { app: 'web' } }, ingress: [{ fromEndpoints: [{}], toPorts: ports.map((port) => ({ ports: [{ port: String(port), protocol: 'TCP' }], rules: { http: [{ path: `/${port}.*` }] } })) }] }),
    'pods.yaml': [pod('web', httpServer(...ports)), ...clients.map((name) => pod(name, ['sleep', '100000']))],
  });
  await cluster.until('Envoy answers', () => ports.every((port) => families.every((family) => clients.every((who) => ask(who, family, port, 1)[0] === 200))));
}, 180_000 * slowness);
afterAll(async () => {
  endLoads();
  await cluster.close();
  expect(traces(cluster.instance)).toEqual([]);
}, 60_000 * slowness);

const ask = (who: string, family: (typeof families)[number], port: number, count: number): number[] =>
  codesOf(cluster.exec(`default/${who}`, ...asking(cluster.end('default/web')[family], port, Array.from({ length: count }, () => ({ path: `/${port}` })))));

interface Used { readonly endpoint: string; readonly worker: number; readonly dropped: number; readonly refused: number }
const used = (): ReadonlyMap<string, Used> => new Map(cluster.json<Used[]>('bpf', 'l7').map((row) => [row.endpoint.slice('default/'.length), row]));
const shimPid = (who: string): number => cluster.json<{ name: string; shimPid: number }[]>('db', 'show', 'workloads').find(({ name }) => name === who)!.shimPid;

/** What each worker has run, ns. */
function ranNs(): number[] {
  const folder = `/proc/${cluster.json<{ envoy: { pid: number } }>('status').envoy.pid}/task`;
  const ran = new Map(readdirSync(folder).map((task) => [readFileSync(`${folder}/${task}/comm`, 'utf8').trim(), Number(readFileSync(`${folder}/${task}/schedstat`, 'utf8').split(' ')[0])]));
  return Array.from({ length: workers }, (_, worker) => ran.get(`wrk:worker_${worker}`)!);
}

test.each(families)('%s: a workload is served by one worker, the same at every listener', (family) => {
  const served = new Set<number>();
  for (const who of clients.slice(0, 4)) {
    for (const port of ports) {
      const before = ranNs();
      expect(new Set(ask(who, family, port, 15))).toEqual(new Set([200]));
      const ran = ranNs().map((ns, worker) => ns - before[worker]!);
      const most = ran.indexOf(Math.max(...ran));
      expect([who, port, most]).toEqual([who, port, used().get(who)!.worker]);
      for (const [worker, ns] of ran.entries()) if (worker !== most) expect(ns).toBeLessThan(ran[most]! / 2);
      served.add(most);
    }
  }
  expect(served.size).toBeGreaterThan(1);
}, 90_000 * slowness);

test.each(families)('%s: who floods has a worker alone, for as long as it does; no packet of anybody is dropped', async (family) => {
  const at = used();
  const [greedy, quiet] = clients.flatMap((one, index) => clients.slice(index + 1).map((other) => [one, other] as const)).find((pair) => at.get(pair[0])!.worker === at.get(pair[1])!.worker)!;
  const load = new Load(shimPid(greedy), cluster.end('default/web')[family], ports[0], `/${ports[0]}${'x'.repeat(6_000)}`, { connections: 64, fresh: true });
  await cluster.until('others have left its worker', () => used().get(quiet)!.worker !== used().get(greedy)!.worker);
  const codes: number[] = [];
  for (let turn = 0; turn < 4; turn += 1) {
    const now = used();
    expect(clients.filter((who) => now.get(who)!.worker === now.get(greedy)!.worker)).toEqual([greedy]);
    codes.push(...ask(quiet, family, ports[1], 5));
    await sleep(200);
  }
  const flooded = await load.stop();
  expect(codes).toEqual(Array.from({ length: 20 }, () => 200));
  expect([flooded.failed, Object.keys(flooded.codes)]).toEqual([0, ['200']]);
  for (const row of used().values()) expect(row).toMatchObject({ dropped: 0, refused: 0 });
  await cluster.until('all are where they were', () => [...used()].every(([who, { worker }]) => worker === at.get(who)!.worker));
}, 90_000 * slowness);
