// Logs in files: what is written, rotated, compressed, reloaded; a disk that is full; drops that are told once and counted always.
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { Observer } from '../observer.ts';
import { flowOf } from '../testing.ts';
import { parseExport } from './config.ts';
import { DropLog, type DropLine } from './drops.ts';
import { Exporter } from './exporter.ts';
import { RotatingFile } from './file.ts';

let folder: string;
beforeEach(() => { folder = mkdtempSync(join(tmpdir(), 'exporter-')); });
afterEach(() => { rmSync(folder, { recursive: true }); });

const linesOf = (path: string): string[] => readFileSync(path, 'utf8').split('\n').filter((line) => line !== '');

describe('a file', () => {
  const names = (): string[] => readdirSync(folder).sort();

  test.each<{ name: string; backups: number; compress: boolean; files: string[] }>([
    { name: 'backups are numbered, the oldest go', backups: 2, compress: false, files: ['f', 'f.1', 'f.2'] },
    { name: 'and compressed', backups: 2, compress: true, files: ['f', 'f.1.gz', 'f.2.gz'] },
    { name: 'none', backups: 0, compress: false, files: ['f'] },
  ])('$name', async ({ backups, compress, files }) => {
    const file = new RotatingFile({ path: join(folder, 'f'), maxBytes: 1_000, backups, compress });
    for (let n = 0; n < 350; n += 1) file.append(`line ${String(n).padStart(4, '0')}`); // 10 bytes each
    await file.close();
    expect(names()).toEqual(files);
    const rest = files.map((name) => (name.endsWith('.gz') ? gunzipSync(readFileSync(join(folder, name))).toString() : readFileSync(join(folder, name), 'utf8'))).reverse().join('').trimEnd().split('\n');
    expect(rest.at(-1)).toBe('line 0349');
    expect(rest).toEqual(Array.from({ length: rest.length }, (_, index) => `line ${String(350 - rest.length + index).padStart(4, '0')}`));
    expect(file.stats).toMatchObject({ written: 350, lost: 0, rotations: 3 });
    expect(statSync(join(folder, 'f')).mode & 0o777).toBe(0o600);
  });

  test('an older one goes on', async () => {
    writeFileSync(join(folder, 'f'), 'before\n');
    const file = new RotatingFile({ path: join(folder, 'f'), maxBytes: 1_000, backups: 1, compress: false });
    file.append('after');
    await file.close();
    expect(linesOf(join(folder, 'f'))).toEqual(['before', 'after']);
  });

  test('a full disk: every line is counted as lost', async () => {
    const file = new RotatingFile({ path: '/dev/full', maxBytes: 1_000, backups: 1, compress: false });
    for (let n = 0; n < 100; n += 1) file.append('line');
    await file.close();
    expect(file.stats).toMatchObject({ written: 0, lost: 100, lastError: expect.stringMatching(/ENOSPC|EINVAL/) });
    expect(file.stats.errors).toBeGreaterThan(0);
  });

  test('more than can wait is lost, the rest is written', async () => {
    const file = new RotatingFile({ path: join(folder, 'f'), maxBytes: 100_000_000, backups: 1, compress: false });
    const line = 'x'.repeat(100_000);
    for (let n = 0; n < 100; n += 1) file.append(line);
    await file.close();
    expect(file.stats.lost).toBeGreaterThan(0);
    expect(linesOf(join(folder, 'f'))).toHaveLength(100 - file.stats.lost);
  });
});

describe('configuration', () => {
  const flowLog = (more: string): string => `flowLogs:\n  - name: all\n    filePath: /x\n    ${more}\n`;
  test.each<{ name: string; text: string; says: RegExp }>([
    { name: 'YAML', text: 'a: [', says: /Flow sequence/ },
    { name: 'a key', text: 'flowlogs: []', says: /the file.flowlogs: unknown; known are flowLogs, dropLogs/ },
    { name: 'a list', text: 'flowLogs: {}', says: /flowLogs: a list is expected/ },
    { name: 'a name', text: 'flowLogs: [{filePath: /x}]', says: /flowLogs\[0\].name/ },
    { name: 'a path', text: 'flowLogs: [{name: a, filePath: x}]', says: /filePath: a path from the root/ },
    { name: 'a filter', text: flowLog('includeFilters: [{nope: 1}]'), says: /includeFilters\[0\]: .*nope/ },
    { name: 'what a filter says', text: flowLog('excludeFilters: [{source_ip: [x]}]'), says: /flowLogs\[0\]: .*"x"/ },
    { name: 'a field', text: flowLog('fieldMask: [source.nope]'), says: /no field "source.nope"/ },
    { name: 'a size', text: flowLog('fileMaxSizeMb: 0'), says: /fileMaxSizeMb: a whole number from 1/ },
    { name: 'a date', text: flowLog('end: soon'), says: /end: soon is no date/ },
    { name: 'one file for two', text: 'flowLogs: [{name: a, filePath: /x}]\ndropLogs: [{name: b, filePath: /x}]', says: /\/x stands there twice/ },
  ])('refuses $name', ({ text, says }) => { expect(() => parseExport(text)).toThrow(says); });

  test('an empty file exports nothing', () => { expect(parseExport('')).toEqual({ flowLogs: [], dropLogs: [] }); });
});

describe('the drop log', () => {
  const dropped = (n: number, changes: object = {}) => ({
    flow: flowOf(n, { verdict: 2, drop_reason_desc: 133, traffic_direction: 1, l4: { TCP: { source_port: 40_000 + n, destination_port: 80 } }, ingress_denied_by: [{ name: 'deny', namespace: 'shop' }], ...changes }),
  });
  let nowMs: number;
  let lines: DropLine[];
  const start = (more: object = {}): DropLog => {
    nowMs = 1_700_000_000_000;
    lines = [];
    return new DropLog({ intervalMs: 60_000, maxTuples: 100, linesPerSecond: 10, ...more }, (line) => { lines.push(line); }, () => nowMs);
  };
  const sum = (): number => lines.reduce((total, { count }) => total + count, 0);

  test('once at first, then once an interval with its count', () => {
    const log = start();
    for (let n = 1; n <= 50; n += 1) log.see(dropped(n));
    log.see({ flow: flowOf(51) });
    log.flush();
    log.flush();
    log.stop();
    const says = {
      source: { namespace: 'shop', pod: 'client', identity: 1001, ip: '10.0.0.1' }, destination: { namespace: 'shop', pod: 'web', identity: 1002, ip: '10.0.0.2' },
      protocol: 'TCP', port: 80, direction: 'INGRESS', reason: 'POLICY_DENIED', policies: ['shop/deny'],
    };
    expect(lines).toEqual([
      { time: '2023-11-14T22:13:20Z', first: '2023-11-14T22:13:21Z', last: '2023-11-14T22:13:21Z', count: 1, ...says },
      { time: '2023-11-14T22:13:20Z', first: '2023-11-14T22:13:22Z', last: '2023-11-14T22:14:10Z', count: 49, ...says },
    ]);
  });

  test('too many new ones wait; too many tuples are counted together; losses are told: nothing is left out', () => {
    const log = start({ maxTuples: 20 });
    for (let port = 1; port <= 50; port += 1) log.see(dropped(1, { l4: { UDP: { source_port: 1, destination_port: port } } }));
    expect(lines).toHaveLength(10);
    log.see({ lost_events: { num_events_lost: 7 } });
    log.stop();
    expect(lines).toHaveLength(22);
    expect(lines.slice(20)).toEqual([expect.objectContaining({ kind: 'others', count: 30 }), expect.objectContaining({ kind: 'lost', count: 7 })]);
    expect(sum()).toBe(57);
  });

  test('who was quiet for long is new again', () => {
    const log = start();
    log.see(dropped(1));
    for (let turn = 0; turn < 10; turn += 1) log.flush();
    log.see(dropped(2));
    log.stop();
    expect(lines.map(({ count }) => count)).toEqual([1, 1]);
  });
});

describe('the exporter', () => {
  test('filters, fields, losses, and a configuration that changes', async () => {
    const observer = new Observer({ nodeName: 'node1', version: '0.1.0' });
    const told: string[] = [];
    const path = join(folder, 'export.yaml');
    const [all, drops, denied] = ['all', 'drops', 'denied'].map((name) => join(folder, name)) as [string, string, string];
    const kept = `  - name: all\n    filePath: ${all}\n`;
    const until = async (holds: () => boolean): Promise<void> => { for (let turn = 0; turn < 200 && !holds(); turn += 1) await new Promise((resolve) => { setTimeout(resolve, 20); }); };
    writeFileSync(path, `flowLogs:\n${kept}  - name: drops\n    filePath: ${drops}\n    includeFilters: [{verdict: [DROPPED]}]\n    excludeFilters: [{source_pod: [shop/noisy]}]\n    fieldMask: [uuid]\n`);
    const exporter = new Exporter(path, observer, (line) => { told.push(line); }, 50);
    observer.record(flowOf(1));
    observer.record(flowOf(2, { verdict: 2 }));
    observer.record(flowOf(3, { verdict: 2, source: { namespace: 'shop', pod_name: 'noisy' } }));
    observer.lost('PERF_EVENT_RING_BUFFER', 7);
    await until(() => existsSync(drops) && linesOf(drops).length === 2 && linesOf(all).length === 4);
    expect(linesOf(drops).map((line) => JSON.parse(line) as object)).toEqual([
      { flow: { uuid: 'u-2' }, node_name: 'node1', time: '2023-11-14T22:13:22Z' }, expect.objectContaining({ lost_events: expect.objectContaining({ num_events_lost: '7' }) }),
    ]);
    writeFileSync(path, 'flowLogs: 3');
    await until(() => told.length === 1);
    expect(told[0]).toMatch(/flowLogs: a list is expected; the configuration read before stays/);
    writeFileSync(path, `flowLogs:\n${kept}dropLogs:\n  - name: denied\n    filePath: ${denied}\n    intervalSeconds: 1\n`);
    await until(() => told.length === 2);
    observer.record(flowOf(4, { verdict: 2 }));
    await until(() => existsSync(denied));
    expect(exporter.stats.map(({ name }) => name)).toEqual(['all', 'denied']);
    await exporter.close();
    expect(linesOf(all)).toHaveLength(5);
    expect(linesOf(drops)).toHaveLength(2);
    expect(linesOf(denied)).toHaveLength(1);
  });

  test('a file that is not there', () => {
    expect(() => new Exporter(join(folder, 'nope'), new Observer({ nodeName: 'n', version: '' }), () => undefined)).toThrow(/read .*nope: ENOENT/);
  });
});
