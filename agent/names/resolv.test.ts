// resolv.conf: of the machine as it is read, of a namespace and of pods with fields of their own as it is written.
import { mkdtempSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import type { PodDns } from '../workload/tables.ts';
import { readResolv, ResolvFiles, resolvText } from './resolv.ts';

describe('of the machine', () => {
  test.each([
    { name: 'as usual', text: '# x\nnameserver 192.0.2.1\nnameserver 2001:db8::1\nsearch a.example b.example\noptions edns0 timeout:1\n', servers: ['192.0.2.1', '2001:db8::1'], search: ['a.example', 'b.example'], options: ['edns0', 'timeout:1'] },
    { name: 'on the loopback of the machine', text: 'nameserver 127.0.0.53\nnameserver ::1\n', servers: [], search: [], options: [] },
    { name: 'more than are asked, and a root', text: `${[1, 2, 3, 4].map((one) => `nameserver 192.0.2.${one}`).join('\n')}\nsearch .\n`, servers: ['192.0.2.1', '192.0.2.2', '192.0.2.3'], search: [], options: [] },
    { name: 'that says nonsense', text: 'nameserver\nnameserver x\n', servers: [], search: [], options: [] },
  ])('$name', ({ text, servers, search, options }) => { expect(readResolv(text)).toEqual({ servers, search, options }); });
});

const machine = { servers: ['192.0.2.53'], search: ['a.example'], options: ['edns0'] };
const cluster = { domain: 'cluster.local', server: '10.96.0.10', machine };
const own = 'search shop.svc.cluster.local svc.cluster.local cluster.local a.example';
const dns = (policy: PodDns['policy'], more: Partial<PodDns> = {}): PodDns => ({ policy, servers: [], searches: [], options: [], ...more });
const ndots = { name: 'ndots', value: '2' };

describe('of a pod', () => {
  const rows: readonly { name: string; asked: PodDns | undefined; lines: readonly string[] }[] = [
    { name: 'as all of its namespace', asked: undefined, lines: ['nameserver 10.96.0.10', own, 'options ndots:5'] },
    { name: 'ClusterFirst with another ndots', asked: dns('ClusterFirst', { options: [ndots] }), lines: ['nameserver 10.96.0.10', own, 'options ndots:2'] },
    { name: 'ClusterFirst with more of all', asked: dns('ClusterFirst', { servers: ['198.51.100.1'], searches: ['b.example'], options: [{ name: 'edns0' }] }), lines: ['nameserver 10.96.0.10', 'nameserver 198.51.100.1', `${own} b.example`, 'options ndots:5 edns0'] },
    { name: 'the same twice is once', asked: dns('ClusterFirst', { servers: ['10.96.0.10'], searches: ['a.example'] }), lines: ['nameserver 10.96.0.10', own, 'options ndots:5'] },
    { name: 'more servers than are asked', asked: dns('ClusterFirst', { servers: ['198.51.100.1', '198.51.100.2', '198.51.100.3'] }), lines: ['nameserver 10.96.0.10', 'nameserver 198.51.100.1', 'nameserver 198.51.100.2', own, 'options ndots:5'] },
    { name: 'Default: the machine\'s', asked: dns('Default'), lines: ['nameserver 192.0.2.53', 'search a.example', 'options edns0'] },
    { name: 'Default with more', asked: dns('Default', { servers: ['2001:db8::1'], options: [{ name: 'edns0', value: '0' }] }), lines: ['nameserver 192.0.2.53', 'nameserver 2001:db8::1', 'search a.example', 'options edns0:0'] },
    { name: 'None: what it says and nothing else', asked: dns('None', { servers: ['198.51.100.1'], searches: ['b.example'], options: [ndots, { name: 'rotate' }] }), lines: ['nameserver 198.51.100.1', 'search b.example', 'options ndots:2 rotate'] },
    { name: 'None with a server alone', asked: dns('None', { servers: ['198.51.100.1'] }), lines: ['nameserver 198.51.100.1'] },
  ];
  test.each(rows)('$name', ({ asked, lines }) => { expect(resolvText('shop', cluster, asked).trimEnd().split('\n')).toEqual(lines); });
});

describe('files', () => {
  const firstLines = (path: string): string[] => readFileSync(path, 'utf8').split('\n').slice(0, 1);

  test('follow the name server, in place', () => {
    const files = new ResolvFiles(mkdtempSync(join(tmpdir(), 'resolv-')), 'cluster.local', machine);
    const [shared, other] = [files.path({ namespace: 'shop' }), files.path({ namespace: 'shop', dns: dns('ClusterFirst', { options: [ndots] }) })];
    const inodes = (): number[] => [shared, other].map((path) => statSync(path).ino);
    const before = inodes();
    expect(readFileSync(shared, 'utf8')).not.toContain('nameserver');
    files.use('10.1.0.2');
    expect([shared, other].flatMap(firstLines)).toEqual(['nameserver 10.1.0.2', 'nameserver 10.1.0.2']);
    expect(inodes()).toEqual(before);
  });

  test('pods of a namespace that ask alike have one', () => {
    const folder = mkdtempSync(join(tmpdir(), 'resolv-'));
    const files = new ResolvFiles(folder, 'cluster.local', machine);
    const paths = [{ namespace: 'shop' }, { namespace: 'shop', dns: dns('Default') }, { namespace: 'shop', dns: dns('Default') }, { namespace: 'other', dns: dns('Default') }].map((asking) => files.path(asking));
    expect([new Set(paths).size, readdirSync(folder).length]).toEqual([3, 3]);
  });
});
