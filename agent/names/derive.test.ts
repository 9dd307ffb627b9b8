// What a name stands for, and the files that tell it.
import { describe, expect, test } from '@jest/globals';
import { mkdtempSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ServiceRow, SliceRow } from '../service/tables.ts';
import { keysOf, nameOf, type Named } from './derive.ts';
import { NamesFolder } from './folder.ts';

const service: ServiceRow = {
  key: 'shop/web', namespace: 'shop', name: 'web', type: 'ClusterIP', labels: {}, annotations: {}, headless: false, clusterIps: ['10.96.0.2'], externalIps: [], loadBalancerIps: [],
  ports: [{ name: 'http', protocol: 'TCP', port: 80, targetPort: 'http' }], internalLocal: false, externalLocal: false, sourceRanges: [], publishNotReady: false, forwarding: {},
};
const headless: ServiceRow = { ...service, headless: true, clusterIps: [] };
const slice: SliceRow = {
  key: 'shop/web-1', namespace: 'shop', service: 'web', family: 4, ports: [{ name: 'http', protocol: 'TCP', port: 8080 }],
  endpoints: [{ addresses: ['10.1.0.2'], ready: true, serving: true, terminating: false, hostname: 'a' }, { addresses: ['10.1.0.3'], ready: false, serving: false, terminating: false }],
};
const pod: Named = { namespace: 'shop', name: 'web-0', ipv4: '10.1.0.2', ipv6: 'fd00::2', owner: { name: 'web' } };
const told = { clusterIps: ['10.96.0.2'], ports: [{ name: 'http', protocol: 'TCP', port: 80 }], endpoints: [] };

describe('a name', () => {
  test.each([
    { name: 'of nothing', row: nameOf('shop/web', undefined, [], []), expected: undefined },
    { name: 'of a Service: no backends, they change no name', row: nameOf('shop/web', service, [slice], []), expected: { key: 'shop/web', service: told } },
    { name: 'of a Service and a Deployment: the Service', row: nameOf('shop/web', service, [], [pod]), expected: { key: 'shop/web', service: told } },
    { name: 'of a Deployment', row: nameOf('shop/web', undefined, [], [pod]), expected: { key: 'shop/web', workloads: ['10.1.0.2', 'fd00::2'] } },
    { name: 'of a pod', row: nameOf('shop/web-0', undefined, [], [pod]), expected: { key: 'shop/web-0', workloads: ['10.1.0.2', 'fd00::2'], pod: ['10.1.0.2', 'fd00::2'] } },
    { name: 'of a pod and a Service', row: nameOf('shop/web-0', { ...service, key: 'shop/web-0' }, [], [pod]), expected: { key: 'shop/web-0', service: told, pod: ['10.1.0.2', 'fd00::2'] } },
    {
      name: 'of a headless Service: the ready ones', row: nameOf('shop/web', headless, [slice], []),
      expected: { key: 'shop/web', service: { ...told, clusterIps: [], endpoints: [{ addresses: ['10.1.0.2'], hostname: 'a', ports: slice.ports }] } },
    },
    { name: 'of one that publishes all', row: nameOf('shop/web', { ...headless, publishNotReady: true }, [slice], [])?.service?.endpoints.length, expected: 2 },
    { name: 'of an ExternalName', row: nameOf('shop/web', { ...service, type: 'ExternalName', clusterIps: [], ports: [], externalName: 'a.b' }, [], []), expected: { key: 'shop/web', service: { clusterIps: [], ports: [], endpoints: [], externalName: 'a.b' } } },
  ])('$name', ({ row, expected }) => { expect(row).toEqual(expected); });

  test('an endpoint gives its own and its Deployment\'s', () => { expect(keysOf(pod)).toEqual(['shop/web-0', 'shop/web']); });
});

describe('the folder', () => {
  test('one change of 10,000 rewrites one file of 256; what nobody has any more goes', () => {
    const path = mkdtempSync(join(tmpdir(), 'names-'));
    const folder = new NamesFolder(path);
    folder.write(Array.from({ length: 10_000 }, (_, index) => [`a/${index}`, { key: `a/${index}`, workloads: ['10.0.0.1'] }] as const));
    const inodes = (): string[] => readdirSync(path).map((name) => `${name} ${statSync(join(path, name)).ino}`);
    const before = inodes();
    expect(before.length).toBe(256);
    folder.write([['a/7', { key: 'a/7', workloads: ['10.0.0.2'] }], ['a/8', { key: 'a/8', workloads: ['10.0.0.1'] }]]);
    expect(inodes().filter((one) => !before.includes(one)).length).toBe(1);
    const next = new NamesFolder(path);
    next.write([['a/7', { key: 'a/7', workloads: ['10.0.0.2'] }]]);
    expect(readdirSync(path).length).toBe(256);
    next.prune();
    expect(readdirSync(path).map((name) => readFileSync(join(path, name), 'utf8'))).toEqual(['{"key":"a/7","workloads":["10.0.0.2"]}\n']);
    next.write([['a/7', undefined]]);
    expect(readdirSync(path)).toEqual([]);
  });
});
