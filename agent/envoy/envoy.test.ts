// The real Envoy behind the real sockets: what it serves, what it refuses, what it tells, and who lives on when others die.
import http from 'node:http';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { haveEnvoy, http1, mapOf, setOf, startBench, type Bench } from './testing.ts';

interface Answer { readonly code: number; readonly body: string; readonly headers: http.IncomingHttpHeaders }

async function get(port: number, path: string, options: http.RequestOptions = {}): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const request = http.get({ host: '127.0.0.1', port, path, ...options }, (response) => {
      let body = '';
      response.on('data', (chunk) => { body += String(chunk); }).on('end', () => { resolve({ code: response.statusCode!, body, headers: response.headers }); });
    });
    request.on('error', reject);
  });
}

async function until<T>(look: () => T | undefined, timeoutMs = 5_000): Promise<T> {
  for (const end = performance.now() + timeoutMs; ;) {
    const found = look();
    if (found !== undefined) return found;
    if (performance.now() > end) throw new Error('nothing came in time');
    await new Promise((resolve) => { setTimeout(resolve, 5); });
  }
}

const only = haveEnvoy ? describe : describe.skip;

only('one rule set', () => {
  let bench: Bench;
  let port: number;
  beforeAll(async () => {
    bench = await startBench('serve');
    expect(await bench.proxy.serve(mapOf(setOf('one', http1({ method: 'GET', path: '/public/.*' }))))).toEqual(new Map());
    port = bench.proxy.portOf('one');
  });
  afterAll(async () => { await bench.stop(); });

  test('what a rule allows passes, all else is 403, and both are told', async () => {
    expect(await get(port, '/public/a?b=c')).toMatchObject({ code: 200, body: 'hello' });
    expect(await get(port, '/secret')).toMatchObject({ code: 403, body: 'Access denied\r\n' });
    const allowed = await until(() => bench.seen.find(({ http }) => http?.path === '/public/a?b=c'));
    expect(allowed).toMatchObject({ ruleSet: 'one', direction: 'ingress', rule: 0, denied: false, http: { method: 'GET', code: 200, protocol: 'HTTP/1.1', scheme: 'http', mismatched: [] } });
    const denied = await until(() => bench.seen.find(({ http }) => http?.path === '/secret'));
    expect(denied).toMatchObject({ ruleSet: 'one', rule: undefined, denied: true, http: { code: 403 }, upstreamPort: 0 });
  });
});
