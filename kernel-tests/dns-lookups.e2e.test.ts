// Lookups, each followed at once by a connection to the address that it gave, in both families, while the agent is killed and started again:
// no first packet is lost, no lookup, no connection. WEIR_LOOKUPS (npm run test:lookups): how many; every name and address is a new one.
import { spawn } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { Cluster, node, pod, policy } from './cluster.ts';
import { greeter, nameServer, paced, ranges, type Counted } from './dns.ts';
import { idle } from './programs.ts';

const count = Number(process.env['WEIR_LOOKUPS'] ?? 3_000);
/** Of each client: an address is kept for 60 s and more, and a client may have 21,845. */
const perSecond = 200;
const [door, names] = [8080, 5353];
const clients = ['one', 'two', 'three', 'four'];

let cluster: Cluster;
let servers: readonly string[];
beforeAll(async () => {
  cluster = await Cluster.start('lookups', {
    // A workload, for masquerading has not so many ports for one server outside.
    'pods.yaml': [...clients.map((name) => pod(name, idle, { app: 'client' })), pod('names', nameServer(node.ipv4, names))],
    'policy.yaml': policy('names', {
      endpointSelector: { matchLabels: { app: 'client' } },
      egress: [
        { toEndpoints: [{ matchLabels: { app: 'names' } }], toPorts: [{ ports: [{ port: String(names), protocol: 'UDP' }], rules: { dns: [{ matchPattern: '*.example.test' }] } }] },
        { toFQDNs: [{ matchPattern: '*.example.test' }], toPorts: [{ ports: [{ port: String(door), protocol: 'TCP' }] }] },
      ],
    }),
  });
  expect(cluster.on('outside', 'ip', 'route', 'add', 'local', ranges.ipv4, 'dev', 'lo').code).toBe(0);
  expect(cluster.on('outside', 'ip', '-6', 'route', 'add', 'local', ranges.ipv6, 'dev', 'lo').code).toBe(0);
  cluster.background('outside', ...greeter(door));
  await cluster.until('all have addresses', () => cluster.json<object[]>('endpoint', 'list').length === clients.length + 1);
  const { ipv4, ipv6 } = cluster.address('default/names');
  servers = [ipv4, ipv6];
}, 240_000);
afterAll(async () => { await cluster.close(); });

/** Every name of as many clients, from `first` on. */
function load(client: string, first: number, lookups: number): Promise<Counted> {
  const launcher = new URL('../weir', import.meta.url).pathname;
  const child = spawn(launcher, ['workload', 'exec', `default/${client}`, '--instance', cluster.instance.name, '--', ...paced(servers, { names, door, first, step: clients.length, lookups, perSecond })], { stdio: ['ignore', 'pipe', 'inherit'] });
  let out = '';
  child.stdout.on('data', (data: Buffer) => { out += data.toString(); });
  return new Promise((resolve, reject) => {
    child.once('exit', () => {
      if (out === '') reject(new Error('the load ended without a result'));
      else resolve(JSON.parse(out) as Counted);
    });
  });
}

test(`${count} lookups followed at once by connections, under kill -9: none fails`, async () => {
  await cluster.until('all answers', () => JSON.parse(cluster.exec('default/one', ...paced(servers, { names, door, first: 0, step: 1, lookups: 2, perSecond })).out).failedConnections === 0);
  let ended = false;
  const begun = performance.now();
  const counted = Promise.all(clients.map((client, index) => load(client, 2 + index, count / clients.length))).finally(() => { ended = true; });
  let kills = 0;
  for (; !ended; kills += 1) {
    await sleep(1_500);
    await cluster.stop('SIGKILL');
    await sleep(500);
    await cluster.up();
  }
  const results = await counted;
  const sum = (field: keyof Counted): number => results.reduce((all, one) => all + one[field], 0);
  const all = { lookups: sum('lookups'), failedLookups: sum('failedLookups'), connections: sum('connections'), failedConnections: sum('failedConnections') };
  const { counters } = cluster.json<{ counters: Record<string, number> }>('dns', 'status');
  console.log(`${Math.round((performance.now() - begun) / 1_000)} s, ${kills} times kill -9: ${JSON.stringify(all)}; the kernel counted ${JSON.stringify(counters)}`);
  expect(all).toEqual({ lookups: count, failedLookups: 0, connections: count, failedConnections: 0 });
  expect(counters).toMatchObject({ refused: 0, malformed: 0, unread: 0, unasked: 0, crowded: 0 });
  expect(kills).toBeGreaterThan(0);
}, 1_200_000);
