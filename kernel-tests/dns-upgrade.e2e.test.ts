// End to end: addresses that an agent with other maps has learned by name go over to this one, with the numbers of their selectors and the
// names for listings; what answers taught is reached without asking again.
import { afterAll, expect, test } from '@jest/globals';
import { Cluster, node, outside, pod, policy } from './cluster.ts';
import { lookups, nameServer, ranges, type Found } from './dns.ts';
import { idle, server } from './programs.ts';
import { compileOther, withObject } from './versions.ts';

const door = 8080;
const other = compileOther([['struct nat_value {\n', 'struct nat_value {\n	__u32 colour;\n']]);
const cluster = Cluster.make('dnsup', {
  'pods.yaml': [pod('client', idle)],
  'policy.yaml': policy('names', {
    endpointSelector: { matchLabels: { app: 'client' } },
    egress: [
      { toCIDR: [`${outside.ipv4}/32`, `${outside.ipv6}/128`], toPorts: [{ ports: [{ port: '53', protocol: 'ANY' }], rules: { dns: [{ matchPattern: '*.example.test' }, { matchName: 'exact.test' }] } }] },
      { toFQDNs: [{ matchPattern: '*.example.test' }, { matchName: 'exact.test' }], toPorts: [{ ports: [{ port: String(door), protocol: 'TCP' }] }] },
    ],
  }),
});
afterAll(async () => {
  await cluster.close();
  other.remove();
});

test('an upgrade keeps what was learned', async () => {
  await withObject(other.path, () => cluster.up());
  expect(cluster.on('outside', 'ip', 'route', 'add', 'local', ranges.ipv4, 'dev', 'lo').code).toBe(0);
  expect(cluster.on('outside', 'ip', '-6', 'route', 'add', 'local', ranges.ipv6, 'dev', 'lo').code).toBe(0);
  cluster.background('outside', ...server(door));
  cluster.background('outside', ...nameServer(node.ipv4));
  const all = [{ server: outside.ipv4, name: 'n5.example.test', type: 1 }, { server: outside.ipv6, name: 'exact.test', type: 28 }] as const;
  const ask = (): Found[] => JSON.parse(cluster.exec('default/client', ...lookups(all, door)).out) as Found[];
  await cluster.until('the servers answer', () => ask().every(({ reached }) => reached === 'open'));
  const [first, second] = ['198.18.0.5', '2001:db8:18::1'];
  // The agent reads what the kernel has learned 20 times a second.
  await cluster.until('their names are known', () => cluster.json<{ names: string[] }[]>('dns', 'cache', 'list').filter(({ names }) => names.length > 0).length === 2);
  await cluster.stop('SIGKILL');
  await cluster.up();
  await cluster.until('it says so', () => /takes over 1 endpoints and \d+ connections from an agent whose maps were others/.test(cluster.log), 5_000);
  expect(cluster.probe('default/client', [{ kind: 'tcp', to: first, port: door }, { kind: 'tcp', to: second, port: door }, { kind: 'tcp', to: '198.18.0.6', port: door }])).toEqual(['open', 'open', 'silent']);
  const rows = cluster.json<{ address: string; names: string[]; selectors: string[] }[]>('dns', 'cache', 'list');
  expect(rows.find(({ address }) => address === first)).toMatchObject({ names: ['n5.example.test.'], selectors: ['*.example.test.'] });
  expect(rows.find(({ address }) => address === second)).toMatchObject({ names: ['exact.test.'], selectors: ['exact.test.'] });
  const { endpoints } = cluster.json<{ endpoints: { addresses: number }[] }>('dns', 'status');
  expect(endpoints.map(({ addresses }) => addresses)).toEqual([2]);
  // Names that were numbered before are also asked for as before.
  expect(ask().map(({ rcode, reached }) => [rcode, reached])).toEqual([[0, 'open'], [0, 'open']]);
}, 180_000);
