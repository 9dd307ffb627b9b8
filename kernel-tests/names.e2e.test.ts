// Names as workloads resolve them (getent: resolv.conf, search path, the kernel's services), by way of kube-dns.
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { Cluster, pod, policy, traces, withNames } from './cluster.ts';
import { idle, server } from './programs.ts';

const deployment = (replicas: number): object => ({
  apiVersion: 'apps/v1', kind: 'Deployment', metadata: { name: 'web' },
  spec: { replicas, selector: { matchLabels: { app: 'web' } }, template: { metadata: { labels: { app: 'web' } }, spec: { containers: [{ name: 'main', command: server(8080) }] } } },
});
const service = (name: string, spec: object): object => ({ apiVersion: 'v1', kind: 'Service', metadata: { name }, spec: { selector: { app: 'back' }, ports: [{ name: 'echo', port: 80, targetPort: 8080 }], ...spec } });
const subject = (app: string): object => ({ endpointSelector: { matchLabels: { app } } });
const dns = { toEndpoints: [{ matchLabels: { 'k8s:io.kubernetes.pod.namespace': 'kube-system', 'k8s-app': 'kube-dns' } }], toPorts: [{ ports: [{ port: '53', protocol: 'ANY' }] }] };
const named = { ...dns, toPorts: [{ ...dns.toPorts[0], rules: { dns: [{ matchPattern: '*.default.svc.cluster.local' }] } }] };
const back = { ...pod('back', server(8080)) } as { spec: { containers: object[] } };

const files = {
  'web.yaml': deployment(2),
  'pods.yaml': [
    pod('client', idle), pod('strict', idle), pod('mute', idle), pod('named', idle), pod('outer', idle, { app: 'outer' }, 'other'),
    pod('first', idle, { app: 'set' }, 'default', { hostname: 'one', subdomain: 'set', setHostnameAsFQDN: true, hostAliases: [{ ip: '192.0.2.77', hostnames: ['alias', 'alias.example'] }] }),
    pod('second', idle, { app: 'set' }, 'default', { subdomain: 'set', dnsConfig: { nameservers: ['192.0.2.53'], searches: ['b.example'], options: [{ name: 'ndots', value: '2' }, { name: 'edns0' }] } }),
    pod('alone', idle, { app: 'alone' }, 'default', { dnsPolicy: 'None', dnsConfig: { nameservers: ['192.0.2.53'], searches: ['b.example'] } }),
    pod('default', idle, { app: 'default' }, 'default', { dnsPolicy: 'Default' }),
    { ...back, spec: { containers: [{ ...back.spec.containers[0], readinessProbe: { exec: { command: ['sh', '-c', 'test ! -e $TMPDIR/away'] }, periodSeconds: 1, failureThreshold: 1 } }] } },
  ],
  'services.yaml': [service('shop', {}), service('pods', { clusterIP: 'None' }), service('set', { clusterIP: 'None', selector: { app: 'set' } }), service('far', { type: 'ExternalName', externalName: 'shop.default.svc.cluster.local', selector: undefined, ports: undefined })],
  'policies.yaml': [policy('strict', { ...subject('strict'), egress: [dns] }), policy('mute', { ...subject('mute'), egress: [{}] }), policy('named', { ...subject('named'), egress: [named] })],
};

interface Row { readonly key: string; readonly uid: string; readonly phase: string; readonly ready: boolean; readonly shimPid: number }
let cluster: Cluster;
const workloads = (): Row[] => cluster.json<Row[]>('db', 'show', 'workloads');
const dnsPod = (): Row => workloads().find(({ key }) => key === 'kube-system/kube-dns')!;
const addresses = (from: string, name: string): string[] =>
  [...new Set(cluster.exec(from, 'getent', 'ahosts', name).out.split('\n').map((line) => line.split(' ')[0]!).filter((word) => word !== ''))].sort();
const both = (key: string): string[] => { const { ipv4, ipv6 } = cluster.address(key); return [ipv4, ipv6]; };
const replicas = (): string[] => workloads().filter(({ key }) => key.startsWith('default/web-')).flatMap(({ key }) => both(key)).sort();
const clusterIps = (name: string): string[] => cluster.json<{ key: string; clusterIps: string[] }[]>('db', 'show', 'services').find(({ key }) => key === name)!.clusterIps;

beforeAll(async () => {
  cluster = await Cluster.start('names', files, [withNames]);
  await cluster.until('the name server answers', () => workloads().every(({ ready }) => ready) && addresses('default/client', 'web').length === 4);
}, 120_000);
afterAll(async () => { await cluster.close(); });

test('resolv.conf leads to the 10th address of the services, its Service', () => {
  const [address] = clusterIps('kube-system/kube-dns');
  expect(address).toMatch(/\.10$/);
  expect(cluster.exec('other/outer', 'cat', '/etc/resolv.conf').out).toMatch(new RegExp(`^nameserver ${address}\nsearch other.svc.cluster.local svc.cluster.local cluster.local.*\noptions ndots:5\n$`));
});

test('a workload without a Service is found by its name, a Deployment by all its replicas', () => {
  expect(addresses('default/client', 'web')).toEqual(replicas());
  expect(addresses('other/outer', 'web.default')).toEqual(replicas());
  expect(addresses('default/client', 'back')).toEqual(both('default/back').sort());
  expect(addresses('other/outer', 'web')).toEqual([]);
});

test('a Service is found at its address, a headless one at its pods, an alias at what it stands for', () => {
  expect(addresses('default/client', 'shop')).toEqual([...clusterIps('default/shop')].sort());
  expect(addresses('other/outer', 'shop.default.svc.cluster.local')).toEqual([...clusterIps('default/shop')].sort());
  expect(addresses('default/client', 'pods').every((one) => both('default/back').includes(one))).toBe(true);
  expect(addresses('default/client', 'pods')).not.toEqual([]);
  expect(addresses('default/client', 'far')).toEqual([...clusterIps('default/shop')].sort());
});

test('a pod is found by its address, and an address by its name', () => {
  const { ipv4 } = cluster.address('default/back');
  expect(addresses('default/client', `${ipv4.replaceAll('.', '-')}.default.pod`)).toEqual([ipv4]);
  expect(cluster.exec('default/client', 'getent', 'hosts', clusterIps('default/shop')[0]!).out).toContain('shop.default.svc.cluster.local');
});

test('its own name every workload knows without asking', () => {
  expect(addresses('default/mute', 'mute')).toEqual(both('default/mute').sort());
});

test('a pod with a hostname and a subdomain has a name of its own below that headless Service, others their pod\'s', () => {
  expect(addresses('default/client', 'one.set')).toEqual(both('default/first').sort());
  expect(addresses('other/outer', 'one.set.default.svc.cluster.local')).toEqual(both('default/first').sort());
  expect(addresses('default/client', 'second.set')).toEqual(both('default/second').sort());
  expect(addresses('default/client', 'first.set')).toEqual([]);
  expect(addresses('default/client', 'set')).toEqual([...both('default/first'), ...both('default/second')].sort());
  expect(cluster.exec('default/client', 'getent', 'hosts', both('default/first')[0]!).out).toContain('one.set.default.svc.cluster.local');
});

test('what a pod is called, and its aliases', () => {
  const said = (workload: string, ...command: string[]): string => cluster.exec(workload, ...command).out.trim();
  expect([said('default/first', 'hostname'), said('default/second', 'hostname'), said('default/second', 'hostname', '-f')]).toEqual(['one.set.default.svc.cluster.local', 'second', 'second.set.default.svc.cluster.local']);
  expect([addresses('default/first', 'one'), addresses('default/first', 'alias.example')]).toEqual([both('default/first').sort(), ['192.0.2.77']]);
});

test('dnsPolicy and dnsConfig', () => {
  const resolv = (workload: string): string[] => cluster.exec(workload, 'cat', '/etc/resolv.conf').out.trimEnd().split('\n');
  const [server] = clusterIps('kube-system/kube-dns');
  const [shared, own] = [resolv('default/client'), resolv('default/second')];
  expect(own).toEqual([`nameserver ${server}`, 'nameserver 192.0.2.53', `${shared.find((line) => line.startsWith('search'))} b.example`, 'options ndots:2 edns0']);
  expect(resolv('default/alone')).toEqual(['nameserver 192.0.2.53', 'search b.example']);
  expect(resolv('default/default').filter((line) => line.includes(server!) || line.includes('cluster.local'))).toEqual([]);
});

test('the usual rule for kube-dns lets names through; without it there are none', () => {
  expect(addresses('default/strict', 'web')).toEqual(replicas());
  expect(cluster.exec('default/mute', 'timeout', '1', 'getent', 'ahosts', 'web').out).toBe('');
});

test('a DNS rule for kube-dns, which is asked at its Service: the names of its patterns and no other', () => {
  expect(addresses('default/named', 'web')).toEqual(replicas());
  expect(addresses('default/named', 'shop')).toEqual([...clusterIps('default/shop')].sort());
  expect(addresses('default/named', 'outer.other')).toEqual([]);
  expect(addresses('default/strict', 'outer.other')).toEqual(both('other/outer').sort());
  expect(cluster.json<{ counters: { refused: number } }>('dns', 'status').counters.refused).toBeGreaterThan(0);
});

test('a pod that is not ready leaves its headless Service', async () => {
  cluster.exec('default/back', 'sh', '-c', 'touch $TMPDIR/away');
  await cluster.until('it is not ready', () => !workloads().find(({ key }) => key === 'default/back')!.ready, 20_000);
  await cluster.until('it has left', () => addresses('default/client', 'pods').length === 0);
  cluster.exec('default/back', 'sh', '-c', 'rm $TMPDIR/away');
  await cluster.until('it is back', () => addresses('default/client', 'pods').length > 0, 20_000);
});

test('names follow the replicas', async () => {
  for (const count of [3, 1, 2]) {
    cluster.write('web.yaml', deployment(count));
    await cluster.until(`the name leads to ${count}`, () => addresses('default/client', 'web').length === count * 2 && replicas().length === count * 2);
  }
});

test('a name of the outside is asked for at the name server of the machine', async () => {
  const machine = /^nameserver ((?!127\.)\S+)/m.exec(readFileSync('/etc/resolv.conf', 'utf8'))?.[1];
  if (machine === undefined) return; // this machine has none that a workload could reach
  const asked = cluster.background('outside', 'python3', '-u', '-c', `
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP)
while True:
    packet, peer = s.recvfrom(2000)
    if b'\\x07example\\x03org' in packet: print('asked from', peer[0], flush=True)
`);
  let seen = '';
  asked.stdout!.on('data', (data: Buffer) => { seen += data.toString(); });
  cluster.on('outside', 'ip', 'address', 'add', `${machine}/32`, 'dev', 'lo');
  await cluster.until('the question arrives', () => {
    cluster.exec('default/client', 'timeout', '1', 'getent', 'ahosts', 'example.org');
    return /asked from/.test(seen);
  }, 20_000);
});

test('without an agent names go on, and the next one leaves the name server as it is', async () => {
  const before = dnsPod();
  const expected = replicas();
  const client = workloads().find(({ key }) => key === 'default/client')!;
  const folder = `${cluster.instance.stateDir}/pods/${client.uid}`;
  const resolve = (): string[] => [...new Set(cluster.on('node', new URL('../build/weir-shim', import.meta.url).pathname, 'exec', folder, 'main', '--', 'getent', 'ahosts', 'web').out
    .split('\n').map((line) => line.split(' ')[0]!).filter((word) => word !== ''))].sort();
  await cluster.stop('SIGKILL');
  for (let round = 0; round < 20; round += 1) expect(resolve()).toEqual(expected);
  let risen = false;
  const rising = cluster.up().finally(() => { risen = true; });
  while (!risen) {
    expect(resolve()).toEqual(expected);
    await new Promise((turn) => { setTimeout(turn, 20); });
  }
  await rising;
  expect(dnsPod()).toMatchObject({ uid: before.uid, shimPid: before.shimPid, ready: true });
  expect(addresses('default/client', 'web')).toEqual(expected);
});

test('it cannot be deleted by hand, and goes with everything else', async () => {
  expect(cluster.weir('workload', 'delete', 'kube-system/kube-dns')).toMatchObject({ code: 1, error: expect.stringMatching(/weir's own\n.*--no-names/) });
  await cluster.stop('SIGINT');
  expect(traces(cluster.instance)).toEqual([]);
});
