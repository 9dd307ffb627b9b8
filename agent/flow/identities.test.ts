// The identity of an address: its own row, the longest prefix around it, the world.
import { describe, expect, test } from '@jest/globals';
import { ipcacheTable, type IpcacheRow } from '../ipcache/tables.ts';
import { AddressIdentities } from './identities.ts';

const row = (prefix: string, identity: number): IpcacheRow => ({ prefix, identity, ifindex: 0, host: false, origin: 'policy' });

describe('identities of addresses', () => {
  const table = ipcacheTable();
  table.write([row('10.0.0.1/32', 300)]);
  const identities = new AddressIdentities(table);
  table.write([row('10.0.0.0/8', 8), row('10.0.0.0/24', 24), row('fd00::1/128', 301), row('fd00::/64', 64)]);

  test.each([
    ['10.0.0.1', 300], ['10.0.0.2', 24], ['10.9.0.1', 8], ['192.0.2.1', 2], ['fd00::1', 301], ['fd00::2', 64], ['fd01::1', 2],
  ])('%s: %d', (address, identity) => { expect(identities.of(address)).toBe(identity); });

  test('a prefix that goes, and comes again with another identity', () => {
    const { revision } = identities;
    table.write([], ['10.0.0.0/24']);
    expect(identities.of('10.0.0.2')).toBe(8);
    expect(identities.revision).toBeGreaterThan(revision);
    table.write([row('10.0.0.0/24', 25)]);
    expect(identities.of('10.0.0.2')).toBe(25);
    table.write([row('0.0.0.0/0', 9)]);
    expect(identities.of('192.0.2.1')).toBe(9);
    identities.close();
  });
});
