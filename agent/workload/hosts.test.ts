// What a workload finds in /etc/hosts and is called inside, and how the file is replaced under those who have it bound.
import { expect, test } from '@jest/globals';
import { mkdtempSync, readFileSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { hostsText, writeInPlace } from './hosts.ts';
import { hostnameOf } from './pods-names.ts';

const local = '127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n';
const db = { namespace: 'shop', name: 'db' };
const both = ['10.1.0.2', 'fd00::2'];
const long = `a-${'b'.repeat(60)}-${'c'.repeat(60)}`;

test.each([
  { name: 'before it has addresses', pod: db, addresses: [], text: local, hostname: 'db' },
  { name: 'with addresses', pod: db, addresses: both, text: `${local}10.1.0.2 db\nfd00::2 db\n`, hostname: 'db' },
  { name: 'called otherwise', pod: { ...db, hostname: 'first' }, addresses: both, text: `${local}10.1.0.2 first\nfd00::2 first\n`, hostname: 'first' },
  { name: 'with a subdomain', pod: { ...db, subdomain: 'set' }, addresses: ['10.1.0.2'], text: `${local}10.1.0.2 db.set.shop.svc.cluster.local db\n`, hostname: 'db' },
  { name: 'with both', pod: { ...db, hostname: 'first', subdomain: 'set' }, addresses: ['10.1.0.2'], text: `${local}10.1.0.2 first.set.shop.svc.cluster.local first\n`, hostname: 'first' },
  { name: 'by its full name', pod: { ...db, hostname: 'first', subdomain: 'set', fqdnHostname: true as const }, addresses: [], text: local, hostname: 'first.set.shop.svc.cluster.local' },
  { name: 'with aliases, before it has addresses', pod: { ...db, hostAliases: [{ ip: '192.0.2.1', hostnames: ['a', 'b.example'] }, { ip: '2001:db8::1', hostnames: [] }] }, addresses: [], text: `${local}192.0.2.1 a b.example\n`, hostname: 'db' },
  { name: 'a name that is too long for one label', pod: { ...db, name: long }, addresses: ['10.1.0.2'], text: `${local}10.1.0.2 a-${'b'.repeat(60)}\n`, hostname: `a-${'b'.repeat(60)}` },
])('$name', ({ pod, addresses, text, hostname }) => { expect([hostsText(pod, addresses), hostnameOf(pod)]).toEqual([text, hostname]); });

test.each(['a longer text than before', 'short', ''])('written in place: %p', (text) => {
  const path = join(mkdtempSync(join(tmpdir(), 'hosts-')), 'hosts');
  writeInPlace(path, 'something first');
  const { ino } = statSync(path);
  writeInPlace(path, text);
  expect(readFileSync(path, 'utf8')).toBe(text);
  expect(statSync(path)).toMatchObject({ ino, mode: 0o100644 });
});
