import { describe, expect, test } from '@jest/globals';
import { deriveService, type NodeView } from './derive.ts';
import { Selection, type ServicePod } from './pods.ts';
import { slicesOf } from './slices.ts';
import type { ServiceRow } from './tables.ts';

const view: NodeView = { node: 'n1', addresses: ['192.0.2.2', 'fd00::2'], maglev: false, dsr: false };
const service = (more: Partial<ServiceRow> = {}): ServiceRow => ({
  key: 'shop/web', namespace: 'shop', name: 'web', type: 'ClusterIP', labels: {}, annotations: {}, selector: { app: 'web' }, headless: false, clusterIps: ['10.218.0.1'], externalIps: [], loadBalancerIps: [],
  ports: [{ name: '', protocol: 'TCP', port: 80, targetPort: 8080 }], internalLocal: false, externalLocal: false, sourceRanges: [], publishNotReady: false, forwarding: {}, ...more,
});
const pod = (number: number, more: Partial<ServicePod> = {}): ServicePod => ({
  key: `shop/web-${number}`, namespace: 'shop', labels: { app: 'web' }, node: 'n1', addresses: [`10.0.0.${number}`, `fd00::1:${number}`], namedPorts: [{ name: 'http', port: 8000 + number, protocol: 'TCP' }],
  serving: true, terminating: false, ...more,
});
const derive = (row: ServiceRow, pods: readonly ServicePod[]) => deriveService(row, slicesOf(row, pods), view);
const ends = (keys: readonly string[]): string[] => keys.map((key) => key.replace(/^10\.0\.0\./, '').replace('/TCP', ''));

describe('who gets new connections', () => {
  const going = { terminating: true };
  const bad = { serving: false };
  test.each([
    ['the ready ones', [pod(1), pod(2)], ['1:8080', '2:8080'], []],
    ['not those that are not ready, which keep what they have', [pod(1), pod(2, bad)], ['1:8080'], ['2:8080']],
    ['not those that are going', [pod(1), pod(2, going)], ['1:8080'], ['2:8080']],
    ['those that serve, when all are going', [pod(1, { ...going, ...bad }), pod(2, going)], ['2:8080'], ['1:8080']],
    ['nobody, when none is ready and none going', [pod(1, bad)], [], ['1:8080']],
    ['nobody, when there is nobody', [], [], []],
    ['not those of other labels or namespaces', [pod(1), pod(2, { labels: { app: 'db' } }), pod(3, { namespace: 'other' })], ['1:8080'], []],
  ])('%s', (_, pods, active, others) => {
    const selection = new Selection();
    selection.setService('shop/web', service());
    for (const one of pods) selection.setPod(one.key, one);
    const { frontends, backends } = derive(service(), selection.podsOf('shop/web'));
    expect(frontends.map(({ key, backends: keys }) => [key, ends(keys)])).toEqual([['10.218.0.1:80/TCP cluster', active]]);
    expect(ends(backends.filter(({ state }) => state === 'terminating').map(({ key }) => key))).toEqual(others);
  });

  test('those that are not ready, where their service says so', () => {
    expect(derive(service({ publishNotReady: true }), [pod(1, bad), pod(2, { ...bad, ...going })]).frontends[0]!.backends).toEqual(['10.0.0.1:8080/TCP']);
  });
});

describe('ports', () => {
  test('a name is each pod\'s own number', () => {
    const row = service({ ports: [{ name: '', protocol: 'TCP', port: 80, targetPort: 'http' }] });
    expect(ends(derive(row, [pod(1), pod(2), pod(3, { namedPorts: [] })]).frontends[0]!.backends)).toEqual(['1:8001', '2:8002']);
    expect(slicesOf(row, [pod(1), pod(2)])).toHaveLength(2);
  });
  test('one slice where the numbers are the same, and one of each family', () => {
    expect(slicesOf(service({ clusterIps: ['10.218.0.1', 'fd77::1'] }), [pod(1), pod(2)]).map(({ family, endpoints }) => [family, endpoints.map(({ addresses }) => addresses[0])]))
      .toEqual([[4, ['10.0.0.1', '10.0.0.2']], [6, ['fd00::1:1', 'fd00::1:2']]]);
  });
  test('the protocol counts', () => {
    const row = service({ ports: [{ name: 'a', protocol: 'UDP', port: 53, targetPort: 53 }, { name: 'b', protocol: 'SCTP', port: 53, targetPort: 54 }] });
    expect(derive(row, [pod(1)]).frontends.map(({ key, backends }) => [key, backends])).toEqual([['10.218.0.1:53/UDP cluster', ['10.0.0.1:53/UDP']], ['10.218.0.1:53/SCTP cluster', ['10.0.0.1:54/SCTP']]]);
  });
});

describe('names of pods below a headless service', () => {
  const row = service({ headless: true, clusterIps: [] });
  test.each([
    ['a pod\'s own', {}, 'web-1'],
    ['another one, where its subdomain is that service', { hostname: 'first', subdomain: 'web' }, 'first'],
    ['its own, where the subdomain is another', { hostname: 'first', subdomain: 'db' }, 'web-1'],
    ['its own, without a subdomain', { hostname: 'first' }, 'web-1'],
    ['its own, with a subdomain alone', { subdomain: 'web' }, 'web-1'],
  ])('%s', (_, more, name) => {
    expect(slicesOf(row, [pod(1, more)]).map(({ family, endpoints }) => [family, endpoints.map(({ hostname }) => hostname)])).toEqual([[4, [name]], [6, [name]]]);
  });
  test('none below one that has an address', () => {
    expect(slicesOf(service(), [pod(1, { hostname: 'first', subdomain: 'web' })])[0]!.endpoints[0]).not.toHaveProperty('hostname');
  });
});

describe('where it is reached', () => {
  const here = [pod(1), pod(2, { node: 'n2' })];
  const nodePort = { type: 'NodePort' as const, ports: [{ name: '', protocol: 'TCP' as const, port: 80, targetPort: 8080, nodePort: 30080 }] };
  test.each([
    ['a ClusterIP of both families', service({ clusterIps: ['10.218.0.1', 'fd77::1'] }), ['10.218.0.1:80/TCP cluster: 2', '[fd77::1]:80/TCP cluster: 2']],
    ['a ClusterIP for this node only', service({ internalLocal: true }), ['10.218.0.1:80/TCP cluster: 1 local']],
    ['a node port, at addresses of its family', service(nodePort), ['10.218.0.1:80/TCP cluster: 2', '192.0.2.2:30080/TCP cluster: 2', '192.0.2.2:30080/TCP external: 2', '0.0.0.0:30080/TCP cluster: 2']],
    ['a node port that stays on the node for those from outside', service({ ...nodePort, externalLocal: true }), ['10.218.0.1:80/TCP cluster: 2', '192.0.2.2:30080/TCP cluster: 2', '192.0.2.2:30080/TCP external: 1 local', '0.0.0.0:30080/TCP cluster: 2']],
    ['external IPs', service({ externalIps: ['198.51.100.1'] }), ['10.218.0.1:80/TCP cluster: 2', '198.51.100.1:80/TCP cluster: 2', '198.51.100.1:80/TCP external: 2']],
    ['a load balancer, from some', service({ type: 'LoadBalancer', loadBalancerIps: ['10.219.0.1'], sourceRanges: ['10.0.0.0/8'] }), ['10.218.0.1:80/TCP cluster: 2', '10.219.0.1:80/TCP cluster: 2', '10.219.0.1:80/TCP external: 2 10.0.0.0/8']],
    ['Maglev and DSR for those from outside', service({ externalIps: ['198.51.100.1'], forwarding: { algorithm: 'maglev', mode: 'dsr' } }),
      ['10.218.0.1:80/TCP cluster: 2', '198.51.100.1:80/TCP cluster: 2', '198.51.100.1:80/TCP external: 2 maglev dsr']],
    ['nowhere, headless', service({ headless: true, clusterIps: [] }), []],
    ['nowhere, a name', service({ type: 'ExternalName', clusterIps: [], externalName: 'db.example.com', ports: [] }), []],
  ])('%s', (_, row, expected) => {
    expect(derive(row, here).frontends.map(({ key, backends, local, maglev, dsr, sourceRanges }) =>
      [`${key}: ${backends.length}`, ...(local ? ['local'] : []), ...(maglev ? ['maglev'] : []), ...(dsr ? ['dsr'] : []), ...sourceRanges].join(' '))).toEqual(expected);
  });
});

describe('weights', () => {
  const outside = { externalIps: ['198.51.100.1'] };
  test.each([
    ['all the same: none are kept, any backend', [pod(1, { weight: 30 }), pod(2, { weight: 30 })], [undefined, undefined, undefined], false],
    ['some others: kept at every frontend, by a Maglev table', [pod(1), pod(2, { weight: 300 })], [[100, 300], [100, 300], [100, 300]], true],
    ['only of those that get connections', [pod(1), pod(2, { weight: 300, serving: false })], [undefined, undefined, undefined], false],
  ])('%s', (_, pods, weights, maglev) => {
    const { frontends } = derive(service(outside), pods);
    expect(frontends.map((row) => row.weights)).toEqual(weights);
    expect(frontends.map((row) => row.maglev)).toEqual([maglev, maglev, maglev]);
  });
});

test('a pod concerns only the services that select it, before or after', () => {
  const selection = new Selection();
  for (const [name, selector] of [['a', { app: 'web' }], ['b', { app: 'web', tier: 'x' }], ['c', { app: 'db' }]] as const) selection.setService(`shop/${name}`, service({ key: `shop/${name}`, name, selector }));
  const touched = (one: ServicePod | undefined): string[] => [...selection.setPod('local/shop/web-1', one)].sort();
  expect(touched(pod(1))).toEqual(['shop/a']);
  expect(touched(pod(1))).toEqual([]);
  expect(touched(pod(1, { labels: { app: 'web', tier: 'x' } }))).toEqual(['shop/a', 'shop/b']);
  expect(touched(pod(1, { labels: { app: 'db' } }))).toEqual(['shop/a', 'shop/b', 'shop/c']);
  expect(touched(undefined)).toEqual(['shop/c']);
});
