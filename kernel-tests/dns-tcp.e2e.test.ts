// DNS rules for TCP end to end: what the kernel does not read is asked again by TCP, through the proxy; refused, answered and learned as by UDP; agents and
// proxies that die change no more than they must. Both families.
import { execFileSync } from 'node:child_process';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { Cluster, node, outside, pod, policy } from './cluster.ts';
import { lookups, nameServer, ranges, type Found, type Lookup } from './dns.ts';
import { idle, server, slowness } from './programs.ts';

const door = 8080;
const names = (pattern: string) => policy('names', {
  endpointSelector: { matchLabels: { app: 'client' } },
  egress: [
    { toCIDR: [`${outside.ipv4}/32`, `${outside.ipv6}/128`], toPorts: [{ ports: [{ port: '53', protocol: 'ANY' }], rules: { dns: [{ matchPattern: pattern }] } }] },
    { toFQDNs: [{ matchPattern: '*.example.test' }], toPorts: [{ ports: [{ port: String(door), protocol: 'TCP' }] }] },
  ],
});

interface Proxy { readonly running: boolean; readonly pid: number; readonly restarts: number; readonly queries: number; readonly refused: number; readonly problem?: string }
let cluster: Cluster;
const proxy = (): Proxy => cluster.json<{ proxy: Proxy }>('dns', 'status').proxy;

beforeAll(async () => {
  cluster = await Cluster.start('dns-tcp', { 'pods.yaml': [pod('client', idle), pod('free', idle)], 'policy.yaml': names('*.example.test') });
  expect(cluster.on('outside', 'ip', 'route', 'add', 'local', ranges.ipv4, 'dev', 'lo').code).toBe(0);
  expect(cluster.on('outside', 'ip', '-6', 'route', 'add', 'local', ranges.ipv6, 'dev', 'lo').code).toBe(0);
  cluster.background('outside', ...server(door));
  cluster.background('outside', ...nameServer(node.ipv4));
  await cluster.until('the servers outside answer', () => ask('free', [{ server: outside.ipv4, name: 'www.example.test', type: 1, by: 'tcp' }, { server: outside.ipv6, name: 'www.example.test', type: 28 }])
    .every(({ reached }) => reached === 'open'));
}, 90_000 * slowness);
afterAll(async () => { await cluster.close(); });

function ask(from: string, all: readonly Lookup[]): Found[] {
  const { code, out, error } = cluster.exec(`default/${from}`, ...lookups(all, door));
  if (code !== 0) throw new Error(error + out);
  return JSON.parse(out) as Found[];
}

const families = [
  { family: 'IPv4', server: outside.ipv4, type: 1, first: '198.18.0.1', thirtieth: '198.18.0.30', web: 'web5000', hint: '198.18.19.136' },
  { family: 'IPv6', server: outside.ipv6, type: 28, first: '2001:db8:18::1', thirtieth: '2001:db8:18::1e', web: 'web5001', hint: '2001:db8:18::1389' },
] as const;

describe.each(families)('$family', ({ server: at, type, first, thirtieth, web, hint }) => {
  test('an allowed name by TCP is answered, and its address reached at once', () => {
    expect(ask('client', [{ server: at, name: 'wWw.example.TEST', type, by: 'tcp' }])).toEqual([{ rcode: 0, addresses: [first], reached: 'open' }]);
  });

  test('another name is refused', () => {
    expect(ask('client', [{ server: at, name: 'www.example.org', type, by: 'tcp' }])).toEqual([{ rcode: 5, addresses: [] }]);
  });

  test('a hint of an HTTPS record is reached', () => {
    const reach = (): string[] => cluster.probe('default/client', [{ kind: 'tcp', to: hint, port: door }]);
    expect(reach()).toEqual(['silent']);
    expect(ask('client', [{ server: at, name: `${web}.example.test`, type: 65, by: 'tcp' }])).toMatchObject([{ rcode: 0 }]);
    expect(reach()).toEqual(['open']);
  });

  test.each([
    { name: '30 addresses', asked: 'many30.example.test', at: 29 },
    { name: 'an answer in fragments', asked: 'many200.example.test', at: 199 },
    { name: 'the most that fits into a message', asked: 'many2000.example.test', at: 1_999 },
  ])('by UDP cut short, by TCP whole: $name', ({ asked, at: index }) => {
    const [found] = ask('client', [{ server: at, name: asked, type, by: 'either', at: index }]);
    expect([found!.rcode, found!.addresses.length, found!.reached]).toEqual([0, index + 1, 'open']);
    expect(found!.addresses[29]).toBe(thirtieth);
  });
});

test('observe tells of queries by TCP as of those by UDP', async () => {
  const observed = (...words: string[]): string => cluster.weir('observe', '--last', '500', '-o', 'compact', '--protocol', 'dns', ...words).out;
  await cluster.until('all is told', () => observed().includes('web5001.example.test. HTTPS'), 5_000);
  expect(observed('--verdict', 'DROPPED')).toMatch(/DNS Query www\.example\.org\. A, refused/);
  expect(observed()).toMatch(/dns-response proxy FORWARDED \(DNS Answer "198\.18\.0\.1" TTL: 60 \(www\.example\.test\. A\)\)/);
});

const everything = (): Found[] => ask('client', families.map(({ server: at, type }) => ({ server: at, name: 'many30.example.test', type, by: 'either', at: 29 })));
const well = families.map(() => expect.objectContaining({ rcode: 0, reached: 'open' }));

test('the agent is killed: the proxy goes on, learns, and is adopted', async () => {
  const { pid, restarts } = proxy();
  const { shimPid } = cluster.json<{ name: string; shimPid: number }[]>('db', 'show', 'workloads').find(({ name }) => name === 'client')!;
  await cluster.stop('SIGKILL');
  const asked = JSON.parse(execFileSync('nsenter', [`--net=/proc/${shimPid}/ns/net`, ...lookups([{ server: outside.ipv4, name: 'many900.example.test', type: 1, by: 'either', at: 899 }], door)], { encoding: 'utf8' })) as Found[];
  expect(asked).toMatchObject([{ rcode: 0, reached: 'open' }]);
  await cluster.up();
  expect(everything()).toEqual(well);
  expect(proxy()).toMatchObject({ running: true, pid, restarts });
});

test('the proxy is killed: queries by TCP are refused at once, UDP goes on, and another serves', async () => {
  const before = proxy().pid;
  process.kill(before, 'SIGKILL');
  expect(ask('client', [{ server: outside.ipv4, name: 'www.example.test', type: 1 }])).toMatchObject([{ rcode: 0, reached: 'open' }]);
  await cluster.until('another serves', () => proxy().pid !== before && ask('client', [{ server: outside.ipv4, name: 'www.example.test', type: 1, by: 'tcp' }])[0]!.rcode === 0, 10_000);
  expect(everything()).toEqual(well);
});

test('another policy holds for the next query', async () => {
  cluster.write('policy.yaml', names('*.other.test'));
  await cluster.until('it is in force', () => ask('client', [{ server: outside.ipv4, name: 'www.other.test', type: 1, by: 'tcp' }])[0]!.rcode === 0, 5_000);
  expect(ask('client', [{ server: outside.ipv4, name: 'www.example.test', type: 1, by: 'tcp' }])).toEqual([{ rcode: 5, addresses: [] }]);
});
