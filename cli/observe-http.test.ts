// weir observe on requests that a live observer keeps: every flag that is about them, every form, over its socket.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { Command } from 'commander';
import { Observer } from '../hubble/observer.ts';
import { serveHubble } from '../hubble/serve.ts';
import { accessOf, lookups, recordOf, rulesOf, servedOf, slotsOf, tlsAccessOf } from '../hubble/testing.ts';
import { register } from './observe.ts';

let folder: string;
let served: Awaited<ReturnType<typeof serveHubble>>;
const traceId = '4bf92f3577b34da6a3ce929d0e0e4736';

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'weir-http-'));
  const offsetNs = BigInt(Date.now()) * 1_000_000n - process.hrtime.bigint();
  const observer = new Observer({ nodeName: 'node1', version: '0.1.0', lookups: { ...lookups, identity: () => 2, toUnixNs: (ns) => ns + offsetNs, names: { revision: () => 1, of: () => ['client.example'] } } });
  const startUnixNs = BigInt(Date.now()) * 1_000_000n;
  observer.records(slotsOf(recordOf()));
  observer.access(accessOf({ startUnixNs, http: { path: '/one', requestHeaders: [['traceparent', `00-${traceId}-00f067aa0ba902b7-01`], ['x-a', 'b']] } }), rulesOf);
  observer.access(accessOf({ startUnixNs, http: { method: 'POST', path: '/two?q=1', code: 503 }, flags: 'UF' }), rulesOf);
  observer.access(accessOf({ startUnixNs, denied: true, rule: undefined, direction: 'egress', http: { method: 'PUT', path: '/three', code: 403, authority: 'db.shop:8080' } }), rulesOf);
  observer.access(tlsAccessOf({ startUnixNs, denied: true, rule: undefined }), rulesOf);
  served = await serveHubble(servedOf(observer), { socketPath: join(folder, 'hubble.sock'), log: () => undefined });
});
afterAll(async () => {
  await served.close();
  rmSync(folder, { recursive: true, force: true });
});

async function observe(...args: string[]): Promise<string> {
  const program = new Command().exitOverride();
  let out = '';
  register(program, { write: (text) => { out += text; }, writeError: (text) => { out += text; }, isTerminal: false, drained: () => undefined });
  await program.parseAsync(['observe', '--server', `unix://${join(folder, 'hubble.sock')}`, ...args], { from: 'user' });
  return out;
}
/** Each as `request GET /one`. */
const kinds = async (...args: string[]): Promise<string[]> => (await observe('--all', ...args, '-o', 'json')).trim().split('\n').filter((line) => line !== '').map((line) => {
  const { l7 } = (JSON.parse(line) as { flow: { l7?: { type: string; http?: { method: string; url: string } } } }).flow;
  if (l7 === undefined) return 'packet';
  return l7.http === undefined ? 'tls' : `${l7.type.toLowerCase()} ${l7.http.method} ${new URL(l7.http.url).pathname}`;
});

const pair = (what: string): string[] => [`request ${what}`, `response ${what}`];
const [one, two, three] = [pair('GET /one'), pair('POST /two'), pair('PUT /three')];

describe('flags', () => {
  test.each<{ args: string[]; found: string[] }>([
    { args: [], found: ['packet', ...one, ...two, ...three, 'tls'] },
    { args: ['--type', 'l7'], found: [...one, ...two, ...three, 'tls'] },
    { args: ['--type', 'trace'], found: ['packet'] },
    { args: ['--protocol', 'http'], found: [...one, ...two, ...three] },
    { args: ['--protocol', 'tcp'], found: ['packet', ...one, ...two, ...three, 'tls'] },
    { args: ['--not', '--protocol', 'http'], found: ['packet', 'tls'] },
    { args: ['--http-method', 'get', '--http-method', 'PUT'], found: [...one, ...three] },
    { args: ['--http-path', '^/t'], found: [...two, ...three] },
    { args: ['--http-url', 'db.shop:8080/three$'], found: three },
    { args: ['--http-url', 'q=1'], found: two },
    { args: ['--http-status', '200'], found: [one[1]!] },
    { args: ['--http-status', '4+', '--http-status', '50+'], found: [two[1]!, three[1]!] },
    { args: ['--http-header', 'x-a:b'], found: one },
    { args: ['--trace-id', traceId], found: one },
    { args: ['--type', 'l7', '--http-method', 'GET', '--to-port', '80'], found: [one[0]!] },
    { args: ['--verdict', 'DROPPED'], found: [three[0]!, 'tls'] },
    { args: ['--drop-reason-desc', 'POLICY_DENIED'], found: [three[0]!, 'tls'] },
    { args: ['--verdict', 'ERROR'], found: [two[1]!] },
    { args: ['--traffic-direction', 'egress'], found: [...three, 'tls'] },
    { args: ['--to-pod', 'shop/web', '--protocol', 'http'], found: [one[0]!, two[0]!, three[0]!] },
    { args: ['--from-workload', 'Deployment/web'], found: [one[1]!, two[1]!, three[1]!] },
    { args: ['--from-fqdn', 'client.example', '--protocol', 'http'], found: [one[0]!, two[0]!, three[0]!] },
    { args: ['--from-ip', '10.0.0.0/31', '--http-method', 'GET'], found: [one[0]!] },
    { args: ['--tcp-flags', 'syn'], found: ['packet'] },
    { args: ['--since', '1m'], found: [...one, ...two, ...three, 'tls'] },
  ])('$args', async ({ args, found }) => { expect(await kinds(...args)).toEqual(found); });

  test('what is malformed is refused by the server', async () => {
    await expect(observe('--http-status', '9+')).rejects.toThrow(/invalid status code prefix/);
    await expect(observe('--type', 'drop', '--http-method', 'GET')).rejects.toThrow(/needs the event type l7/);
    await expect(observe('--http-path', '(')).rejects.toThrow(/regular expression/);
  });
});

describe('forms', () => {
  const stamp = '[A-Z][a-z]{2} [ 0-9]{2} [0-9:.]{12}';
  test('compact, with policies', async () => {
    const lines = (await observe('--http-path', 'three', '--print-policy-names')).split('\n');
    expect(lines).toEqual([
      expect.stringMatching(new RegExp(`^${stamp}: client.example:40000 \\(world\\) -> shop/web:80 \\(ID:1002\\) http-request DROPPED EGRESS DENIED BY shop/web,shop/all \\(HTTP/1.1 PUT http://db.shop:8080/three\\)$`)),
      expect.stringMatching(new RegExp(`^${stamp}: client.example:40000 \\(world\\) <- shop/web:80 \\(ID:1002\\) http-response FORWARDED EGRESS DENIED BY shop/web,shop/all \\(HTTP/1.1 403 3ms \\(PUT http://db.shop:8080/three\\)\\)$`)), '']);
  });
  test('dict and table', async () => {
    expect(await observe('--http-status', '403', '-o', 'dict')).toMatch(/^ *TIMESTAMP: .*\n *SOURCE: shop\/web:80\n *DESTINATION: client.example:40000\n *TYPE: http-response\n *VERDICT: FORWARDED\n *SUMMARY: HTTP\/1.1 403 3ms \(PUT http:\/\/db.shop:8080\/three\)\n$/);
    expect(await observe('--http-status', '403', '-o', 'tab')).toMatch(/^TIMESTAMP +SOURCE +DESTINATION +TYPE +VERDICT +SUMMARY\n.* shop\/web:80 +client.example:40000 +http-response +FORWARDED +HTTP\/1.1 403 3ms/);
  });
  test('JSON, whole and by fields', async () => {
    expect(JSON.parse(await observe('--http-status', '503', '-o', 'json'))).toMatchObject({ node_name: 'node1', flow: {
      verdict: 'ERROR', Type: 'L7', event_type: { type: 129 }, l7: { type: 'RESPONSE', latency_ns: '3400000', http: { code: 503, method: 'POST', url: 'http://web.shop/two?q=1', protocol: 'HTTP/1.1', headers: [{ key: 'user-agent', value: 'test' }] } },
      is_reply: true, traffic_direction: 'INGRESS', ingress_allowed_by: [{ name: 'web', namespace: 'shop', kind: 'CiliumNetworkPolicy' }], policy_log: ['items'], destination_names: ['client.example'] } });
    expect((JSON.parse(await observe('--http-status', '503', '-o', 'json', '--field-mask', 'l7.http.code,verdict')) as { flow: object }).flow).toEqual({ verdict: 'ERROR', l7: { http: { code: 503 } } });
  });
});
