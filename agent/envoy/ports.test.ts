// Ports of rule sets: stable, kept on disk, given out last what was given back last.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { dnsPortOf, Ports, portsPerInstance, rangeOf } from './ports.ts';

let folder: string;
beforeEach(() => { folder = mkdtempSync(join(tmpdir(), 'ports-')); });
afterEach(() => { rmSync(folder, { recursive: true }); });
const here = 'net:[1]';
function open(first = 10_000, name = 'mine'): Ports {
  mkdirSync(join(folder, name), { recursive: true });
  return new Ports(join(folder, name), { first, netns: here });
}

describe('ports', () => {
  test('the same for a key, also for the next agent', () => {
    const ports = open();
    expect([ports.of('a'), ports.of('b'), ports.of('a')]).toEqual([10_000, 10_001, 10_000]);
    ports.keep();
    const next = open();
    expect([next.of('b'), next.of('c'), next.keyOf(10_000)]).toEqual([10_001, 10_002, 'a']);
  });
  test('of another range: given out anew', () => {
    const ports = open();
    ports.of('a');
    ports.keep();
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
    mkdirSync(join(folder, 'mine'));
    writeFileSync(join(folder, 'mine', 'proxy-ports.json'), JSON.stringify({ first: 10_000, netns: here, ports: { a: 11_023, b: 11_022 } }));
    expect([dnsPortOf({ first: 10_000, netns: here }), [...open(10_000).keys]]).toEqual([11_023, ['b']]);
  });
});

describe('ranges', () => {
  const of = (name: string, netns = here): number => rangeOf(name, folder, netns).first;
  const names = Array.from({ length: 500 }, (_, index) => `node-${index}`);

  test('below those that kernels give out, for any name', () => {
    const firsts = names.map((name) => of(name));
    expect([Math.min(...firsts), Math.max(...firsts) + portsPerInstance]).toEqual([10_000, 31_504]);
  });
  test('the next free one where another instance has it, and that one from then on', () => {
    const [first, second] = names.filter((name) => of(name) === 10_000);
    open(of(first!), first);
    expect(of(second!)).toBe(10_000 + portsPerInstance);
    open(of(second!), second);
    rmSync(join(folder, first!), { recursive: true });
    expect(of(second!)).toBe(10_000 + portsPerInstance);
  });
  test('the same in another network namespace', () => {
    const [first, second] = names.filter((name) => of(name) === 10_000);
    open(10_000, first);
    expect(of(second!, 'net:[2]')).toBe(10_000);
  });
  test('all are taken', () => {
    for (const name of names.slice(0, 21)) open(of(name), name);
    expect(new Set(names.slice(0, 21).map((name) => of(name))).size).toBe(21);
    expect(() => of('mine')).toThrow(/all 21 ranges/);
  });
});
