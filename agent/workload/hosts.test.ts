// What a workload finds in /etc/hosts, and how the file is replaced under those who have it bound.
import { expect, test } from '@jest/globals';
import { mkdtempSync, readFileSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { hostsText, writeInPlace } from './hosts.ts';

const local = '127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n';

test.each([
  { name: 'before it has addresses', addresses: [], text: local },
  { name: 'with addresses', addresses: ['10.1.0.2', 'fd00::2'], text: `${local}10.1.0.2 db\nfd00::2 db\n` },
])('$name', ({ addresses, text }) => { expect(hostsText('db', addresses)).toBe(text); });

test.each(['a longer text than before', 'short', ''])('written in place: %p', (text) => {
  const path = join(mkdtempSync(join(tmpdir(), 'hosts-')), 'hosts');
  writeInPlace(path, 'something first');
  const { ino } = statSync(path);
  writeInPlace(path, text);
  expect(readFileSync(path, 'utf8')).toBe(text);
  expect(statSync(path)).toMatchObject({ ino, mode: 0o100644 });
});
