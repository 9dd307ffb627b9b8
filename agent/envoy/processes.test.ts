// One Envoy takes over from another, with the real binary under two paths.
import { copyFileSync, existsSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { http1, mapOf, setOf } from './testing-sets.ts';
import { get, haveEnvoy, lacking, startBench, until, type Bench } from './testing.ts';
import { findBinary } from './binary.ts';

const only = haveEnvoy ? describe : describe.skip;
const folder = mkdtempSync(join(tmpdir(), 'weir-other-envoy-'));
afterAll(() => { rmSync(folder, { recursive: true }); });

only(`another binary${lacking}`, () => {
  let bench: Bench;
  const log: string[] = [];
  const sets = mapOf(setOf('one', http1({ path: '/a' })), setOf('two', http1({ path: '/(' })));
  beforeAll(async () => {
    bench = await startBench('takes-over', { log: (line) => { log.push(line); } });
    expect([...(await bench.proxy.serve(sets)).keys()]).toEqual(['two']);
  });
  afterAll(async () => { await bench.stop(); });

  test('takes over: a connection that is open is told to end, and no request fails', async () => {
    const other = join(folder, 'envoy');
    copyFileSync(findBinary(undefined)!.path, other);
    const { pid } = bench.proxy.status();
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
    const port = bench.proxy.portOf('one');
    expect((await get(port, '/a', { agent })).code).toBe(200);
    await bench.restart({ binary: other });
    expect([...(await bench.proxy.serve(sets)).keys()]).toEqual(['two']);
    const answers: { code: number; connection: string | undefined }[] = [];
    await until(async () => {
      const { code, headers } = await get(port, '/a', { agent });
      answers.push({ code, connection: headers.connection });
      return log.some((line) => line.includes('has taken over')) ? true : undefined;
    }, 30_000);
    expect(new Set(answers.map(({ code }) => code))).toEqual(new Set([200]));
    expect(answers.some(({ connection }) => connection === 'close')).toBe(true);
    expect((await get(port, '/a', { agent })).code).toBe(200);
    expect(bench.proxy.status()).toMatchObject({ path: other, restarts: 0, connected: true });
    expect(bench.proxy.status().pid).not.toBe(pid);
    agent.destroy();
  }, 60_000);

  test('one that does not come to serve: the one before stays, and another is tried when there is one', async () => {
    const broken = join(folder, 'broken');
    writeFileSync(broken, '#!/bin/sh\n[ "$1" = --version ] && echo broken version: 0/1.40.0/Clean\n', { mode: 0o755 });
    const { pid } = bench.proxy.status();
    await bench.restart({ binary: broken, readyMs: 500 });
    await bench.proxy.serve(sets);
    await until(() => (bench.proxy.status().problem !== undefined ? true : undefined));
    await until(() => (bench.proxy.status().pid === pid && bench.proxy.status().connected ? true : undefined));
    await bench.proxy.serve(sets);
    expect(bench.proxy.status()).toMatchObject({ pid, restarts: 0, problem: 'the new Envoy did not come to serve in 0.5 s: the one before stays' });
    expect((await get(bench.proxy.portOf('one'), '/a')).code).toBe(200);
    await bench.restart();
    await bench.proxy.serve(sets);
    await until(() => (log.filter((line) => line.includes('has taken over')).length === 2 ? true : undefined), 30_000);
    expect(bench.proxy.status().pid).not.toBe(pid);
    expect(bench.proxy.status().restarts).toBe(0);
    expect((await get(bench.proxy.portOf('one'), '/a')).code).toBe(200);
  }, 60_000);

  test('an agent that comes back in between goes on with it: who has nothing to say keeps the old one', async () => {
    const other = join(folder, 'envoy');
    const { pid } = bench.proxy.status();
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
    expect((await get(bench.proxy.portOf('one'), '/a', { agent })).code).toBe(200);
    const taken = log.length;
    await bench.restart({ binary: other });
    await bench.proxy.serve(sets);
    const next = await until(() => (bench.proxy.status().pid !== pid && bench.proxy.status().pid > 0 ? bench.proxy.status().pid : undefined));
    await bench.restart({ binary: other });
    await bench.proxy.serve(sets);
    expect(bench.proxy.status()).toMatchObject({ pid: next });
    await sleep(1_500);
    expect(existsSync(`/proc/${pid}`)).toBe(true);
    agent.destroy();
    await until(() => (log.length > taken ? true : undefined), 10_000);
    expect(existsSync(`/proc/${pid}`)).toBe(false);
    expect(log.slice(taken)).toEqual([expect.stringContaining('has taken over')]);
    expect(bench.proxy.status()).toMatchObject({ pid: next, restarts: 0 });
    expect((await get(bench.proxy.portOf('one'), '/a')).code).toBe(200);
  }, 60_000);

  test('its file is gone: the one that runs goes on, and follows changes', async () => {
    const { pid, path } = bench.proxy.status();
    renameSync(path, `${path}.away`);
    try {
      expect(await bench.proxy.serve(mapOf(setOf('one', http1({ path: '/a' })), setOf('new', http1({ path: '/b' }))))).toEqual(new Map());
      expect((await get(bench.proxy.portOf('new'), '/b')).code).toBe(200);
      expect(bench.proxy.status()).toMatchObject({ pid, restarts: 0 });
    } finally {
      renameSync(`${path}.away`, path);
    }
  });

  test('a rule set that nobody needs any more holds up nobody', async () => {
    const { pid } = bench.proxy.status();
    expect(await bench.proxy.serve(mapOf(setOf('one', http1({ path: '/a' })), setOf('gone', http1({ path: '/a' }))))).toEqual(new Map());
    expect((await get(bench.proxy.portOf('gone'), '/a')).code).toBe(200);
    const taken = log.length;
    await bench.restart();
    await bench.proxy.serve(sets);
    await until(() => (log.length > taken ? true : undefined), 15_000);
    expect(log.slice(taken)).toEqual([expect.stringContaining('has taken over')]);
    expect(bench.proxy.status()).toMatchObject({ restarts: 0 });
    expect(bench.proxy.status().pid).not.toBe(pid);
    expect((await get(bench.proxy.portOf('one'), '/a')).code).toBe(200);
  }, 60_000);
});
