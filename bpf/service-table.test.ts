// The table of Services against the tests that there are, as jest collects them; none of them runs here.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { beforeAll, expect, test } from '@jest/globals';
import { cellOf, families, features, hooks, nameOf, protocols, tablePath, tableText, type Shown } from './service-table.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const cells = features.flatMap(({ feature, cells: byHook }) => hooks.flatMap((hook) => families.flatMap((family) => protocols.map((protocol) =>
  ({ feature, hook, family, protocol, cell: cellOf(byHook[hook], protocol) })))));
const files = [...new Set(cells.flatMap(({ cell }) => ('file' in cell ? [cell.file] : [])))];

interface Collected { readonly testResults: readonly { readonly name: string; readonly assertionResults: readonly { readonly fullName: string }[] }[] }
let names: ReadonlyMap<string, ReadonlySet<string>>;
beforeAll(() => {
  const folder = mkdtempSync(join(tmpdir(), 'service-table-'));
  const out = join(folder, 'out.json');
  // A pattern that no test has: all are collected and skipped.
  execFileSync(process.execPath, ['--experimental-vm-modules', '--disable-warning=ExperimentalWarning', 'node_modules/jest/bin/jest.js', '--runInBand', '--json', `--outputFile=${out}`, '-t', 'no test is called so', '--runTestsByPath', ...files],
    { cwd: root, stdio: 'ignore' });
  const { testResults } = JSON.parse(readFileSync(out, 'utf8')) as Collected;
  names = new Map(testResults.map(({ name, assertionResults }) => [name.slice(root.length), new Set(assertionResults.map(({ fullName }) => fullName))]));
  rmSync(folder, { recursive: true });
});

test.each(cells)('$feature, $hook, $family $protocol', ({ family, protocol, cell }) => {
  if ('reason' in cell) return expect(cell.reason).not.toBe('');
  expect([...names.get(cell.file) ?? []]).toContain(nameOf(cell as Shown, family, protocol));
});

test('SERVICES.md is as `node bpf/service-table.ts` writes it', () => { expect(readFileSync(tablePath, 'utf8')).toBe(tableText()); });
