// Numbers agreed on in a folder: one for a label set, whoever asks, and never one for two.
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { IdentityAllocator } from './allocator.ts';
import { SharedNumbers } from './shared.ts';
import { identityTable } from './tables.ts';

let folder: string;
beforeEach(() => { folder = mkdtempSync(join(tmpdir(), 'weir-numbers-')); });
afterEach(() => { rmSync(folder, { recursive: true }); });

const app = (name: string): string[] => [`k8s:app=${name}`];
const firstOf = (labels: readonly string[]): number => 256 + createHash('sha256').update(labels.join('\n')).digest().readUInt32BE() % 65_280;

describe('numbers in a folder', () => {
  test('two nodes find the same number in any order; it stays when one asks again after a restart', () => {
    const [one, two] = [new SharedNumbers(folder, 'one'), new SharedNumbers(folder, 'two')];
    const numbers = ['a', 'b', 'c'].map((name) => one.numberOf(app(name)));
    expect(['c', 'b', 'a'].map((name) => two.numberOf(app(name)))).toEqual([...numbers].reverse());
    expect(new SharedNumbers(folder, 'one').numberOf(app('b'))).toBe(numbers[1]);
    expect(new Set(numbers).size).toBe(3);
  });

  test('a number that others have is passed over, also at the end of the range', () => {
    const start = firstOf(app('a'));
    writeFileSync(join(folder, String(start)), 'k8s:app=other');
    expect(new SharedNumbers(folder, 'one').numberOf(app('a'))).toBe(start === 65_535 ? 256 : start + 1);
  });

  test('a draft of a writer that died is nobody\'s number', () => {
    writeFileSync(join(folder, 'one.draft'), 'k8s:app=other');
    expect(new SharedNumbers(folder, 'one').numberOf(app('a'))).toBe(firstOf(app('a')));
    expect(readdirSync(folder)).toEqual([String(firstOf(app('a')))]);
  });

  test('four processes at once: one number each for 300 label sets', async () => {
    const script = `
const { SharedNumbers } = await import(${JSON.stringify(new URL('shared.ts', import.meta.url).href)});
const numbers = new SharedNumbers(${JSON.stringify(folder)}, process.argv[1]);
const names = Array.from({ length: 300 }, (_, index) => (index * Number(process.argv[2])) % 300);
console.log(JSON.stringify(names.map((name) => [name, numbers.numberOf(['k8s:app=' + name])]).sort((a, b) => a[0] - b[0])));`;
    const runs = await Promise.all([1, 7, 11, 299].map((step, index) => promisify(execFile)('node', ['--disable-warning=ExperimentalWarning', '--input-type=module', '-e', script, `n${index}`, String(step)])));
    const [first, ...others] = runs.map(({ stdout }) => JSON.parse(stdout) as [number, number][]);
    for (const other of others) expect(other).toEqual(first);
    expect(new Set(first!.map(([, number]) => number)).size).toBe(300);
    for (const [name, number] of first!) expect(readFileSync(join(folder, String(number)), 'utf8')).toBe(`k8s:app=${name}`);
  });
});

describe('the allocator of a node of several', () => {
  test('what is used here and what another node told are one row; it goes with its last user', () => {
    const identities = identityTable();
    const allocator = new IdentityAllocator(identities, new SharedNumbers(folder, 'one'));
    const id = new SharedNumbers(folder, 'two').numberOf(app('a'))!;
    expect([allocator.learn('node/two/a', app('a'), id), allocator.use('mine', 'workload', app('a'))]).toEqual([true, id]);
    allocator.drop('node/two/a');
    expect(identities.rows()).toEqual([{ id, kind: 'workload', labels: app('a') }]);
    allocator.drop('mine');
    expect(identities.size).toBe(0);
  });

  test('a number that means something else here, or no workload, is not taken over', () => {
    const allocator = new IdentityAllocator(identityTable(), new SharedNumbers(folder, 'one'));
    const id = allocator.use('mine', 'workload', app('a'))!;
    expect([allocator.learn('x', app('b'), id), allocator.learn('y', app('b'), 1), allocator.learn('z', app('b'), 0x01000001)]).toEqual([false, false, false]);
  });

  test('an adopted endpoint has the number of its labels, whatever it had', () => {
    const allocator = new IdentityAllocator(identityTable(), new SharedNumbers(folder, 'one'));
    expect(allocator.keep('mine', 'workload', app('a'), 300)).toBe(firstOf(app('a')));
  });
});
