// TLS under rules, on a node of its own: opened with a Secret's certificate and judged by its requests, or handed on untouched by the name that
// the client hello bears. Real handshakes, both families, and what flows say.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { TestCa } from '../hubble/testing-certificates.ts';
import type { Flow } from '../hubble/types.ts';
import { Cluster, node, outside, pod, policy, traces } from './cluster.ts';
import { asking, httpServer, type Answered } from './http.ts';
import { idle, slowness } from './programs.ts';
import { askingTls, tlsServer, type AnsweredTls, type AskedTls } from './tls.ts';

const families = ['ipv4', 'ipv6'] as const;
const port = 8443;
const from = (app: string): object => ({ fromEndpoints: [{ matchLabels: { app } }] });
const onTls = (more: object): object => ({ toPorts: [{ ports: [{ port: String(port), protocol: 'TCP' }], ...more }] });
const opened = (secret: string, path: string): object => onTls({ terminatingTLS: { secret: { name: secret } }, rules: { http: [{ path }] } });
const policies = [
  policy('opened', { endpointSelector: { matchLabels: { app: 'plain' } }, ingress: [{ ...from('client'), ...opened('shop', '/public.*') }] }),
  ...['lost', 'broken'].map((name) => policy(name, { endpointSelector: { matchLabels: { app: 'plain' } }, ingress: [{ ...from(name), ...opened(name, '/.*') }] })),
  policy('opening', { endpointSelector: { matchLabels: { app: 'opening' } }, egress: [{ toEndpoints: [{ matchLabels: { app: 'free' } }], ...opened('shop', '/out') }] }),
  policy('named', { endpointSelector: { matchLabels: { app: 'real' } }, ingress: [{ ...from('client'), ...onTls({ serverNames: ['*.shop.test', '**.deep.test', 'exact.test'] }) }] }),
  policy('naming', { endpointSelector: { matchLabels: { app: 'naming' } }, egress: [{ toCIDR: [`${outside.ipv4}/32`, `${outside.ipv6}/128`], ...onTls({ serverNames: ['exact.test'] }) }] }),
];

const folder = mkdtempSync(join(tmpdir(), 'weir-l7-tls-'));
const own = new TestCa(folder, 'own');
const real = new TestCa(folder, 'real');
const pem = (path: string): string => readFileSync(path, 'utf8');
const ca = { own: pem(own.certificate), real: pem(real.certificate) } as const;
/** As a certificate's common name the file's, which tells who was spoken to. */
function secret(file: string): object {
  const { certificate, key } = own.sign(file, 'shop.test');
  const base64 = (path: string): string => readFileSync(path).toString('base64');
  return { apiVersion: 'v1', kind: 'Secret', type: 'kubernetes.io/tls', metadata: { name: 'shop', namespace: 'default' }, data: { 'tls.crt': base64(certificate), 'tls.key': base64(key), 'ca.crt': base64(own.certificate) } };
}

let cluster: Cluster;
beforeAll(async () => {
  const { certificate, key } = real.sign('server', 'shop.test');
  const server = tlsServer(pem(certificate), pem(key), port);
  cluster = await Cluster.start('l7-tls', {
    'policies.yaml': policies, 'secret.yaml': secret('first'), 'broken.yaml': { apiVersion: 'v1', kind: 'Secret', metadata: { name: 'broken', namespace: 'default' }, stringData: { 'tls.crt': 'none', 'tls.key': 'none' } },
    'pods.yaml': [...['client', 'lost', 'broken', 'opening', 'naming'].map((name) => pod(name, idle)), pod('plain', httpServer(port)), pod('free', httpServer(port)), pod('real', server)],
  });
  cluster.background('outside', ...server);
  await cluster.until('servers answer', () => families.every((family) => [
    ask('client', 'plain', family, 'own', [{ name: 'shop.test', path: '/public' }]), ask('client', 'real', family, 'real', [{ name: 'exact.test', path: '/' }]),
    ask('opening', 'free', family, 'own', [{ name: 'a', path: '/out' }]), ask('naming', 'outside', family, 'real', [{ name: 'exact.test', path: '/' }]),
  ].every(([answer]) => answer!.code === 200)));
}, 180_000 * slowness);
afterAll(async () => {
  rmSync(folder, { recursive: true });
  await cluster.close();
  expect(traces(cluster.instance)).toEqual([]);
}, 60_000 * slowness);

type Family = typeof families[number];
const addressOf = (name: string, family: Family): string => (name === 'outside' ? outside : cluster.end(`default/${name}`))[family];
function ask(who: string, to: string, family: Family, trusts: keyof typeof ca, requests: readonly AskedTls[]): AnsweredTls[] {
  const { out, error } = cluster.exec(`default/${who}`, ...askingTls(addressOf(to, family), port, ca[trusts], requests));
  if (out === '') throw new Error(error);
  return JSON.parse(out) as AnsweredTls[];
}

/** `by`: whose certificate the client was shown, which it must have verified. */
interface Row { readonly name: string; readonly from: string; readonly to: string; readonly trusts: keyof typeof ca; readonly asked: readonly (readonly [code: number, by: string, request: AskedTls])[] }
const rows: readonly Row[] = [
  { name: 'opened at the server: its requests are judged', from: 'client', to: 'plain', trusts: 'own', asked: [[200, 'first', { name: 'shop.test', path: '/public/1' }], [403, 'first', { name: 'shop.test', path: '/private' }], [403, 'first', { name: 'shop.test', path: '/public/../private' }]] },
  { name: 'opened whatever the name is, without one too', from: 'client', to: 'plain', trusts: 'own', asked: [[200, 'first', { name: 'other.test', path: '/public' }], [200, 'first', { path: '/public' }]] },
  { name: 'opened: who does not trust the Secret\'s CA does not speak', from: 'client', to: 'plain', trusts: 'real', asked: [[0, '', { name: 'shop.test', path: '/public' }]] },
  { name: 'opened at the client', from: 'opening', to: 'free', trusts: 'own', asked: [[200, 'first', { name: 'a', path: '/out' }], [403, 'first', { name: 'a', path: '/in' }]] },
  { name: 'handed on by its name: the server\'s own certificate', from: 'client', to: 'real', trusts: 'real', asked: [[200, 'server', { name: 'exact.test', path: '/any' }], [200, 'server', { name: 'a.shop.test', path: '/any' }], [200, 'server', { name: 'a.b.deep.test', path: '/any' }]] },
  { name: 'handed on: case does not matter', from: 'client', to: 'real', trusts: 'real', asked: [[200, 'server', { name: 'A.Shop.TEST', path: '/' }]] },
  { name: 'refused by its name', from: 'client', to: 'real', trusts: 'real', asked: [[0, '', { name: 'other.test', path: '/' }], [0, '', { name: 'a.b.shop.test', path: '/' }], [0, '', { name: 'shop.test', path: '/' }], [0, '', { name: 'exact.test.evil', path: '/' }], [0, '', { path: '/' }]] },
  { name: 'to the outside by names', from: 'naming', to: 'outside', trusts: 'real', asked: [[200, 'server', { name: 'exact.test', path: '/' }], [0, '', { name: 'other.test', path: '/' }]] },
];

describe.each(families)('%s', (family) => {
  test.each(rows)('$name', ({ from: who, to, trusts, asked }) => {
    const answers = ask(who, to, family, trusts, asked.map(([, , request]) => request));
    expect(answers.map(({ code, by }) => [code, by])).toEqual(asked.map(([code, by]) => [code, by]));
  });

  test('the server sees the client, its path and its name', () => {
    const [inside] = ask('client', 'plain', family, 'own', [{ name: 'shop.test', path: '/public?a=b' }]);
    expect(JSON.parse(inside!.body)).toMatchObject({ path: '/public?a=b', client: addressOf('client', family), headers: { host: 'shop.test', 'x-forwarded-proto': 'https' } });
    const [untouched] = ask('client', 'real', family, 'real', [{ name: 'a.shop.test', path: '/x' }]);
    expect(JSON.parse(untouched!.body)).toEqual({ path: '/x', client: addressOf('client', family), name: 'a.shop.test' });
    const [beyond] = ask('naming', 'outside', family, 'real', [{ name: 'exact.test', path: '/' }]);
    expect(JSON.parse(beyond!.body)).toMatchObject({ client: node[family] });
  });

  test.each(['plain', 'real'])('what is no TLS does not reach %s', (to) => {
    const answers = JSON.parse(cluster.exec('default/client', ...asking(addressOf(to, family), port, [{ path: '/public' }])).out) as Answered[];
    expect(answers.map(({ code }) => code)).toEqual([0]);
  });

  test.each<[what: string, who: string, words: string]>([['is not there', 'lost', 'Secret default/lost does not exist'], ['is none', 'broken', 'Secret default/broken: tls.crt is not in PEM']])('a Secret that %s: refused, and the policy says so', (_what, who, words) => {
    expect(ask(who, 'plain', family, 'own', [{ name: 'shop.test', path: '/public' }])).toMatchObject([{ code: 0 }]);
    expect(cluster.json<{ name: string; message?: string }[]>('policy', 'list').find(({ name }) => name === who)?.message).toContain(words);
  });
});

describe('flows', () => {
  const seen = async (has: (flow: Flow) => boolean, ...words: string[]): Promise<Flow> => {
    let found: Flow | undefined;
    await cluster.until('the flow', () => {
      const lines = cluster.weir('observe', '--last', '200', '-o', 'jsonpb', '--type', 'l7', ...words).out.trim().split('\n');
      found = lines.filter((line) => line !== '').map((line) => (JSON.parse(line) as { flow: Flow }).flow).findLast(has);
      return found !== undefined;
    });
    return found!;
  };
  const ends = { source: { pod_name: 'client' }, destination: { pod_name: 'real' } };

  test('a name that no rule allows, with the policy', async () => {
    ask('client', 'real', 'ipv4', 'real', [{ name: 'seen.refused.test', path: '/' }]);
    expect(await seen(({ Summary }) => Summary?.includes('seen.refused.test') === true, '--verdict', 'DROPPED')).toMatchObject({
      ...ends, verdict: 'DROPPED', Summary: 'TLS seen.refused.test, refused: no rule allows the name', ingress_denied_by: [{ name: 'named', namespace: 'default' }],
    });
  });

  test('a name that one allows', async () => {
    ask('client', 'real', 'ipv6', 'real', [{ name: 'seen.shop.test', path: '/' }]);
    expect(await seen(({ Summary }) => Summary?.includes('seen.shop.test') === true, '--verdict', 'FORWARDED')).toMatchObject({
      ...ends, verdict: 'FORWARDED', Summary: expect.stringMatching(/^TLS seen\.shop\.test \d+ms$/), ingress_allowed_by: [{ name: 'named' }],
    });
  });

  test('requests in TLS that was opened', async () => {
    ask('client', 'plain', 'ipv6', 'own', [{ name: 'shop.test', path: '/public/seen' }, { name: 'shop.test', path: '/refused/seen' }]);
    expect(await seen(({ l7 }) => l7?.http?.url?.includes('/public/seen') === true && l7.http.code === 200)).toMatchObject({
      verdict: 'FORWARDED', l7: { http: { method: 'GET', url: 'https://shop.test/public/seen' } }, ingress_allowed_by: [{ name: 'opened' }],
    });
    expect(await seen(({ l7 }) => l7?.http?.url?.includes('/refused/seen') === true, '--verdict', 'DROPPED')).toMatchObject({
      source: { pod_name: 'client' }, destination: { pod_name: 'plain' }, ingress_denied_by: [{ name: 'opened' }],
    });
  });
});

test('a Secret changes: new connections are shown the new certificate, one that is open goes on', async () => {
  const address = addressOf('plain', 'ipv4');
  const kept = cluster.background('node', 'nsenter', `--net=/proc/${cluster.json<{ name: string; shimPid: number }[]>('db', 'show', 'workloads').find(({ name }) => name === 'client')!.shimPid}/ns/net`, 'python3', '-u', '-c', `
import http.client, ssl, sys, time
context = ssl.create_default_context(cadata=sys.argv[2]); context.check_hostname = False
c = http.client.HTTPSConnection(sys.argv[1], ${port}, context=context, timeout=5)
while True:
    c.request('GET', '/public'); answer = c.getresponse(); answer.read()
    by = dict(pair for part in c.sock.getpeercert()['subject'] for pair in part)['commonName'] if c.sock else 'ended'
    print(by, answer.status); time.sleep(0.05)
`, address, ca.own);
  let said = '';
  kept.stdout!.on('data', (data: Buffer) => { said += data.toString(); });
  await cluster.until('it asks', () => said.includes('200'));
  cluster.write('secret.yaml', secret('second'));
  await cluster.until('the new certificate', () => ask('client', 'plain', 'ipv4', 'own', [{ name: 'shop.test', path: '/public' }])[0]!.by === 'second');
  const lines = said.length;
  await cluster.until('it goes on', () => said.length > lines + 40);
  expect(new Set(said.trim().split('\n'))).toEqual(new Set(['first 200']));
}, 60_000 * slowness);
