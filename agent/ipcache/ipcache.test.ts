// Addresses in their forms, and which identity is behind which.
import { describe, expect, test } from '@jest/globals';
import type { EndpointRow } from '../endpoint/tables.ts';
import { addressAt, checkRange, covers, defaultRanges } from '../node/addresses.ts';
import type { NodeRow } from '../node/tables.ts';
import { ipcacheKey, maskedPrefix, prefixOfKey, textOf } from './address.ts';
import { deriveIpcache } from './derive.ts';

describe('address', () => {
  test.each(['0.0.0.0/0', '10.0.0.0/8', '10.1.2.3/32', '::/0', 'fd00::/64', '2001:db8::1/128'])('%s is the same prefix after the way through the kernel form', (prefix) => {
    expect(prefixOfKey(ipcacheKey(prefix))).toBe(prefix);
  });
  test.each([['10.1.2.3', 8, '10.0.0.0/8'], ['10.1.2.3', 30, '10.1.2.0/30'], ['fd00:1:2::3', 33, 'fd00:1::/33'], ['255.255.255.255', 0, '0.0.0.0/0']] as const)('%s within %d bits is %s', (address, length, prefix) => {
    expect(maskedPrefix(address, length)).toBe(prefix);
  });
  test('a mapped address is read as IPv4', () => { expect(textOf(ipcacheKey('192.0.2.1/32').addr.word)).toBe('192.0.2.1'); });
});

describe('ranges', () => {
  test.each([['10.217.0.0/16', 1, '10.217.0.1'], ['10.217.0.0/16', 256, '10.217.1.0'], ['10.217.255.0/24', 255, '10.217.255.255'], ['fd77:e1:d9::/64', 258, 'fd77:e1:d9::102']] as const)('address of %s number %d is %s', (range, index, address) => {
    expect(addressAt(range, index)).toBe(address);
  });
  test.each([['10.0.0.0/8', '10.1.0.0/16', true], ['10.1.0.0/16', '10.0.0.0/8', false], ['10.0.0.0/8', 'fd00::/64', false]] as const)('%s covers %s: %s', (outer, inner, answer) => { expect(covers(outer, inner)).toBe(answer); });
  test.each([['--ipv4-range', '10.0.0.0/24'], ['--ipv4-range', 'fd00::/64'], ['--ipv4-range', '10.0.0'], ['--ipv6-range', 'fd00::/120'], ['--ipv6-range', 'x/64']])('%s %s is refused', (option, range) => {
    expect(() => checkRange(range, option)).toThrow(`${option} ${range}: expected a prefix`);
  });
  test('host bits are masked', () => { expect(checkRange('10.9.8.7/16', '--ipv4-range')).toBe('10.9.0.0/16'); });
  test('instances start out with ranges of their own', () => { expect(defaultRanges('default')).not.toEqual(defaultRanges('other')); });
});

describe('ipcache', () => {
  const end = { ipv4: '10.0.0.2', ipv6: 'fd00::2', identity: 300, ifindex: 9 } as EndpointRow;
  test('a prefix of a policy does not make a workload or the node outside', () => {
    const rows = deriveIpcache([end], [{ address: '192.0.2.1', interfaceName: 'eth0' }], new Map([['10.0.0.2/32', 1 << 24], ['192.0.2.1/32', 2 << 24], ['10.0.0.0/8', 3 << 24]]));
    expect(Object.fromEntries(rows.map((row) => [row.prefix, [row.identity, row.ifindex, row.host]]))).toEqual({
      '0.0.0.0/0': [9, 0, false], '::/0': [10, 0, false], '10.0.0.0/8': [3 << 24, 0, false], '10.0.0.2/32': [300, 9, false], 'fd00::2/128': [300, 9, false], '192.0.2.1/32': [1, 0, true] });
  });
});

describe('ipcache of several nodes', () => {
  const own = { ipv4: '10.0.0.2', ipv6: 'fd00::2', identity: 300, ifindex: 9 } as EndpointRow;
  const node = (tunnel: 'vxlan' | 'disabled'): NodeRow => ({
    name: 'node2', local: false, ipv4: '192.0.2.2', ipv6: '2001:db8::2', ranges: { ipv4: '10.0.32.0/19', ipv6: 'fd00:1::/80' }, tunnel, tunnelEnd: '192.0.2.2', health: 'ok', endpoints: 1,
  });
  const there = { key: 'default/b', node: 'node2', namespace: 'default', name: 'b', labels: [], identity: 400, ipv4: '10.0.32.2', ipv6: 'fd00:1::2' };
  const stray = { ...there, key: 'default/c', node: 'node3', ipv4: '10.0.64.2', ipv6: 'fd00:2::2' };
  const rowsOf = (tunnel: 'vxlan' | 'disabled', prefixes = new Map<string, number>()) => Object.fromEntries(
    deriveIpcache([own], [], prefixes, { nodes: [{ ...node(tunnel), name: 'node1', local: true }, node(tunnel)], endpoints: [there, stray] })
      .filter(({ origin }) => origin === 'remote' || origin === 'policy').map((row) => [row.prefix, [row.identity, row.node, ...(row.itself ? ['itself'] : [])]]));
  const both = {
    '10.0.32.0/19': [3, '192.0.2.2'], 'fd00:1::/80': [3, '192.0.2.2'], '10.0.32.2/32': [400, '192.0.2.2'], 'fd00:1::2/128': [400, '192.0.2.2'],
  };
  test('by plain routes a node is reached without translation', () => {
    expect(rowsOf('disabled')).toEqual({ ...both, '192.0.2.2/32': [6, '192.0.2.2'], '2001:db8::2/128': [6, '192.0.2.2'] });
  });
  test('in VXLAN only what runs on it goes through the tunnel', () => {
    expect(rowsOf('vxlan')).toEqual({ ...both, '192.0.2.2/32': [6, '192.0.2.2', 'itself'], '2001:db8::2/128': [6, '192.0.2.2', 'itself'] });
  });
  test('a prefix of a policy within another node\'s range does not make it outside; one around it stands', () => {
    expect(rowsOf('vxlan', new Map([['10.0.32.0/24', 1 << 24], ['10.0.0.0/16', 2 << 24]]))).toEqual({ ...both, '192.0.2.2/32': [6, '192.0.2.2', 'itself'], '2001:db8::2/128': [6, '192.0.2.2', 'itself'], '10.0.0.0/16': [2 << 24, undefined] });
  });
});
