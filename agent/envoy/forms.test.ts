// Rules that Envoy is told as texts (string-match.ts) against the same ones told as regular expressions: the real Envoy answers alike, byte by byte.
import net from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type { HttpRule } from '../policy/image.ts';
import { http1, mapOf, setOf } from './testing-sets.ts';
import { haveEnvoy, startBench, type Bench } from './testing.ts';

const rules = { path: ['/ok', '/ok.*', '.*/ok', '.*ok.*'], host: ['a\\.b', 'a.*', '.*\\.b', '.*\\..*'], method: ['GET', 'P.*', '.*T', '.*E.*'] } as const;
const forms = (Object.keys(rules) as (keyof typeof rules)[]).flatMap((field) => rules[field].map((text): [key: string, rule: Partial<HttpRule>, regex: Partial<HttpRule>] => [`${field} ${text}`, { [field]: text }, { [field]: `(?:${text})` }]));

let bench: Bench;
beforeAll(async () => {
  if (!haveEnvoy) return;
  bench = await startBench('forms');
  await bench.proxy.serve(mapOf(...forms.flatMap(([key, rule, regex]) => [setOf(key, http1(rule)), setOf(`${key} as a regex`, http1(regex))])));
});
afterAll(async () => { await bench?.stop(); });

/** The status of each, over one connection after another: some are answered with its end. */
async function statusOf(set: string, head: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const socket = net.connect(bench.proxy.portOf(set), '127.0.0.1');
    socket.on('error', reject).once('data', (data) => {
      resolve(Number(/^HTTP\/1\.1 (\d+)/.exec(data.toString('latin1'))?.[1]));
      socket.destroy();
    });
    socket.write(head, 'latin1');
  });
}

const paths = ['/ok', '/ok?q=1', '/ok/', '/okay', '/a/ok', '/a/ok?', '/a/b', '/?ok', '/OK', '/ok\x80', '/ok\xff/x', '/\xc3\xa9ok', '/ok%0a', '/ok%2fx', '/ok/..%2fx', '/a%2fok', '/ok#', '//ok', '/ok/../b', '/b/../ok', '/ok;/x', '*', '/ok\t'];
const hosts = ['a.b', 'A.b', 'a.b:80', 'xa.b', 'a.bx', 'ab', '.b', 'a.\xe9'];
const methods = ['GET', 'HEAD', 'PUT', 'POST', 'DELETE', 'OPTIONS', 'PATCH'];
const heads = [...paths.map((path) => ['GET', path, 'a.b']), ...hosts.map((host) => ['GET', '/ok', host]), ...methods.map((method) => [method, '/ok', 'a.b'])]
  .map(([method, path, host]) => `${method} ${path} HTTP/1.1\r\nHost: ${host}\r\nContent-Length: 0\r\n\r\n`);

(haveEnvoy ? describe : describe.skip)('a rule by its text and by its regular expression', () => {
  test.each(forms.map(([key]) => key))('%s', async (key) => {
    const answers = [];
    for (const head of heads) answers.push({ head, byText: await statusOf(key, head), byRegex: await statusOf(`${key} as a regex`, head) });
    expect(answers.filter(({ byText, byRegex }) => byText !== byRegex)).toEqual([]);
    expect(new Set(answers.map(({ byText }) => byText))).toEqual(new Set([200, 400, 403]));
  });
});
