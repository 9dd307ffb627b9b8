// Probes of real containers: exec in their namespaces, http and tcp to their address, restarts, readiness over an agent's restart.
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { container, Fixture, pod, shell } from './fixture.ts';
import { probeOnce } from './probe-action.ts';
import { BoundedAsker } from './probes.ts';
import type { ProbeAction, ProbeSpec } from './probe-spec.ts';

let fixture: Fixture;
let server: Server;
let port: number;
/** Path -> status; a path that it does not know hangs. */
const answers = new Map<string, number>();
const asked: string[] = [];

beforeAll(async () => {
  fixture = new Fixture('probes');
  server = createServer((request, response) => {
    asked.push(`${request.url} ${request.headers['user-agent']} ${request.headers['x-a'] ?? ''}`);
    const status = answers.get(request.url!);
    if (status !== undefined) response.writeHead(status, { Location: '/elsewhere' }).end('x');
  }).listen(0, '127.0.0.1');
  await new Promise((listening) => { server.once('listening', listening); });
  ({ port } = server.address() as AddressInfo);
});
afterEach(async () => {
  fixture.pods.write([], fixture.pods.rows().map((row) => row.key));
  for (const row of fixture.workloads.rows()) await fixture.until(row.key, 'gone', (one) => one === undefined);
});
afterAll(async () => {
  server.closeAllConnections();
  server.close();
  await fixture.close();
});

const spec = (action: ProbeAction, more: Partial<ProbeSpec> = {}): ProbeSpec =>
  ({ action, initialDelayMs: 0, periodMs: 100, timeoutMs: 1_000, successThreshold: 1, failureThreshold: 2, ...more });
const exec = (script: string): ProbeAction => ({ kind: 'exec', command: shell(script) });
const http = (path: string): ProbeAction => ({ kind: 'http', port, path, tls: false, headers: { 'X-A': 'b' } });

describe('one probe', () => {
  const target = { folder: '/nowhere', container: 'main', address: '127.0.0.1' };
  test.each([
    { name: '200', path: '/ok', status: 200, answer: { ok: true } },
    { name: '302 is not followed', path: '/far', status: 302, answer: { ok: true } },
    { name: '399', path: '/399', status: 399, answer: { ok: true } },
    { name: '400', path: '/400', status: 400, answer: { ok: false, why: 'GET /400: HTTP 400' } },
    { name: '503', path: '/bad', status: 503, answer: { ok: false, why: 'GET /bad: HTTP 503' } },
    { name: 'no answer', path: '/hangs', status: undefined, answer: { ok: false, why: 'GET /hangs: no answer within 200 ms' } },
  ])('http: $name', async ({ path, status, answer }) => {
    if (status !== undefined) answers.set(path, status);
    expect(await probeOnce(target, http(path), 200)).toEqual(answer);
    expect(asked.at(-1)).toMatch(new RegExp(`^${path} kube-probe/weir-[\\d.]+ b$`));
  });

  test('http: blanks become percent signs, those that are there stay', async () => {
    answers.set('/a%20b%2Fc?d=e%20f', 200);
    expect(await probeOnce(target, http('/a b%2Fc?d=e%20f'), 500)).toEqual({ ok: true });
  });

  test('tcp: open, closed', async () => {
    expect(await probeOnce(target, { kind: 'tcp', port }, 500)).toEqual({ ok: true });
    expect(await probeOnce(target, { kind: 'tcp', port: 1 }, 500)).toEqual({ ok: false, why: 'connect ECONNREFUSED 127.0.0.1:1' });
  });

  test('at most 32 at the same time, and all have their turn', async () => {
    const asker = new BoundedAsker();
    const before = asked.length;
    const all = Array.from({ length: 40 }, async () => asker.ask(target, spec(http('/hangs'), { timeoutMs: 300 })));
    await sleep(150);
    expect(asked.length - before).toBe(32);
    expect((await Promise.all(all)).every(({ ok }) => !ok)).toBe(true);
    expect(asked.length - before).toBe(40);
  });
});

describe('a container', () => {
  test('is ready when a command inside it says so, and not any more when it fails', async () => {
    const readiness = spec(exec('[ -f $TMPDIR/ok ] || { echo no file >&2; exit 3; }'));
    await fixture.run(pod('exec', [container(['sleep', '1000'], { probes: { readiness } })]));
    fixture.addresses.set('test/exec', '127.0.0.1');
    const row = await fixture.until('test/exec', 'asked', (one) => one?.unready === 'main: readiness probe: exit 3: no file');
    expect(row).toMatchObject({ phase: 'Running', ready: false });
    fixture.exec(row, shell('touch $TMPDIR/ok'));
    expect(await fixture.until('test/exec', 'ready', (one) => one?.ready === true)).not.toHaveProperty('unready');
    fixture.exec(row, shell('rm $TMPDIR/ok'));
    await fixture.until('test/exec', 'unready', (one) => one?.ready === false);
  });

  test('whose command does not end is not ready, and the command is gone', async () => {
    await fixture.run(pod('slow', [container(['sleep', '1000'], { probes: { readiness: spec(exec('exec sleep 77'), { timeoutMs: 200, periodMs: 10_000 }) } })]));
    const row = await fixture.until('test/slow', 'asked', (one) => one?.unready === 'main: readiness probe: no end within 200 ms');
    expect(fixture.exec(row, shell('pgrep -f "sleep 77" | grep -v $$ || echo none')).out).toBe('none');
  });

  test('without probes is ready as long as it runs; one that ended is not', async () => {
    await fixture.run(pod('plain', [container(['sleep', '1'])]));
    await fixture.until('test/plain', 'ready', (one) => one?.ready === true);
    expect(await fixture.phase('test/plain', 'Completed')).toMatchObject({ ready: false });
  });

  test('that is not alive is ended and started again, with the back-off of the shim; one that never restarts stays ended', async () => {
    answers.set('/live', 200);
    const probes = { liveness: spec(http('/live')) };
    fixture.addresses.set('test/live', '127.0.0.1').set('test/never', '127.0.0.1');
    await fixture.run(pod('live', [container(shell('trap "" TERM; while :; do sleep 0.05; done'), { probes })], { restartPolicy: 'Always', terminationGracePeriodMs: 300 }));
    await fixture.run(pod('never', [container(['sleep', '1000'], { probes })]));
    await fixture.until('test/live', 'ready', (one) => one?.ready === true);
    await fixture.until('test/never', 'ready', (one) => one?.ready === true);
    await sleep(500);
    expect(fixture.workloads.get('test/live')!.containers[0]!.restarts).toBe(0);
    answers.set('/live', 500);
    const ended = await fixture.phase('test/live', 'CrashLoopBackOff');
    expect(ended.unready).toBe('main: liveness probe: GET /live: HTTP 500');
    expect(ended.containers[0]).toMatchObject({ state: 'waiting', exitCode: 137 });
    expect((await fixture.phase('test/never', 'Failed')).containers[0]).toMatchObject({ state: 'terminated', exitCode: 143 });
    answers.set('/live', 200);
    const after = await fixture.until('test/live', 'running again', (one) => one?.ready === true);
    expect(after.containers[0]!.restarts).toBe(1);
    expect(fixture.lines).toContain('test/live: container main is ended: liveness probe: GET /live: HTTP 500');
    fixture.lines.length = 0;
  });

  test('has time to start: liveness waits for the startup probe', async () => {
    answers.set('/slow-start', 500).set('/alive', 500).set('/serves', 200);
    fixture.addresses.set('test/start', '127.0.0.1');
    const probes = { startup: spec(http('/slow-start'), { failureThreshold: 100 }), liveness: spec(http('/alive'), { failureThreshold: 1 }), readiness: spec(http('/serves'), { periodMs: 60_000 }) };
    await fixture.run(pod('start', [container(['sleep', '1000'], { probes })]));
    await fixture.until('test/start', 'asked', (one) => one?.unready === 'main: startup probe: GET /slow-start: HTTP 500');
    await sleep(400);
    expect(fixture.workloads.get('test/start')!.phase).toBe('Running');
    answers.set('/alive', 200).set('/slow-start', 200);
    await fixture.until('test/start', 'ready', (one) => one?.ready === true);
  });
});

test('a new agent goes on with what the one before knew: never unready in between', async () => {
  answers.set('/kept', 200);
  fixture.addresses.set('test/kept', '127.0.0.1');
  await fixture.run(pod('kept', [container(['sleep', '1000'], { probes: { readiness: spec(http('/kept'), { initialDelayMs: 500, periodMs: 300 }) } })]));
  const before = await fixture.until('test/kept', 'ready', (one) => one?.ready === true);
  const seen: boolean[] = [];
  fixture.restartAgent();
  fixture.workloads.subscribe((changes) => { for (const { row } of changes) seen.push(row?.ready === true); });
  expect(fixture.workloads.get('test/kept')).toMatchObject({ uid: before.uid, ready: true });
  await sleep(700);
  expect(seen.every(Boolean)).toBe(true);
  answers.set('/kept', 500);
  await fixture.until('test/kept', 'unready', (one) => one?.ready === false);
});
