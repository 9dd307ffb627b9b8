// DNS rules end to end: a name server outside, egress allowed to names alone; what is allowed, refused and dropped is told; an agent that
// dies changes nothing. Both families.
import { spawn } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { Cluster, node, outside, pod, policy } from './cluster.ts';
import { endless, lookups, nameServer, ranges, type Counted, type Found, type Lookup } from './dns.ts';
import { idle, server } from './programs.ts';

const door = 8080;
const servers = [outside.ipv4, outside.ipv6];
const names = policy('names', {
  endpointSelector: { matchLabels: { app: 'client' } },
  egress: [
    { toCIDR: [`${outside.ipv4}/32`, `${outside.ipv6}/128`], toPorts: [{ ports: [{ port: '53', protocol: 'ANY' }], rules: { dns: [{ matchPattern: '*.example.test' }, { matchName: 'other.test' }] } }] },
    { toFQDNs: [{ matchPattern: '*.example.test' }], toPorts: [{ ports: [{ port: String(door), protocol: 'TCP' }] }] },
  ],
});

let cluster: Cluster;
beforeAll(async () => {
  cluster = await Cluster.start('dns', { 'pods.yaml': [pod('client', idle), pod('free', idle)], 'policy.yaml': names });
  expect(cluster.on('outside', 'ip', 'route', 'add', 'local', ranges.ipv4, 'dev', 'lo').code).toBe(0);
  expect(cluster.on('outside', 'ip', '-6', 'route', 'add', 'local', ranges.ipv6, 'dev', 'lo').code).toBe(0);
  cluster.background('outside', ...server(door));
  cluster.background('outside', ...nameServer(node.ipv4));
  await cluster.until('the servers outside answer', () => ask('free', [{ server: outside.ipv4, name: 'www.example.test', type: 1 }, { server: outside.ipv6, name: 'www.example.test', type: 28 }])
    .every(({ reached }) => reached === 'open'));
}, 60_000);
afterAll(async () => { await cluster.close(); });

function ask(from: string, all: readonly Lookup[]): Found[] {
  const { code, out, error } = cluster.exec(`default/${from}`, ...lookups(all, door));
  if (code !== 0) throw new Error(error + out);
  return JSON.parse(out) as Found[];
}
const observed = (...words: string[]): string => cluster.weir('observe', '--last', '500', '-o', 'compact', ...words).out;

const families = [{ family: 'IPv4', server: outside.ipv4, type: 1, first: '198.18.0.1', none: '198.18.9.9' }, { family: 'IPv6', server: outside.ipv6, type: 28, first: '2001:db8:18::1', none: '2001:db8:18::999' }] as const;

describe.each(families)('$family', ({ server: at, type, first, none }) => {
  test('an allowed name is answered, and its address reached at once', () => {
    expect(ask('client', [{ server: at, name: 'www.example.test', type }, { server: at, name: 'wWw.Example.TEST', type }])).toEqual([
      { rcode: 0, addresses: [first], reached: 'open' }, { rcode: 0, addresses: [first], reached: 'open' },
    ]);
  });

  test.each([
    { name: 'another name', asked: 'www.example.org', found: { rcode: 5, addresses: [] } },
    { name: 'a label more', asked: 'a.b.example.test', found: { rcode: 5, addresses: [] } },
    { name: 'a name that does not exist', asked: 'none.example.test', found: { rcode: 3, addresses: [] } },
    { name: 'more addresses than are read: cut short', asked: 'many25.example.test', found: { rcode: 0, addresses: [], cut: true } },
  ])('$name', ({ asked, found }) => { expect(ask('client', [{ server: at, name: asked, type }])).toEqual([found]); });

  test('24 addresses', () => { expect(ask('client', [{ server: at, name: 'many24.example.test', type }])).toMatchObject([{ rcode: 0, reached: 'open' }]); });

  test('a name that may be asked for and not reached; an address without a name', () => {
    expect(ask('client', [{ server: at, name: 'other.test', type }])).toMatchObject([{ rcode: 0 }]);
    expect(cluster.probe('default/client', [{ kind: 'tcp', to: none, port: door }, { kind: 'tcp', to: first, port: door + 1 }])).toEqual(['silent', 'silent']);
  });

});

test('an answer that points inside is handed on and opens nothing', () => {
  expect(ask('client', [{ server: outside.ipv4, name: 'inside.example.test', type: 1 }])).toEqual([{ rcode: 0, addresses: [node.ipv4], reached: 'silent' }]);
});

test('observe tells of queries, answers, refusals and drops', async () => {
  await cluster.until('all is told', () => observed('--protocol', 'dns', '--verdict', 'DROPPED').includes('www.example.org'), 5_000);
  const dns = observed('--protocol', 'dns');
  expect(dns).toMatch(/default\/client:\d+ \(ID:\d+\) <- 198\.51\.100\.1:53 \S+ dns-response kernel FORWARDED \(DNS Answer "198\.18\.0\.1" TTL: 60 \(www\.example\.test\. A\)\)/);
  expect(dns).toMatch(/dns-response kernel FORWARDED \(DNS Answer "2001:db8:18::1" TTL: 60 \(www\.example\.test\. AAAA\)\)/);
  expect(dns).toMatch(/dns-request kernel DROPPED \(DNS Query www\.example\.org\. A, refused/);
  expect(dns).toMatch(/DNS Answer RCode: Non-Existent Domain \(none\.example\.test\. AAAA\)/);
  expect(observed('--dns-query', 'example\\.org')).not.toContain('www.example.test');
  const dropped = observed('--verdict', 'DROPPED', '--from-pod', 'default/client', '--protocol', 'tcp');
  expect(dropped).toMatch(/198\.18\.9\.9:8080 .*Policy denied DROPPED/i);
});

test('weir dns: what was learned, what was counted, which rules are about a name', () => {
  const rows = cluster.json<{ endpoint: string; address: string; names: string[]; selectors: string[]; seconds: number }[]>('dns', 'cache', 'list');
  expect(rows.find(({ address }) => address === '198.18.0.1')).toMatchObject({ endpoint: 'default/client', names: expect.arrayContaining(['www.example.test.']), selectors: ['*.example.test.', 'other.test.'] });
  const { counters } = cluster.json<{ counters: Record<string, number> }>('dns', 'status');
  expect(counters).toMatchObject({ refused: expect.any(Number), unread: 0, cut: 2, rebound: 1, lost: 0 });
  expect(counters['refused']).toBeGreaterThanOrEqual(4);
  expect(cluster.weir('dns', 'explain', 'www.example.test', '--from', 'client').out).toMatch(/default\/client may ask for www\.example\.test\.:\n.*names spec\.egress\[0\]\ndefault\/client may reach www\.example\.test\.:\n.*names spec\.egress\[1\]\nknown addresses: /);
  expect(cluster.weir('dns', 'explain', 'nobody.test', '--from', 'client').out).toContain('may not ask for nobody.test.');
});

/** Runs in the workload beside the test. */
function load(seconds: number): Promise<Counted> {
  const launcher = new URL('../weir', import.meta.url).pathname;
  const child = spawn(launcher, ['workload', 'exec', 'default/client', '--instance', cluster.instance.name, '--', ...endless(servers, door, seconds)], { stdio: ['ignore', 'pipe', 'inherit'] });
  let out = '';
  child.stdout.on('data', (data: Buffer) => { out += data.toString(); });
  return new Promise((resolve, reject) => {
    child.once('exit', () => {
      if (out === '') reject(new Error('the load ended without a result'));
      else resolve(JSON.parse(out) as Counted);
    });
  });
}

test('lookups followed at once by a connection, while an agent is killed and started again and policies change: none fails', async () => {
  let ended = false;
  const counted = load(15).finally(() => { ended = true; });
  let rounds = 0;
  for (; !ended; rounds += 1) {
    await sleep(1_000);
    await cluster.stop('SIGKILL');
    await sleep(1_000);
    await cluster.up();
    cluster.write('more.yaml', policy('more', { endpointSelector: { matchLabels: { app: 'client' } }, egress: [{ toFQDNs: [{ matchPattern: `*.round${rounds}.test` }, { matchName: `r${rounds}.test` }] }] }));
  }
  const result = await counted;
  console.log(`${rounds} times kill -9: ${JSON.stringify(result)}`);
  expect(result).toMatchObject({ failedLookups: 0, failedConnections: 0 });
  expect(result.lookups).toBeGreaterThan(100);
}, 120_000);

test('what was learned before a restart is known after it', async () => {
  expect(ask('client', [{ server: outside.ipv4, name: 'n61000.example.test', type: 1 }])).toEqual([{ rcode: 0, addresses: ['198.18.238.72'], reached: 'open' }]);
  await cluster.stop('SIGKILL');
  await cluster.up();
  expect(cluster.probe('default/client', [{ kind: 'tcp', to: '198.18.238.72', port: door }])).toEqual(['open']);
}, 60_000);

test('a pattern that comes later knows the addresses that were learned before', async () => {
  const late = '198.18.238.73';
  ask('client', [{ server: outside.ipv4, name: 'n61001.example.test', type: 1 }]);
  expect(cluster.probe('default/client', [{ kind: 'tcp', to: late, port: door + 1 }])).toEqual(['silent']);
  cluster.write('late.yaml', policy('late', { endpointSelector: { matchLabels: { app: 'client' } }, egress: [{ toFQDNs: [{ matchName: 'n61001.example.test' }], toPorts: [{ ports: [{ port: String(door + 1) }] }] }] }));
  await cluster.until('it is reached: nobody listens, and says so', () => cluster.probe('default/client', [{ kind: 'tcp', to: late, port: door + 1 }])[0] === 'refused', 10_000);
}, 30_000);
