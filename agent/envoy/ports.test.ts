// Ports of rule sets: stable, kept on disk, given out last what was given back last.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { dnsPortOf, firstPortOf, Ports, portsPerInstance, sharedWith } from './ports.ts';

let folder: string;
beforeEach(() => { folder = mkdtempSync(join(tmpdir(), 'ports-')); });
afterEach(() => { rmSync(folder, { recursive: true }); });
const open = (first = 10_000): Ports => new Ports(join(folder, 'ports.json'), first);

describe('ports', () => {
  test('the same for a key, also for the next agent', () => {
    const ports = open();
    expect([ports.of('a'), ports.of('b'), ports.of('a')]).toEqual([10_000, 10_001, 10_000]);
    const next = open();
    expect([next.of('b'), next.of('c'), next.keyOf(10_000)]).toEqual([10_001, 10_002, 'a']);
  });
  test('of another range: given out anew', () => {
    open().of('a');
    expect(open(20_000).of('a')).toBe(20_000);
  });
  test('given back: free, and not the next', () => {
    const ports = open();
    ports.of('a');
    ports.giveBack('a');
    expect([ports.keyOf(10_000), ports.of('b'), ports.keys]).toEqual([undefined, 10_001, ['b']]);
  });
  test('none left', () => {
    const ports = open();
    for (let index = 0; index < portsPerInstance - 1; index += 1) ports.of(String(index));
    expect(() => ports.of('more')).toThrow(/all 1023 ports/);
    ports.giveBack('7');
    expect(ports.of('more')).toBe(10_007);
  });
  test('the last of the range is nobody\'s but that of DNS', () => {
    writeFileSync(join(folder, 'ports.json'), JSON.stringify({ first: firstPortOf('mine'), ports: { a: dnsPortOf('mine'), b: dnsPortOf('mine') - 1 } }));
    expect(open(firstPortOf('mine')).keys).toEqual(['b']);
  });
  test('below those that kernels give out, for any name', () => {
    const firsts = Array.from({ length: 500 }, (_, index) => firstPortOf(`node-${index}`));
    expect(Math.min(...firsts)).toBe(10_000);
    expect(Math.max(...firsts) + portsPerInstance).toBeLessThanOrEqual(32_768);
  });
  test('another instance with the same range is named', () => {
    const other = Array.from({ length: 500 }, (_, index) => `other-${index}`).find((name) => firstPortOf(name) === firstPortOf('mine'))!;
    mkdirSync(join(folder, other, 'envoy'), { recursive: true });
    expect(sharedWith('mine', folder)).toBeUndefined();
    writeFileSync(join(folder, other, 'envoy', 'ports.json'), '{}');
    expect(sharedWith('mine', folder)).toBe(other);
  });
});
