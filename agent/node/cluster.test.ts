// What nodes tell each other: files in, tables out; whose word is taken, and for how long it stands.
import { mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { endpointTable, type EndpointRow } from '../endpoint/tables.ts';
import { IdentityAllocator } from '../identity/allocator.ts';
import { identityTable } from '../identity/tables.ts';
import { nodesFolder, toldPath, type Membership } from './cluster.ts';
import { ClusterReflector, healthOf } from './cluster-reflector.ts';
import { mtuBetween } from './overlay.ts';
import { publishNode } from './publisher.ts';
import { workloadTable } from '../workload/tables.ts';
import { netdevTable, nodeTable, remoteEndpointTable, type NetdevRow } from './tables.ts';
import { rangesOfNode } from './underlay.ts';

const ranges = { ipv4: '10.217.0.0/16', ipv6: 'fd77:e1:d9::/64' };
const eth0: NetdevRow = { ifindex: 2, name: 'eth0', mtu: 1500, ipv4: '10.216.217.3', ipv6: 'fd77:e0:d9::3' };
const endpoint = (name: string, ipv4: string, ipv6: string, identity = 300): EndpointRow => ({
  id: 1, key: `default/${name}`, namespace: 'default', name, uid: 'u', labels: [`k8s:app=${name}`], identity, ipv4, ipv6, interfaceName: 'weir_1', ifindex: 9,
  mac: '02:00:00:00:00:01', hostMac: '02:00:00:00:00:02', namedPorts: [], state: 'ready',
});

let folder: string;
const undo: (() => void)[] = [];
const member = (node: string): Membership => ({ folder, node, nodes: ['node1', 'node2'], tunnel: 'vxlan', underlay: 'ipv6', port: 8472 });
function reflector() {
  const tables = { nodes: nodeTable(), endpoints: remoteEndpointTable(), identities: identityTable() };
  const log: string[] = [];
  const made = new ClusterReflector(member('node1'), { ...tables, identities: new IdentityAllocator(tables.identities) }, (line) => { log.push(line); });
  undo.push(() => { made.stop(); });
  return { ...tables, log, look: (now?: number) => { made.look(now); } };
}
function publisher(rows: readonly EndpointRow[]) {
  const [netdevs, endpoints] = [netdevTable(), endpointTable()];
  netdevs.write([eth0]);
  endpoints.write(rows);
  const stop = publishNode(member('node2'), rangesOfNode(ranges, 1), netdevs, endpoints, workloadTable());
  undo.push(stop);
  return { endpoints, stop };
}
beforeEach(() => { folder = mkdtempSync(join(tmpdir(), 'weir-cluster-')); });
afterEach(() => {
  for (const step of undo.splice(0)) step();
  rmSync(folder, { recursive: true });
});

describe('a node tells, another one reads', () => {
  test('its addresses, ranges and endpoints, changes, and that it goes', async () => {
    const { endpoints, stop } = publisher([endpoint('a', '10.217.32.2', 'fd77:e1:d9:0:1::2')]);
    const read = reflector();
    expect(read.nodes.rows()).toEqual([{ name: 'node2', local: false, ipv4: eth0.ipv4, ipv6: eth0.ipv6, ranges: { ipv4: '10.217.32.0/19', ipv6: 'fd77:e1:d9:0:1::/80' }, tunnel: 'vxlan', tunnelEnd: eth0.ipv6, health: 'ok', endpoints: 1 }]);
    expect(read.endpoints.rows()).toEqual([{ key: 'default/a', node: 'node2', namespace: 'default', name: 'a', labels: ['k8s:app=a'], identity: 300, ipv4: '10.217.32.2', ipv6: 'fd77:e1:d9:0:1::2' }]);
    expect(read.identities.rows()).toEqual([{ id: 300, kind: 'workload', labels: ['k8s:app=a'] }]);
    endpoints.write([endpoint('b', '10.217.32.3', 'fd77:e1:d9:0:1::3', 301)], ['default/a']);
    await turn();
    await turn();
    read.look();
    expect([read.endpoints.rows().map((row) => row.key), read.identities.rows().map((row) => row.id)]).toEqual([['default/b'], [301]]);
    stop();
    read.look();
    expect([read.nodes.size, read.endpoints.size, read.identities.size]).toEqual([0, 0, 0]);
  });

  test('addresses outside of its range are not believed', () => {
    publisher([endpoint('a', '10.217.0.2', 'fd77:e1:d9:0:1::2'), endpoint('b', '10.217.32.3', 'fd77:e1:d9::3'), endpoint('c', '10.217.32.4', 'fd77:e1:d9:0:1::4')]);
    expect(reflector().endpoints.rows().map((row) => row.name)).toEqual(['c']);
  });

  test('an identity that means somebody else here is refused and told', () => {
    publisher([endpoint('a', '10.217.32.2', 'fd77:e1:d9:0:1::2', 300), endpoint('b', '10.217.32.3', 'fd77:e1:d9:0:1::3', 300)]);
    const read = reflector();
    expect([read.endpoints.rows().map((row) => row.name), read.log]).toEqual([['a'], ['cluster: 1 endpoints of other nodes have an identity that is somebody else\'s here']]);
  });

  test('a silent node\'s endpoints stand for five minutes, then they are forgotten, and come back with it', () => {
    publisher([endpoint('a', '10.217.32.2', 'fd77:e1:d9:0:1::2')]);
    const read = reflector();
    const state = (): unknown => [read.nodes.get('node2')?.health, read.endpoints.size];
    const now = performance.now();
    for (const [after, expected] of [[4_000, ['ok', 1]], [6_000, ['silent', 1]], [299_000, ['silent', 1]], [301_000, ['gone', 0]]] as const) {
      read.look(now + after);
      expect([after, state()]).toEqual([after, expected]);
    }
    utimesSync(toldPath(folder, 'node2'), new Date(), new Date(Date.now() + 1_000));
    read.look(now + 302_500);
    expect(state()).toEqual(['ok', 1]);
  });

  test('a file that cannot be read harms no other, and what was read before stands', () => {
    publisher([endpoint('a', '10.217.32.2', 'fd77:e1:d9:0:1::2')]);
    writeFileSync(join(nodesFolder(folder), 'node0.json'), '{');
    const read = reflector();
    expect([read.endpoints.size, read.log.length]).toEqual([1, 1]);
    expect(readdirSync(nodesFolder(folder)).sort()).toEqual(['node0.json', 'node2.json']);
  });
});

test.each([[0, 'ok'], [4_999, 'ok'], [5_000, 'silent'], [299_999, 'silent'], [300_000, 'gone']])('after %d ms of silence a node is %s', (silence, health) => { expect(healthOf(silence)).toBe(health); });

test.each([['disabled', 'ipv4', 1500], ['vxlan', 'ipv4', 1450], ['vxlan', 'ipv6', 1430]] as const)('tunnel %s over %s: %d bytes', (tunnel, underlay, mtu) => { expect(mtuBetween(1500, { tunnel, underlay })).toBe(mtu); });

describe('ranges of nodes', () => {
  test.each([[0, '10.217.0.0/19', 'fd77:e1:d9::/80'], [7, '10.217.224.0/19', 'fd77:e1:d9:0:7::/80']])('node %d', (index, ipv4, ipv6) => { expect(rangesOfNode(ranges, index)).toEqual({ ipv4, ipv6 }); });
  test.each([[{ ...ranges, ipv4: '10.217.0.0/17' }, '--ipv4-range 10.217.0.0/17 is too small for 8 nodes'], [{ ...ranges, ipv6: 'fd77::/113' }, '--ipv6-range fd77::/113 is too small for 8 nodes']])('%j', (wrong, message) => {
    expect(() => rangesOfNode(wrong, 0)).toThrow(message);
  });
});
