// The loop from tables to the kernel under much at once: the directory, tables, compiler and maps of an agent, without workloads.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { buildBpf, objectPath } from '../../bpf/build.ts';
import { manifestTable, problemTable } from '../directory/tables.ts';
import { reflectDirectory, type DirectoryReflector } from '../directory/reflector.ts';
import { endpointTable, type EndpointRow } from '../endpoint/tables.ts';
import { IdentityAllocator } from '../identity/allocator.ts';
import { podIdentityLabels } from '../identity/labels.ts';
import { identityTable } from '../identity/tables.ts';
import { ipcacheKey } from '../ipcache/address.ts';
import { ipcacheTable } from '../ipcache/tables.ts';
import { nodeAddressTable, nodeTable, remoteEndpointTable } from '../node/tables.ts';
import { PolicyReconciler } from '../policy/reconciler.ts';
import { PolicySet } from '../policy/reflector.ts';
import { policyTable } from '../policy/tables.ts';
import { Enforcement } from './enforcement.ts';
import { loadDatapath, type Datapath } from './maps.ts';

const manifests = manifestTable();
const problems = problemTable();
const policies = policyTable();
const endpoints = endpointTable();
const identities = identityTable();
const allocator = new IdentityAllocator(identities);
let dir: string;
let datapath: Datapath;
let enforcement: Enforcement;
let directory: DirectoryReflector;

const policy = (name: string, port: string): object => ({
  apiVersion: 'cilium.io/v2', kind: 'CiliumNetworkPolicy', metadata: { name, namespace: 'default' },
  spec: { endpointSelector: { matchLabels: { app: name } }, ingress: [{ fromEndpoints: [{ matchLabels: { app: 'client' } }], toPorts: [{ ports: [{ port, protocol: 'TCP' }] }] }] },
});
const write = (name: string, content: object): void => { writeFileSync(join(dir, `${name}.yaml`), JSON.stringify(content)); };

beforeEach(async () => {
  buildBpf();
  dir = mkdtempSync(join(tmpdir(), 'weir-enforcement-'));
  for (let index = 0; index < 1_000; index += 1) write(`p${index}`, policy(`p${index}`, '80'));
  datapath = loadDatapath(objectPath);
  enforcement = new Enforcement({
    policies: new PolicySet(manifests, policies, problems), endpoints, identities, allocator, nodeAddresses: nodeAddressTable(), ipcache: ipcacheTable(), nodes: nodeTable(), remoteEndpoints: remoteEndpointTable(),
    reconciler: new PolicyReconciler(datapath), applied: async () => Promise.resolve(), open: () => undefined, log: (line) => { throw new Error(line); },
  });
  directory = await reflectDirectory({ dir, display: 'dir', manifests, problems });
  await enforcement.settled();
}, 60_000);
afterEach(async () => {
  directory.stop();
  await enforcement.stop();
  datapath.object.close();
  rmSync(dir, { recursive: true });
});

const endpoint = (at: number): EndpointRow => {
  const labels = podIdentityLabels({ labels: { app: `p${at % 1_000}`, own: String(at) }, namespace: 'default', serviceAccount: 'default', namespaceLabels: {} });
  return {
    id: at, key: `default/e${at}`, namespace: 'default', name: `e${at}`, uid: String(at), labels, identity: allocator.use(`e${at}`, 'workload', labels)!,
    ipv4: `10.1.${at >> 8}.${at & 255}`, ipv6: `fd00::1:${at.toString(16)}`, interfaceName: `e${at}`, ifindex: 10_000 + at, mac: '02:00:00:00:00:01', hostMac: '02:00:00:00:00:02', namedPorts: [], state: 'ready',
  };
};

const states = (): Record<string, number> => {
  const found: Record<string, number> = {};
  for (const { state } of policies.rows()) found[state] = (found[state] ?? 0) + 1;
  return found;
};

test('5,000 identities that appear at once are all in the kernel, each under the policies that select it; one bad policy among 1,000 harms none', async () => {
  const rows = Array.from({ length: 5_000 }, (_, index) => endpoint(index + 1));
  const before = performance.now();
  endpoints.write(rows);
  await enforcement.settled();
  console.log(`5,000 new identities in ${Math.round(performance.now() - before)} ms`);
  expect(new Set(rows.map((row) => row.identity)).size).toBe(5_000);
  const wrong = rows.filter((row) => [`${row.ipv4}/32`, `${row.ipv6}/128`].some((prefix) => datapath.ipcache.get(ipcacheKey(prefix))?.peer[1]?.identity !== row.identity)
    || datapath.endpoints.get(row.ifindex)?.ingress_policy[1] === 0);
  expect(wrong).toEqual([]);
  expect(states()).toEqual({ enforced: 1_000 });
  expect(new Set(policies.rows().map((row) => row.endpoints))).toEqual(new Set([5]));

  const inForce = (): unknown => rows.map((row) => datapath.endpoints.get(row.ifindex)!.ingress_policy[1]);
  const [was, generation] = [inForce(), datapath.control.get(0)!.generation];
  write('p500', { ...policy('p500', '80'), spec: { endpointSelector: {}, ingres: [{}] } });
  directory.refresh();
  await enforcement.settled();
  expect(problems.rows().map(({ field, severity }) => [field, severity])).toEqual([['spec.ingres', 'error']]);
  expect([inForce(), policies.get('CiliumNetworkPolicy/default/p500')?.endpoints]).toEqual([was, 5]);
  write('p501', policy('p501', '81'));
  directory.refresh();
  await enforcement.settled();
  const now = inForce() as number[];
  expect(now.flatMap((id, index) => (id === (was as number[])[index] ? [] : [rows[index]!.labels.find((label) => label.startsWith('k8s:app='))]))).toEqual(new Array(5).fill('k8s:app=p501'));
  expect(datapath.control.get(0)!.generation).toBeGreaterThan(generation);
}, 120_000);
