// L7 rules while things change: rules under connections that are kept, an agent that is killed, Envoy that is killed, frozen, replaced.
import { copyFileSync, existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { Cluster, pod, policy, traces } from './cluster.ts';
import { endLoads, httpServer, Load } from './http.ts';
import { slowness } from './programs.ts';

const [l7, l4] = [8080, 8081];
/** `items`: of paths. */
const web = (...items: readonly (readonly string[])[]): object => policy('web', { endpointSelector: { matchLabels: { app: 'web' } }, ingress: [{ fromEndpoints: [{ matchLabels: { app: 'client' } }], toPorts: [
  ...items.map((paths) => ({ ports: [{ port: String(l7), protocol: 'TCP' }], rules: { http: paths.map((path) => ({ path })) } })), { ports: [{ port: String(l4), protocol: 'TCP' }] },
] }] });

let cluster: Cluster;
let shimPid: number;
let address: string;
interface Envoy { readonly pid: number; readonly restarts: number; readonly path: string }
const envoy = (): Envoy => cluster.json<{ envoy: Envoy }>('status').envoy;

beforeAll(async () => {
  cluster = await Cluster.start('l7-life', { 'policy.yaml': web(['/.*']), 'pods.yaml': [pod('client', ['sleep', '100000']), pod('web', httpServer(l7, l4))] });
  shimPid = cluster.json<{ name: string; shimPid: number }[]>('db', 'show', 'workloads').find(({ name }) => name === 'client')!.shimPid;
  address = cluster.end('default/web').ipv4;
  await cluster.until('Envoy answers', () => cluster.exec('default/client', 'python3', '-c', `import http.client; c = http.client.HTTPConnection('${address}', ${l7}, timeout=2); c.request('GET', '/'); print(c.getresponse().status)`).out.trim() === '200');
}, 180_000 * slowness);
afterAll(async () => {
  endLoads();
  await cluster.close();
  expect(traces(cluster.instance)).toEqual([]);
}, 60_000 * slowness);

test('a rule changes under connections that are kept: judged by the new one, and no request fails', async () => {
  const load = new Load(shimPid, address, l7, '/one');
  await sleep(500);
  const changed = Date.now();
  cluster.write('policy.yaml', web(['/two']));
  await sleep(1_500);
  cluster.write('policy.yaml', web(['/.*']));
  await sleep(1_000);
  const end = await load.stop();
  expect(end).toMatchObject({ failed: 0, errors: [] });
  expect(end.codes['200']).toBeGreaterThan(0);
  expect(end.codes['403']).toBeGreaterThan(0);
  expect(end.firstOf['403']! - changed).toBeLessThan(1_000 * slowness);
}, 60_000 * slowness);

test('the agent is killed and comes back: no request fails', async () => {
  const before = envoy();
  const loads = [new Load(shimPid, address, l7, '/kept'), new Load(shimPid, address, l7, '/fresh', { fresh: true })];
  await sleep(500);
  await cluster.stop('SIGKILL');
  await sleep(1_000);
  await cluster.up();
  await sleep(1_000);
  for (const load of loads) expect(await load.stop()).toMatchObject({ failed: 0, errors: [] });
  expect(envoy()).toMatchObject({ pid: before.pid });
}, 120_000 * slowness);

test('another Envoy takes over: no request fails', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'weir-other-envoy-'));
  try {
    const before = envoy();
    const path = join(folder, 'envoy');
    copyFileSync(before.path, path);
    const loads = [new Load(shimPid, address, l7, '/kept'), new Load(shimPid, address, l7, '/fresh', { fresh: true })];
    await sleep(500);
    await cluster.stop('SIGKILL');
    await cluster.up(['--envoy', path]);
    const begunMs = performance.now();
    await cluster.until('the one before has ended', () => !existsSync(`/proc/${before.pid}`));
    const tookMs = performance.now() - begunMs;
    await sleep(500);
    const ends = await Promise.all(loads.map(async (load) => load.stop()));
    process.stdout.write(`another Envoy: ${Math.round(tookMs)} ms after the agent is up, ${ends.map(({ codes, failed, longestMs }) => `${codes['200']} requests, ${failed} failed, longest pause ${Math.round(longestMs)} ms`).join('; ')}\n`);
    for (const end of ends) expect(end).toMatchObject({ failed: 0, errors: [] });
    expect(envoy()).toMatchObject({ path, restarts: 0 });
    expect(envoy().pid).not.toBe(before.pid);
  } finally {
    rmSync(folder, { recursive: true });
  }
}, 120_000 * slowness);

test('Envoy is killed: what needs none goes on, and the rest is back at once', async () => {
  const [judged, plain] = [new Load(shimPid, address, l7, '/judged', { connections: 1 }), new Load(shimPid, address, l4, '/plain')];
  await sleep(500);
  const before = envoy();
  process.kill(before.pid, 'SIGKILL');
  await cluster.until('another runs', () => envoy().pid !== before.pid && envoy().pid !== 0);
  await sleep(1_000);
  expect(await plain.stop()).toMatchObject({ failed: 0 });
  const end = await judged.stop();
  process.stdout.write(`Envoy killed: ${end.failed} requests failed, the longest pause ${Math.round(end.longestMs)} ms\n`);
  expect(end.codes['200']).toBeGreaterThan(0);
}, 60_000 * slowness);

test('the agent and Envoy are killed at once under load: what needs no Envoy goes on, and the rest is back with the agent', async () => {
  const [judged, plain] = [new Load(shimPid, address, l7, '/judged'), new Load(shimPid, address, l4, '/plain')];
  await sleep(500);
  const { pid } = envoy();
  process.kill(pid, 'SIGKILL');
  await cluster.stop('SIGKILL');
  await cluster.up();
  const upMs = Date.now();
  await cluster.until('Envoy is there', () => envoy().pid !== 0 && envoy().pid !== pid);
  await sleep(1_500);
  expect(await plain.stop()).toMatchObject({ failed: 0 });
  const end = await judged.stop();
  process.stdout.write(`agent and Envoy killed: ${end.failed} requests failed, the longest pause ${Math.round(end.longestMs)} ms\n`);
  expect(end.codes['200']).toBeGreaterThan(0);
  const after = new Load(shimPid, address, l7, '/after');
  await sleep(500);
  expect(await after.stop()).toMatchObject({ failed: 0 });
  expect(Date.now() - upMs).toBeLessThan(20_000 * slowness);
}, 120_000 * slowness);

test('Envoy is frozen: it is replaced', async () => {
  const before = envoy();
  process.kill(before.pid, 'SIGSTOP');
  await cluster.until('another runs', () => envoy().pid !== before.pid && envoy().pid !== 0);
  const load = new Load(shimPid, address, l7, '/after');
  await sleep(500);
  expect(await load.stop()).toMatchObject({ failed: 0 });
}, 60_000 * slowness);

test('5,000 rules for one port: the last one holds, what none of them allows does not pass', async () => {
  const code = (path: string): string => cluster.exec('default/client', 'python3', '-c', `import http.client; c = http.client.HTTPConnection('${address}', ${l7}, timeout=5); c.request('GET', '${path}'); print(c.getresponse().status)`).out.trim();
  const paths = Array.from({ length: 5_000 }, (_, index) => `/rule/${index}/[a-z]+`);
  const begunMs = performance.now();
  cluster.write('policy.yaml', web(paths.slice(0, 2_500), paths.slice(2_500)));
  await cluster.until('they hold', () => code('/rule/4999/a') === '200');
  process.stdout.write(`5,000 rules: in force after ${Math.round(performance.now() - begunMs)} ms\n`);
  expect(['/rule/0/a', '/rule/2500/a', '/rule/5000/a', '/rule/4999/1', '/'].map(code)).toEqual(['200', '200', '403', '403', '403']);
}, 60_000 * slowness);
