// WebSocket, gRPC and HTTP/2 without TLS under rules: what passes, in both families; many streams of one connection while rules change and while
// another Envoy takes over, which tells them by GOAWAY.
import { copyFileSync, existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type { Flow } from '../hubble/types.ts';
import { Cluster, pod, policy, traces } from './cluster.ts';
import { idle, slowness } from './programs.ts';
import { call, chat, endPrograms, serveProtocols, Streams } from './protocols.ts';

const families = ['ipv4', 'ipv6'] as const;
const [h2, ws] = [8080, 8081];
const methods = (...http: object[]): object => policy('shop', { endpointSelector: { matchLabels: { app: 'shop' } }, ingress: [{ fromEndpoints: [{ matchLabels: { app: 'client' } }], toPorts: [
  { ports: [{ port: String(h2), protocol: 'TCP' }], rules: { http } }, { ports: [{ port: String(ws), protocol: 'TCP' }], rules: { http: [{ method: 'GET', path: '/chat' }] } },
] }] });
const allowed = methods({ method: 'POST', path: '/shop.Catalog/(Get|Watch)(\\?.*)?' });

/** Of the other Envoy: the agent asks for it again with every new rule set. */
const folder = mkdtempSync(join(tmpdir(), 'weir-other-envoy-'));
let cluster: Cluster;
let client: number;
interface Envoy { readonly pid: number; readonly path: string }
const envoy = (): Envoy => cluster.json<{ envoy: Envoy }>('status').envoy;
const end = (family: typeof families[number]): string => cluster.end('default/shop')[family];

beforeAll(async () => {
  cluster = await Cluster.start('l7-protocols', { 'policy.yaml': allowed, 'pods.yaml': [pod('client', idle), pod('shop', idle)] });
  const shims = new Map<string, number>();
  await cluster.until('both run', () => {
    for (const { name, shimPid } of cluster.json<{ name: string; shimPid: number }[]>('db', 'show', 'workloads')) if (shimPid > 0) shims.set(name, shimPid);
    return shims.size === 2 && ['default/client', 'default/shop'].every((name) => cluster.json<{ key: string }[]>('endpoint', 'list').some(({ key }) => key === name));
  });
  client = shims.get('client')!;
  serveProtocols(shims.get('shop')!, h2, ws);
  await cluster.until('the server answers', () => call(client, end('ipv4'), h2, [{ path: '/shop.Catalog/Get', messages: ['a'] }])[0]!.grpc === '0');
}, 180_000 * slowness);
afterAll(async () => {
  endPrograms();
  await cluster.close();
  rmSync(folder, { recursive: true });
  expect(traces(cluster.instance)).toEqual([]);
}, 60_000 * slowness);

describe.each(families)('%s', (family) => {
  test('gRPC by method: a call, a stream of messages both ways, what is refused, all over one connection', () => {
    const seen = { client: cluster.end('default/client')[family] };
    expect(call(client, end(family), h2, [
      { path: '/shop.Catalog/Get', messages: ['one'] }, { path: '/shop.Catalog/Watch', messages: ['a', 'b', 'c'] },
      { path: '/shop.Catalog/Delete', messages: ['one'] }, { path: '/shop.Admin/Get', messages: ['one'] }, { path: '/shop.Catalog/../Admin/Get', messages: ['one'] },
    ])).toEqual([
      { status: 200, grpc: '0', got: ['</shop.Catalog/Get>one'], ...seen }, { status: 200, grpc: '0', got: ['a', 'b', 'c'].map((text) => `</shop.Catalog/Watch>${text}`), ...seen },
      ...[1, 2, 3].map(() => ({ status: 200, grpc: '7', got: [] })),
    ]);
  });

  test('WebSocket: frames both ways once its request was allowed', () => {
    expect(chat(client, end(family), ws, '/chat', ['hello', 'and', 'again'])).toMatchObject({ open: true, got: ['<hello>', '<and>', '<again>'] });
  });

  test('WebSocket: a path that no rule allows', () => {
    expect(chat(client, end(family), ws, '/other', ['hello'])).toEqual({ open: false, got: [], code: 1006 });
  });
});

test('flows: the method\'s path, HTTP/2, the upgrade', async () => {
  const flows = (...words: string[]): Flow[] => cluster.weir('observe', '--last', '200', '-o', 'jsonpb', '--protocol', 'http', ...words).out.trim().split('\n').filter((line) => line !== '').map((line) => (JSON.parse(line) as { flow: Flow }).flow);
  const told = (flow: Flow): unknown[] => [flow.verdict, flow.l7?.http?.protocol, flow.l7?.http?.code ?? 0, flow.l7?.http?.url?.replace(/^.*:\d+/, '')];
  call(client, end('ipv4'), h2, [{ path: '/shop.Catalog/Get', messages: ['one'] }, { path: '/shop.Catalog/Delete', messages: ['one'] }]);
  chat(client, end('ipv4'), ws, '/chat', ['hello']);
  const wanted = [['FORWARDED', 'HTTP/2', 200, '/shop.Catalog/Get'], ['DROPPED', 'HTTP/2', 0, '/shop.Catalog/Delete'], ['FORWARDED', 'HTTP/1.1', 101, '/chat']];
  await cluster.until(`flows: ${JSON.stringify(wanted)}`, () => {
    const all = flows().map((flow) => JSON.stringify(told(flow)));
    return wanted.every((row) => all.includes(JSON.stringify(row)));
  }, 5_000);
});

test('a rule changes under the streams of one connection: no call fails, the connection stays', async () => {
  const streams = new Streams(client, end('ipv4'), h2, '/shop.Catalog/Get?wait=50');
  await sleep(500);
  cluster.write('policy.yaml', methods({ path: '/shop.Catalog/Watch' }));
  await sleep(1_500);
  cluster.write('policy.yaml', allowed);
  await sleep(1_000);
  const { answers, ...rest } = await streams.stop();
  expect(rest).toEqual({ failed: 0, errors: [], goaways: 0, connections: 1, most: 16 });
  expect(Object.keys(answers).sort()).toEqual(['200 0', '200 7']);
}, 60_000 * slowness);

test('another Envoy takes over: GOAWAY, and no call of any stream fails', async () => {
  const before = envoy();
  const path = join(folder, 'envoy');
  copyFileSync(before.path, path);
  const all = families.map((family) => new Streams(client, end(family), h2, '/shop.Catalog/Get?wait=50'));
  await sleep(500);
  await cluster.stop('SIGKILL');
  await cluster.up(['--envoy', path]);
  await cluster.until('the one before has ended', () => !existsSync(`/proc/${before.pid}`));
  await sleep(500);
  for (const one of all) {
    const { answers, ...rest } = await one.stop();
    process.stdout.write(`another Envoy: ${answers['200 0']} calls, ${rest.failed} failed, ${rest.goaways} GOAWAY, ${rest.connections} connections\n`);
    expect(rest).toEqual({ failed: 0, errors: [], goaways: expect.any(Number), connections: 2, most: 16 });
    expect(rest.goaways).toBeGreaterThan(0);
    expect(Object.keys(answers)).toEqual(['200 0']);
  }
  expect(envoy()).toMatchObject({ path });
}, 120_000 * slowness);

test('rules of another policy come beside: the connection is reset at once, the next one is judged by both', async () => {
  const streams = new Streams(client, end('ipv4'), h2, '/shop.Catalog/Get?wait=50');
  await sleep(500);
  cluster.write('beside.yaml', policy('beside', { endpointSelector: { matchLabels: { app: 'shop' } }, ingress: [{ fromEndpoints: [{ matchLabels: { app: 'client' } }], toPorts: [{ ports: [{ port: String(h2), protocol: 'TCP' }], rules: { http: [{ path: '/shop.Admin/Get' }] } }] }] }));
  await cluster.until('both hold', () => call(client, end('ipv4'), h2, [{ path: '/shop.Admin/Get', messages: ['a'] }])[0]!.grpc === '0');
  await sleep(500);
  const { answers, failed, ...rest } = await streams.stop();
  process.stdout.write(`rules of another policy beside: ${answers['200 0']} calls, ${failed} failed: ${rest.errors[0]}\n`);
  expect(rest).toMatchObject({ connections: 2, most: 16 });
  // At most those that were under way.
  expect(failed).toBeLessThanOrEqual(16);
  expect(Object.keys(answers)).toEqual(['200 0']);
}, 60_000 * slowness);
