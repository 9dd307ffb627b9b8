// L7 rules on a node of its own: what passes, what gets a 403, who is seen, and what flows say of it; both families.
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type { Flow } from '../hubble/types.ts';
import { Cluster, node, outside, pod, policy, traces, withNames } from './cluster.ts';
import { asking, httpServer, type Answered, type Asked } from './http.ts';
import { slowness } from './programs.ts';

const families = ['ipv4', 'ipv6'] as const;
const [shop, plain, secret] = [8080, 8081, 8082];

const from = (app: string): object => ({ fromEndpoints: [{ matchLabels: { app } }] });
const http = (port: number, ...rules: object[]): object => ({ toPorts: [{ ports: [{ port: String(port), protocol: 'TCP' }], rules: { http: rules } }] });
const l4 = (port: number): object => ({ toPorts: [{ ports: [{ port: String(port), protocol: 'TCP' }] }] });

const policies = {
  'web.yaml': policy('web', { endpointSelector: { matchLabels: { app: 'web' } }, ingress: [
    { ...from('client'), ...http(shop, { method: 'GET', path: '/products.*' }, { method: 'POST', path: '/orders', headers: ['X-Token: yes'] }) },
    { ...from('admin'), ...http(shop, {}) },
    { ...from('both'), ...http(shop, { path: '/one' }) }, { ...from('both'), ...http(shop, { path: '/two' }) },
    { ...from('wild'), ...http(shop, { path: '/one' }) }, { ...from('wild'), ...l4(shop) },
    { ...from('client'), ...l4(plain) },
    { ...from('marked'), ...http(shop, { headerMatches: [{ name: 'X-Tenant', value: 'a', mismatch: 'REPLACE' }] }) },
    { fromEntities: ['world'], ...http(shop, { path: '/public' }) },
  ] }),
  'caller.yaml': policy('caller', { endpointSelector: { matchLabels: { app: 'caller' } }, egress: [
    { toEndpoints: [{ matchLabels: { app: 'open' } }], ...http(secret, { path: '/allowed' }) },
    { toCIDR: [`${outside.ipv4}/32`, `${outside.ipv6}/128`], ...http(shop, { path: '/allowed' }) },
    { toEndpoints: [{ matchLabels: { app: 'web' } }], ...http(shop, { path: '/.*' }) },
  ] }),
  'web-from-caller.yaml': policy('web-from-caller', { endpointSelector: { matchLabels: { app: 'web' } }, ingress: [{ ...from('caller'), ...http(shop, { path: '/in.*' }) }] }),
};
const clients = ['client', 'admin', 'both', 'wild', 'marked', 'caller', 'stranger'] as const;

let cluster: Cluster;

beforeAll(async () => {
  cluster = await Cluster.start('l7', {
    ...policies, 'servers.yaml': [pod('web', httpServer(shop, plain)), pod('open', httpServer(secret))],
    'clients.yaml': clients.map((name) => pod(name, ['sleep', '100000'])),
    'service.yaml': { apiVersion: 'v1', kind: 'Service', metadata: { name: 'web', namespace: 'default' }, spec: { type: 'NodePort', ipFamilyPolicy: 'PreferDualStack', selector: { app: 'web' }, ports: [{ port: 80, targetPort: shop, nodePort: 31080 }] } },
  }, [withNames]);
  cluster.background('outside', ...httpServer(shop));
  await cluster.until('servers answer', () => families.every((family) => ask('client', cluster.end('default/web')[family], plain, [{ path: '/' }])[0]!.code === 200
    && ask('caller', outside[family], shop, [{ path: '/allowed' }])[0]!.code === 200));
}, 180_000 * slowness);
afterAll(async () => {
  await cluster.close();
  expect(traces(cluster.instance)).toEqual([]);
}, 60_000 * slowness);

function ask(where: string, address: string, port: number, requests: readonly Asked[]): Answered[] {
  const command = asking(address, port, requests);
  const { out, error } = where === 'node' || where === 'outside' ? cluster.on(where, ...command) : cluster.exec(`default/${where}`, ...command);
  if (out === '') throw new Error(error);
  return JSON.parse(out) as Answered[];
}
const codes = (answers: readonly Answered[]): number[] => answers.map(({ code }) => code);

interface Row { readonly name: string; readonly from: string; readonly to?: string; readonly port?: number; readonly asked: readonly (readonly [code: number, request: Asked])[] }

const rows: readonly Row[] = [
  { name: 'method and path', from: 'client', asked: [[200, { path: '/products/1' }], [403, { path: '/orders' }], [403, { method: 'POST', path: '/products/1' }], [403, { path: '/' }]] },
  { name: 'a header', from: 'client', asked: [[200, { method: 'POST', path: '/orders', headers: { 'X-Token': 'yes' } }], [403, { method: 'POST', path: '/orders', headers: { 'X-Token': 'no' } }], [403, { method: 'POST', path: '/orders' }]] },
  { name: 'an empty rule lets all pass', from: 'admin', asked: [[200, { path: '/any' }], [200, { method: 'DELETE', path: '/any' }]] },
  { name: 'two rules for one peer: either', from: 'both', asked: [[200, { path: '/one' }], [200, { path: '/two' }], [403, { path: '/three' }]] },
  { name: 'a plain allow beside a rule', from: 'wild', asked: [[200, { path: '/one' }], [200, { path: '/other' }]] },
  { name: 'a port without L7 rules', from: 'client', port: plain, asked: [[200, { path: '/anything' }]] },
  { name: 'paths that pretend', from: 'client', asked: [[403, { path: '/products/../orders' }], [403, { path: '/products/%2e%2e/orders' }], [200, { path: '//products//1' }]] },
  { name: 'egress', from: 'caller', to: 'open', port: secret, asked: [[200, { path: '/allowed' }], [403, { path: '/other' }]] },
  { name: 'both ends have rules', from: 'caller', asked: [[200, { path: '/in/1' }], [403, { path: '/out' }]] },
  { name: 'the node itself is not asked', from: 'node', asked: [[200, { path: '/anything' }]] },
];

describe.each(families)('%s', (family) => {
  test.each(rows)('$name', ({ from: who, to = 'web', port = shop, asked }) => {
    const answers = ask(who, cluster.end(`default/${to}`)[family], port, asked.map(([, request]) => request));
    expect(codes(answers)).toEqual(asked.map(([code]) => code));
  });

  test('the server sees the client', () => {
    const [answer] = ask('client', cluster.end('default/web')[family], shop, [{ path: '/products' }]);
    expect(JSON.parse(answer!.body)).toMatchObject({ path: '/products', client: cluster.end('default/client')[family] });
  });

  test('a header that does not match is replaced', () => {
    const [answer] = ask('marked', cluster.end('default/web')[family], shop, [{ path: '/', headers: { 'X-Tenant': 'b' } }]);
    expect(JSON.parse(answer!.body)).toMatchObject({ headers: { 'x-tenant': 'a' } });
  });

  test('to the outside, under the address of the node', () => {
    const answers = ask('caller', outside[family], shop, [{ path: '/allowed' }, { path: '/other' }]);
    expect(codes(answers)).toEqual([200, 403]);
    expect(JSON.parse(answers[0]!.body)).toMatchObject({ client: node[family] });
  });

  test('a client outside, by NodePort', () => {
    const answers = ask('outside', node[family], 31080, [{ path: '/public' }, { path: '/products' }]);
    expect(codes(answers)).toEqual([200, 403]);
    expect(JSON.parse(answers[0]!.body)).toMatchObject({ client: outside[family] });
  });

  test('nobody else connects', () => { expect(codes(ask('stranger', cluster.end('default/web')[family], shop, [{ path: '/products' }]))).toEqual([0]); });
});

test('by the name of a Service', () => { expect(codes(ask('client', 'web', 80, [{ path: '/products' }, { path: '/' }]))).toEqual([200, 403]); });

describe('flows', () => {
  const flows = (...words: string[]): Flow[] => cluster.weir('observe', '--last', '100', '-o', 'jsonpb', ...words).out.trim().split('\n').filter((line) => line !== '').map((line) => (JSON.parse(line) as { flow: Flow }).flow);
  const seen = async (path: string, ...words: string[]): Promise<Flow> => {
    let found: Flow | undefined;
    await cluster.until(`a flow of ${path}`, () => { found = flows('--protocol', 'http', '--http-path', path, ...words).at(-1); return found !== undefined; });
    return found!;
  };

  test('the answer to a request that passed', async () => {
    ask('client', cluster.end('default/web').ipv4, shop, [{ path: '/products/seen', headers: { traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01' } }]);
    expect(await seen('/products/seen')).toMatchObject({
      verdict: 'FORWARDED', Type: 'L7', source: { pod_name: 'web' }, destination: { pod_name: 'client' }, reply: true, l7: { http: { code: 200, method: 'GET', protocol: 'HTTP/1.1' } },
      trace_context: { parent: { trace_id: '0af7651916cd43dd8448eb211c80319c' } }, ingress_allowed_by: [{ name: 'web', namespace: 'default' }],
    });
  });

  test('a request that was refused, with the name of the policy', async () => {
    ask('client', cluster.end('default/web').ipv4, shop, [{ path: '/refused/seen' }]);
    expect(await seen('/refused/seen', '--verdict', 'DROPPED')).toMatchObject({ source: { pod_name: 'client' }, destination: { pod_name: 'web' }, l7: { http: { method: 'GET', url: expect.stringContaining('/refused/seen') } }, ingress_denied_by: [{ name: 'web' }] });
  });

  test('the connection was redirected', async () => {
    await cluster.until('it is told', () => flows('--verdict', 'REDIRECTED', '--from-pod', 'default/client', '--to-pod', 'default/web').length > 0);
  });
});
