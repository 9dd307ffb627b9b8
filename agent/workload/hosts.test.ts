// Names that workloads find in /etc/hosts.
import { expect, test } from '@jest/globals';
import { mkdtempSync, readFileSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { hostsFile, writeHosts } from './hosts.ts';
import type { HostsRow } from './hosts.ts';

const local = '127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n';
const rows: HostsRow[] = [
  { namespace: 'shop', name: 'db', addresses: ['10.1.0.2', 'fd00::2'] },
  { namespace: 'shop', name: 'web-0', owner: { name: 'web' }, addresses: ['10.1.0.3'] },
  { namespace: 'shop', name: 'web-1', owner: { name: 'web' }, addresses: ['10.1.0.4'] },
  { namespace: 'other', name: 'solo', owner: { name: 'solo' }, addresses: ['10.1.0.5'] },
];

test.each([
  { name: 'no rows', namespace: 'shop', rows: [], text: local },
  {
    name: 'own namespace has short names', namespace: 'shop', rows,
    text: `${local}10.1.0.2 db db.shop\n10.1.0.3 web-0 web-0.shop web web.shop\n10.1.0.4 web-1 web-1.shop web web.shop\n10.1.0.5 solo.other\nfd00::2 db db.shop\n`,
  },
  {
    name: 'others only with the namespace', namespace: 'other', rows: rows.slice(1),
    text: `${local}10.1.0.3 web-0.shop web.shop\n10.1.0.4 web-1.shop web.shop\n10.1.0.5 solo solo.other\n`,
  },
])('$name', ({ namespace, rows: given, text }) => { expect(hostsFile(namespace, given)).toBe(text); });

test.each(['a longer text than before', 'short', ''])('written in place: %p', (text) => {
  const path = join(mkdtempSync(join(tmpdir(), 'hosts-')), 'hosts');
  writeHosts(path, 'something first');
  const { ino } = statSync(path);
  writeHosts(path, text);
  expect(readFileSync(path, 'utf8')).toBe(text);
  expect(statSync(path)).toMatchObject({ ino, mode: 0o100644 });
});
