// CIDR groups end to end: a file of a group changes, and with it what a real workload reaches; flows that nobody has sent are
// judged by the running agent alike.
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { Cluster, outside, pod, policy } from './cluster.ts';
import { idle, server } from './programs.ts';

const group = (...externalCIDRs: string[]): object => ({ apiVersion: 'cilium.io/v2', kind: 'CiliumCIDRGroup', metadata: { name: 'partners', labels: { trust: 'low' } }, spec: { externalCIDRs } });
const byName = policy('by-name', { endpointSelector: { matchLabels: { app: 'name' } }, egress: [{ toCIDRSet: [{ cidrGroupRef: 'partners', except: [`${outside.ipv6}/128`] }] }] });
const byLabel = policy('by-label', { endpointSelector: { matchLabels: { app: 'label' } }, egressDeny: [{ toCIDRSet: [{ cidrGroupSelector: { matchLabels: { trust: 'low' } } }] }], enableDefaultDeny: { egress: false } });

let cluster: Cluster;
beforeAll(async () => {
  cluster = await Cluster.start('cidr-group', { 'pods.yaml': [pod('name', idle), pod('label', idle)], 'policies.yaml': [byName, byLabel] });
  cluster.background('outside', ...server(8080));
  await cluster.until('the server outside listens', () => cluster.probe('node', [{ kind: 'tcp', to: outside.ipv4, port: 8080 }])[0] === 'open');
}, 60_000);
afterAll(async () => { await cluster.close(); });

const reached = (): Record<string, string[]> => Object.fromEntries(['name', 'label'].map((name) =>
  [name, cluster.probe(`default/${name}`, [outside.ipv4, outside.ipv6].map((to) => ({ kind: 'tcp', to, port: 8080 })))]));
const verdict = (from: string, to: string): number | null => cluster.weir('policy', 'verdict', '--from', from, '--to', to, '--port', '8080').code;

test.each([
  { name: 'no group yet', cidrs: undefined, found: { name: ['silent', 'silent'], label: ['open', 'open'] } },
  { name: 'both families, one address excepted', cidrs: ['198.51.100.0/24', '2001:db8:51::/64'], found: { name: ['open', 'silent'], label: ['silent', 'silent'] } },
  { name: 'other prefixes', cidrs: ['192.0.2.0/24', '2001:db8:51::/64'], found: { name: ['silent', 'silent'], label: ['open', 'silent'] } },
  { name: 'a group that turned bad keeps its last good version', cidrs: ['198.51.100.0'], found: { name: ['silent', 'silent'], label: ['open', 'silent'] } },
])('$name', async ({ cidrs, found }) => {
  if (cidrs !== undefined) cluster.write('group.yaml', group(...cidrs));
  await cluster.until('the policy is in force', () => JSON.stringify(reached()) === JSON.stringify(found));
  for (const name of ['name', 'label'] as const) {
    for (const [index, to] of [outside.ipv4, outside.ipv6].entries()) expect([name, to, verdict(`default/${name}`, to)]).toEqual([name, to, found[name][index] === 'open' ? 0 : 1]);
  }
}, 60_000);

test('a reference to no group is a warning at its place', async () => {
  cluster.remove('group.yaml');
  await cluster.until('the group is gone', () => cluster.probe('default/label', [{ kind: 'tcp', to: outside.ipv6, port: 8080 }])[0] === 'open');
  const { problems } = cluster.json<{ problems: { severity: string; field: string; message: string }[] }>('status');
  expect(problems.map(({ severity, field, message }) => [severity, field, message.split(': ')[1]])).toEqual(expect.arrayContaining([
    ['warning', 'spec.egress[0].toCIDRSet[0].cidrGroupRef', 'there is no CiliumCIDRGroup partners, so this selects nothing'],
    ['warning', 'spec.egressDeny[0].toCIDRSet[0].cidrGroupSelector', 'no CiliumCIDRGroup has these labels, so this selects nothing'],
  ]));
});

test('the running agent explains a flow that nobody has sent, with file and line', () => {
  const { code, out } = cluster.weir('policy', 'explain', '--from', 'name', '--to', outside.ipv4, '--port', '8080');
  expect([code, out]).toEqual([0, expect.stringMatching(/egress of default\/name: denied by default[^]*by-name spec\.egress\[0\] \(.*policies\.yaml:\d+\)[^]*This policy would allow it[^]*198\.51\.100\.1\/32/)]);
  const wrong = cluster.weir('policy', 'verdict', '--from', 'nam', '--to', outside.ipv4, '--port', '1');
  expect([wrong.code, wrong.error]).toEqual([2, expect.stringMatching(/no workload nam runs here\n {2}did you mean name\?/)]);
});
