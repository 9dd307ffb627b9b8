// Policies with L7 rules on their way into force: Envoy first, then the kernel's rows, then the flip; what Envoy does not serve harms nothing else.
// Real maps, and an Envoy that only notes what it is asked.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { Bench } from '../../bpf/testing/bench.ts';
import { manifestTable, problemTable, type ManifestRow } from '../directory/tables.ts';
import { endpointTable, type EndpointRow } from '../endpoint/tables.ts';
import { ConfigError } from '../errors.ts';
import { IdentityAllocator } from '../identity/allocator.ts';
import { podIdentityLabels } from '../identity/labels.ts';
import { identityTable } from '../identity/tables.ts';
import { ipcacheTable } from '../ipcache/tables.ts';
import { nodeAddressTable, nodeTable, remoteEndpointTable } from '../node/tables.ts';
import type { RuleSet } from '../policy/image.ts';
import type { L7Proxy } from '../policy/l7-serving.ts';
import { PolicyReconciler } from '../policy/reconciler.ts';
import { PolicySet } from '../policy/reflector.ts';
import { policyTable } from '../policy/tables.ts';
import { Enforcement } from './enforcement.ts';

const source = { file: 'a.yaml', line: 1, column: 1 };
const policyRow = (name: string, port: string, l7: object): ManifestRow => ({
  key: `CiliumNetworkPolicy/default/${name}`, apiVersion: 'cilium.io/v2', kind: 'CiliumNetworkPolicy', namespace: 'default', name, source, locate: () => source,
  object: { apiVersion: 'cilium.io/v2', kind: 'CiliumNetworkPolicy', metadata: { name, namespace: 'default' }, spec: {
    endpointSelector: { matchLabels: { app: 'db' } }, ingress: [{ fromEndpoints: [{ matchLabels: { app: 'web' } }], toPorts: [{ ports: [{ port, protocol: 'TCP' }], ...l7 }] }] } },
});
const http = (name: string, path: string, port = '80'): ManifestRow => policyRow(name, port, { rules: { http: [{ path }] } });

/** Notes what happens in order; `refuses`: words for sets whose rules are of that policy. */
class NotedProxy implements L7Proxy {
  readonly events: string[] = [];
  readonly ports = new Map<string, number>();
  refuses = new Map<string, string>();
  paths: string[] = [];
  onServe = (): void => undefined;

  readonly start = async (): Promise<void> => undefined;
  readonly portOf = (key: string): number => {
    const port = this.ports.get(key) ?? 10_000 + this.ports.size;
    if (port > 10_001) throw new ConfigError('no port is free');
    this.ports.set(key, port);
    return port;
  };
  readonly serve = async (sets: ReadonlyMap<string, RuleSet>): Promise<ReadonlyMap<string, string>> => {
    this.onServe();
    this.events.push(`serve ${sets.size}`);
    this.paths = [...sets.values()].flatMap(({ rules }) => rules.flatMap(({ l7 }) => (l7 === 'any' ? ['any'] : l7.http.map(({ path }) => path!))));
    await new Promise(setImmediate);
    return new Map([...sets].flatMap(([key, { rules }]) => rules.flatMap(({ ref }) => { const words = this.refuses.get(ref.policy.name); return words === undefined ? [] : [[key, words] as const]; })));
  };
  readonly retire = (needed: ReadonlySet<string>): void => { this.events.push(`retire but ${needed.size}`); };
}

let bench: Bench;
let dir: string;
let proxy: NotedProxy;
let tables: ReturnType<typeof makeTables>;
let enforcement: Enforcement;
const makeTables = () => {
  const [manifests, policies, problems, identities] = [manifestTable(), policyTable(), problemTable(), identityTable()];
  return { manifests, policies, problems, identities, endpoints: endpointTable(), set: new PolicySet(manifests, policies, problems), allocator: new IdentityAllocator(identities) };
};
/** An agent; one more of them finds what the one before left. */
function start(withProxy: boolean): Enforcement {
  const reconciler = new PolicyReconciler(bench.datapath, join(dir, 'numbers.json'));
  reconciler.adopt(tables.endpoints.rows());
  return new Enforcement({
    ...tables, policies: tables.set, nodeAddresses: nodeAddressTable(), ipcache: ipcacheTable(), nodes: nodeTable(), remoteEndpoints: remoteEndpointTable(), reconciler,
    ...(withProxy ? { proxy } : {}), applied: async () => Promise.resolve(), open: () => undefined, log: (line) => { throw new Error(line); },
  });
}
const endpoint = (id: number, app: string): EndpointRow => {
  const labels = podIdentityLabels({ labels: { app }, namespace: 'default', serviceAccount: 'default', namespaceLabels: {} });
  return {
    id, key: `default/${app}`, namespace: 'default', name: app, uid: app, labels, identity: tables.allocator.use(app, 'workload', labels)!,
    ipv4: `10.1.0.${id}`, ipv6: `fd00::${id}`, interfaceName: app, ifindex: 100 + id, mac: '02:00:00:00:00:01', hostMac: '02:00:00:00:00:02', namedPorts: [], state: 'ready',
  };
};
const portRows = () => bench.datapath.proxyPorts.entries().map(([{ policy, interval, bits }, port]) => ({ policy, interval, bits, port })).sort((a, b) => a.port - b.port);
const inForce = (): number => bench.datapath.endpoints.get(102)!.ingress_policy[1]!;
const write = async (rows: ManifestRow[], gone: string[] = []): Promise<void> => {
  tables.manifests.write(rows, gone.map((name) => `CiliumNetworkPolicy/default/${name}`));
  await enforcement.settled();
};

beforeEach(() => {
  bench = new Bench();
  dir = mkdtempSync(join(tmpdir(), 'weir-l7-'));
  proxy = new NotedProxy();
  tables = makeTables();
  tables.endpoints.write([endpoint(1, 'web'), endpoint(2, 'db')]);
  enforcement = start(true);
});
afterEach(async () => {
  await enforcement.stop();
  bench.close();
  rmSync(dir, { recursive: true });
});

test('Envoy serves before the kernel sends anything there; what goes is told after the flip', async () => {
  let rowsThen = -1;
  proxy.onServe = () => { rowsThen = portRows().length; };
  await write([http('p', '/a')]);
  expect([rowsThen, proxy.events, proxy.paths]).toEqual([0, ['serve 1', 'retire but 1'], ['/a']]);
  expect(portRows()).toEqual([{ policy: inForce(), interval: 1, bits: 1n, port: 10_000 }]);
  const key = [...proxy.ports.keys()][0]!;
  await write([], ['p']);
  expect([portRows(), proxy.events.at(-1)]).toEqual([[], 'retire but 0']);
  // An access log may still name it.
  expect(enforcement.ruleSet(key)?.rules.map(({ ref }) => ref.policy.name)).toEqual(['p']);
});

test('an edited path reaches Envoy alone: policy number, rows and port stay', async () => {
  await write([http('p', '/a')]);
  const before = [inForce(), portRows()];
  await write([http('p', '/b')]);
  expect([inForce(), portRows()]).toEqual(before);
  expect(proxy.paths).toEqual(['/b']);
});

test('what Envoy refuses has no row and a reason; other policies go on, and it is asked again', async () => {
  proxy.refuses.set('bad', 'regex too large');
  await write([http('bad', '/a'), http('good', '/b', '81')]);
  const message = 'connections that its L7 rules are about are refused: regex too large';
  expect(portRows().map(({ port }) => port)).toEqual([proxy.ports.get([...proxy.ports.keys()].at(1)!)]);
  expect(tables.policies.rows().map(({ name, state, message: words }) => [name, state, words])).toEqual([['bad', 'enforced', message], ['good', 'enforced', undefined]]);
  expect([...enforcement.unserved.values()]).toEqual(['regex too large']);
  expect(tables.problems.rows().map((row) => row.message)).toEqual([`CiliumNetworkPolicy bad: ${message}`]);
  proxy.refuses.clear();
  await new Promise((resolve) => { setTimeout(resolve, 1_300); });
  await enforcement.settled();
  expect([portRows().length, tables.problems.rows(), tables.policies.rows().map((row) => row.message)]).toEqual([2, [], [undefined, undefined]]);
});

test.each<[string, ManifestRow[], number, string[]]>([
  ['no port is free for the third', [http('a', '/a'), http('b', '/b', '81'), http('c', '/c', '82')], 2, ['c: no port is free']],
  ['HTTP beside names of TLS', [http('a', '/a'), policyRow('b', '80', { serverNames: ['b.example'] }), http('c', '/c', '81')], 1, ['a: cannot be served together', 'b: cannot be served together']],
])('%s: refused alone', async (_, rows, served, reasons) => {
  await write(rows);
  expect(portRows()).toHaveLength(served);
  const told = tables.policies.rows().flatMap(({ name, message }) => (message === undefined ? [] : [`${name}: ${message}`]));
  expect(told).toEqual(reasons.map((reason) => { const [name, words] = reason.split(': '); return expect.stringMatching(new RegExp(`^${name}: .*${words}$`)); }));
});

test('an Envoy that fails altogether holds up nothing else', async () => {
  proxy.onServe = () => { throw new Error('no socket'); };
  await write([http('p', '/a')]);
  expect([portRows(), inForce() > 0, tables.policies.rows()[0]!.message]).toEqual([[], true, expect.stringContaining('no socket')]);
});

test('without Envoy: L4 is enforced, L7 has no row and says so', async () => {
  await enforcement.stop();
  enforcement = start(false);
  await write([http('p', '/a')]);
  expect([portRows(), inForce() > 0, tables.policies.rows()[0]!.message]).toEqual([[], true, expect.stringContaining('no Envoy runs beside this agent')]);
});

test('an agent that follows one that died finds its rows; those of a flip that never came go', async () => {
  await write([http('p', '/a')]);
  const before = [inForce(), portRows()];
  bench.datapath.proxyPorts.set({ bits: 1n, policy: 4_000, interval: 0, class_id: 1 }, 10_001);
  await enforcement.stop();
  enforcement = start(true);
  await enforcement.settled();
  expect([inForce(), portRows()]).toEqual(before);
});
