// The real Envoy behind the real sockets: what it serves and refuses, and who lives on when others die.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type { L7Rules } from '../policy/image.ts';
import { cgroupRoot } from '../node/check.ts';
import { removeCgroup } from '../workload/process.ts';
import { http1, mapOf, pemOf, setOf } from './testing-sets.ts';
import { get, haveEnvoy, lacking, startBench, until, type Bench } from './testing.ts';

/** A cgroup for a limit of the kernel's, of either version. */
const memory = [{ file: '/sys/fs/cgroup/memory/memory.limit_in_bytes', limit: 'memory.limit_in_bytes' }, { file: join(cgroupRoot() ?? '', 'weir/memory.max'), limit: 'memory.max' }]
  .filter(({ file }) => existsSync(file)).map(({ file, limit }) => ({ folder: join(dirname(file), 'test-envoy-memory'), limit })).at(0);
const oomKills = (): number => Number(/^oom_kill (\d+)$/m.exec(readFileSync('/proc/vmstat', 'utf8'))![1]);
const only = haveEnvoy ? describe : describe.skip;

only(`rule sets${lacking}`, () => {
  let bench: Bench;
  const port = (key: string): number => bench.proxy.portOf(key);
  beforeAll(async () => { bench = await startBench('serve'); });
  afterAll(async () => { await bench.stop(); });

  test('what a rule allows passes, all else is 403, and both are told', async () => {
    expect(await bench.proxy.serve(mapOf(setOf('one', http1({ method: 'GET', path: '/public/.*' }))))).toEqual(new Map());
    expect(await get(port('one'), '/public/a?b=c')).toMatchObject({ code: 200, body: 'hello' });
    expect(await get(port('one'), '/secret')).toMatchObject({ code: 403, body: 'Access denied\r\n' });
    const allowed = await until(() => bench.seen.find(({ http }) => http?.path === '/public/a?b=c'));
    expect(allowed).toMatchObject({ ruleSet: 'one', direction: 'ingress', rule: 0, denied: false, http: { method: 'GET', code: 200, protocol: 'HTTP/1.1', scheme: 'http', mismatched: [] } });
    expect(allowed.source.address).toBe('127.0.0.1');
    expect(allowed.upstreamPort).toBeGreaterThan(0);
    const denied = await until(() => bench.seen.find(({ http }) => http?.path === '/secret'));
    expect(denied).toMatchObject({ ruleSet: 'one', rule: undefined, denied: true, http: { code: 403 }, upstreamPort: 0 });
  });

  test('changed rules reach a connection that is open, and no request fails', async () => {
    await bench.proxy.serve(mapOf(setOf('live', http1({ path: '/a' }))));
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
    const codes: number[] = [];
    let over = false;
    const client = (async () => {
      while (!over) codes.push((await get(port('live'), '/b', { agent })).code);
    })();
    await until(() => (codes.length > 5 ? true : undefined));
    await bench.proxy.serve(mapOf(setOf('live', http1({ path: '/b' }))));
    const before = codes.length;
    await until(() => (codes.length > before + 20 ? true : undefined));
    over = true;
    await client;
    expect(new Set(codes)).toEqual(new Set([403, 200]));
    expect(codes.lastIndexOf(403)).toBeLessThan(codes.indexOf(200));
    expect(codes.lastIndexOf(403)).toBeLessThanOrEqual(before + 1);
    expect(Object.values(agent.freeSockets).flat()).toHaveLength(1);
    agent.destroy();
  });

  test('a set that Envoy refuses stands in nobody\'s way', async () => {
    const sets = Array.from({ length: 20 }, (_, index) => setOf(`many ${index}`, http1({ path: index === 7 ? '/(' : `/${index}` })));
    const refused = await bench.proxy.serve(mapOf(...sets));
    expect([...refused.keys()]).toEqual(['many 7']);
    expect(refused.get('many 7')).toMatch(/missing \)/);
    expect((await get(port('many 8'), '/8')).code).toBe(200);
    expect(await bench.proxy.serve(mapOf(setOf('many 7', http1({ path: '/7' }))))).toEqual(new Map());
    expect((await get(port('many 7'), '/7')).code).toBe(200);
  });

  test('5,000 rules in one set', async () => {
    const rules = Array.from({ length: 5_000 }, (_, index) => http1({ path: `/rule/${index}/[a-z]+` }));
    const begunMs = performance.now();
    expect(await bench.proxy.serve(mapOf(setOf('wide', ...rules)))).toEqual(new Map());
    const servedMs = performance.now() - begunMs;
    expect((await get(port('wide'), '/rule/4999/a')).code).toBe(200);
    const askedMs = performance.now();
    for (let index = 0; index < 20; index += 1) expect((await get(port('wide'), '/rule/5000/a')).code).toBe(403);
    console.log(`5,000 rules: served after ${servedMs.toFixed(0)} ms, a request that none allows takes ${((performance.now() - askedMs) / 20).toFixed(1)} ms`);
  }, 30_000);

  test('an expression of 10,000 characters: taken; one that is too large for Envoy alone: refused by name', async () => {
    const long = `/${'a'.repeat(9_999)}`;
    const refused = await bench.proxy.serve(mapOf(setOf('long', http1({ path: long })), setOf('large', http1({ path: 'a{1000}'.repeat(1_428) }))));
    expect([...refused]).toEqual([['large', expect.stringMatching(/too large/)]]);
    expect((await get(port('long'), long)).code).toBe(200);
    expect((await get(port('long'), long.slice(1))).code).toBe(400);
    expect((await get(port('long'), `${long}a`)).code).toBe(403);
  });

  test('a certificate that Envoy refuses: known by name, and others stay', async () => {
    const pems: Record<string, string> = { weak: pemOf('rsa:1024'), good: pemOf('ec') };
    const own = await startBench('certificate', { secretOf: (key) => ({ stringData: { 'tls.crt': pems[key.split('/')[2]!], 'tls.key': pems[key.split('/')[2]!] } }) });
    const ended = (name: string): L7Rules => ({ ...http1({}), terminatingTls: { namespace: 'test', name, certificate: 'tls.crt', privateKey: 'tls.key' } });
    try {
      const sets = mapOf(setOf('weak', ended('weak')), setOf('good', ended('good')), setOf('plain', http1({})));
      for (let time = 0; time < 2; time += 1) expect([...await own.proxy.serve(sets)]).toEqual([['weak', expect.stringMatching(/2048/)]]);
      expect((await get(own.proxy.portOf('plain'), '/')).code).toBe(200);
      expect([...own.proxy.status().refused.keys()]).toEqual(['weak']);
    } finally {
      await own.stop();
    }
  });

  test('rules that need a certificate that is not there', async () => {
    const l7 = { ...http1({}), terminatingTls: { namespace: 'test', name: 'absent', certificate: 'tls.crt', privateKey: 'tls.key' } };
    expect(await bench.proxy.serve(mapOf(setOf('no secret', l7)))).toEqual(new Map([['no secret', 'Secret test/absent does not exist']]));
  });

  test('out of memory: it takes no more, and goes on when there is some again', async () => {
    const small = await startBench('memory', { changes: { heapBytes: 48 * 2 ** 20 } });
    const sockets: net.Socket[] = [];
    try {
      await small.proxy.serve(mapOf(setOf('one', http1({}))));
      const at = small.proxy.portOf('one');
      const code = async (): Promise<number> => get(at, '/', { signal: AbortSignal.timeout(500) }).then((answer) => answer.code, () => 0);
      expect(await code()).toBe(200);
      // Headers that do not come to an end, of 75 MB together.
      for (let index = 0; index < 1_500; index += 1) {
        const socket = net.connect(at, '127.0.0.1').on('error', () => undefined);
        socket.write(`GET / HTTP/1.1\r\nHost: a\r\nX: ${'a'.repeat(50_000)}`);
        sockets.push(socket);
      }
      expect([503, 0]).toContain(await until(async () => [await code()].find((one) => one !== 200), 8_000));
      for (const socket of sockets) socket.destroy();
      await until(async () => (await code() === 200 ? true : undefined), 15_000);
      expect(small.proxy.status()).toMatchObject({ restarts: 0, frozen: 0 });
    } finally {
      for (const socket of sockets) socket.destroy();
      await small.stop();
    }
  }, 40_000);

  test('what nobody needs any more goes', async () => {
    const short = await startBench('linger', { lingerMs: 50 });
    await short.proxy.serve(mapOf(setOf('a', http1({})), setOf('b', http1({}))));
    const [a, b] = [short.proxy.portOf('a'), short.proxy.portOf('b')];
    short.proxy.retire(new Set(['b']));
    await until(async () => (await get(a, '/').then(() => undefined, () => true)), 15_000);
    expect((await get(b, '/')).code).toBe(200);
    await short.stop();
  });
});

only(`lives${lacking}`, () => {
  let bench: Bench;
  const works = async (): Promise<true | undefined> => get(bench.proxy.portOf('one'), '/').then(({ code }) => (code === 200 ? true : undefined), () => undefined);
  beforeAll(async () => {
    bench = await startBench('lives');
    await bench.proxy.serve(mapOf(setOf('one', http1({}))));
  });
  afterAll(async () => { await bench.stop(); });

  test('it may do what it needs and nothing else', () => {
    const status = readFileSync(`/proc/${bench.proxy.status().pid}/status`, 'utf8');
    const field = (name: string): string => new RegExp(`^${name}:\\s+(\\S+)`, 'm').exec(status)![1]!;
    const netAdmin = (1 << 12).toString(16).padStart(16, '0');
    expect(['CapPrm', 'CapEff', 'CapBnd', 'CapAmb'].map(field)).toEqual([netAdmin, netAdmin, netAdmin, netAdmin]);
    expect(field('NoNewPrivs')).toBe('1');
    expect(Number(field('Uid'))).toBeGreaterThanOrEqual(198_000);
  });

  test('killed: another runs and serves', async () => {
    const { pid } = bench.proxy.status();
    process.kill(pid, 'SIGKILL');
    const begunMs = performance.now();
    await until(() => (bench.proxy.status().pid !== pid && bench.proxy.status().pid > 0 ? true : undefined));
    const restartedMs = performance.now() - begunMs;
    await until(works);
    console.log(`killed: restarted after ${restartedMs.toFixed(0)} ms, serves after ${(performance.now() - begunMs).toFixed(0)} ms`);
    expect(restartedMs).toBeLessThan(500);
    expect(bench.proxy.status()).toMatchObject({ restarts: 1, frozen: 0 });
  });

  (memory === undefined ? test.skip : test)(`killed by the kernel for its memory: likewise${memory === undefined ? ' (skipped: no memory controller of cgroups here)' : ''}`, async () => {
    const { folder, limit } = memory!;
    const [{ pid, restarts }, sockets] = [bench.proxy.status(), [] as net.Socket[]];
    const before = oomKills();
    mkdirSync(folder);
    try {
      writeFileSync(join(folder, limit), String(24 * 2 ** 20));
      writeFileSync(join(folder, 'cgroup.procs'), String(pid));
      // 100 MB of headers that do not come to an end: less than its own limit.
      for (let index = 0; index < 2_000; index += 1) {
        const socket = net.connect(bench.proxy.portOf('one'), '127.0.0.1').on('error', () => undefined);
        socket.write(`GET / HTTP/1.1\r\nHost: a\r\nX: ${'a'.repeat(50_000)}`);
        sockets.push(socket);
      }
      await until(() => (bench.proxy.status().pid !== pid && bench.proxy.status().pid > 0 ? true : undefined), 20_000);
      await until(works);
      expect(bench.proxy.status()).toMatchObject({ restarts: restarts + 1, frozen: 0 });
      expect(oomKills()).toBeGreaterThan(before);
    } finally {
      for (const socket of sockets) socket.destroy();
      await removeCgroup(folder);
    }
  }, 40_000);

  test('frozen: found within seconds', async () => {
    const { pid } = bench.proxy.status();
    process.kill(pid, 'SIGSTOP');
    const begunMs = performance.now();
    await until(() => (bench.proxy.status().frozen === 1 ? true : undefined), 10_000);
    await until(works);
    console.log(`frozen: serves again after ${(performance.now() - begunMs).toFixed(0)} ms`);
    expect(bench.proxy.status().pid).not.toBe(pid);
  });

  test('an agent that comes back takes the same process, and open connections go on', async () => {
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
    const { pid } = bench.proxy.status();
    const port = bench.proxy.portOf('one');
    expect((await get(port, '/', { agent })).code).toBe(200);
    const socket = Object.values(agent.freeSockets).flat()[0];
    await bench.restart();
    expect((await get(port, '/', { agent })).code).toBe(200);
    const begunMs = performance.now();
    expect(await bench.proxy.serve(mapOf(setOf('one', http1({ path: '/new' }))))).toEqual(new Map());
    console.log(`agent back: served after ${(performance.now() - begunMs).toFixed(0)} ms`);
    expect(bench.proxy.portOf('one')).toBe(port);
    expect(bench.proxy.status().pid).toBe(pid);
    expect((await get(port, '/', { agent })).code).toBe(403);
    expect(Object.values(agent.freeSockets).flat()[0]).toBe(socket);
    agent.destroy();
  });

  test('its keeper killed: both are started again', async () => {
    const { pid } = bench.proxy.status();
    const keeper = JSON.parse(readFileSync(`${bench.stateDir}/envoy/a/status.json`, 'utf8')) as { keeper: number };
    process.kill(keeper.keeper, 'SIGKILL');
    await until(() => (bench.proxy.status().pid !== pid && bench.proxy.status().connected ? true : undefined), 10_000);
    await until(async () => get(bench.proxy.portOf('one'), '/new').then(({ code }) => (code === 200 ? true : undefined), () => undefined));
  });
});
