// Recordings in both forms: what is written is read again, also when the file was cut anywhere; bounds; a full disk.
import { mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, truncateSync, existsSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { spawn } from 'node:child_process';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { fromJson, toJson } from '../hubble/json.ts';
import { Observer, serveHubble } from '../hubble/observer.ts';
import { getFlowsResponseMessage } from '../hubble/proto.ts';
import { compileQuery } from '../hubble/query.ts';
import { recordingForms, type RecordingForm } from '../hubble/recording.ts';
import { flowOf, servedOf } from '../hubble/testing.ts';
import type { GetFlowsResponse } from '../hubble/types.ts';
import { readFlows } from './observe-input.ts';
import { bytesOf, formOf } from './record.ts';
import { Recording } from './recording.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const given = readFileSync(join(root, 'hubble/testdata/flows.jsonl'), 'utf8').trim().split('\n').map((line) => JSON.parse(line) as { flow?: object });
const responses = given.map((json) => fromJson<GetFlowsResponse>(getFlowsResponseMessage, 'flow' in json ? json : { flow: json }));
const lost: GetFlowsResponse = { lost_events: { num_events_lost: 5 } };

let folder: string;
beforeEach(() => { folder = mkdtempSync(join(tmpdir(), 'recording-')); });
afterEach(() => { rmSync(folder, { recursive: true }); });

const path = (): string => join(folder, 'r');

function record(form: RecordingForm, messages: readonly GetFlowsResponse[] = responses, options: { maxBytes?: number } = {}): string {
  const recording = new Recording(path(), { form, force: true, ...options });
  for (const message of messages) recording.add(message);
  return recording.finish();
}

async function read(from = path()): Promise<{ json: object[]; told: string[] }> {
  const json: object[] = [];
  const told: string[] = [];
  await readFlows(from, compileQuery({}), (response) => { json.push(toJson(getFlowsResponseMessage, response)); }, (text) => { told.push(text); });
  return { json, told };
}

const written = responses.map((response) => toJson(getFlowsResponseMessage, response));

describe.each(recordingForms)('%s', (form) => {
  test('what is written is read', async () => {
    expect(record(form)).toBe(`${responses.length} flows in ${path()}`);
    expect(await read()).toEqual({ json: written, told: [] });
  });

  test('nothing', async () => {
    record(form, []);
    expect(await read()).toEqual({ json: [], told: [] });
  });

  test('many blocks, and losses that are told', async () => {
    const many = Array.from({ length: 20 }, () => [...responses, lost]).flat();
    expect(record(form, many)).toBe(`${responses.length * 20} flows in ${path()}; 100 events were lost, which the file tells in their place`);
    const { json } = await read();
    expect(json).toHaveLength(many.length);
    expect(json.filter((one) => 'lost_events' in one)).toHaveLength(20);
  });

  test('cut anywhere: all that is whole is read, and it is told', async () => {
    const many = Array.from({ length: 3 }, () => responses).flat();
    record(form, many);
    const all = Array.from({ length: 3 }, () => written).flat();
    const { size } = statSync(path());
    let before = all.length;
    for (let end = size - 1; end > 0; end -= Math.ceil(size / 23)) {
      truncateSync(path(), end);
      const { json, told } = await read();
      expect(json).toEqual(all.slice(0, json.length));
      expect(json.length).toBeLessThanOrEqual(before);
      before = json.length;
      const lastByte = readFileSync(path()).at(-1);
      // JSON that was cut between two lines, or before the end of the last one, is as whole as one that was not; so is an empty binary one.
      if (form === 'binary' ? end > 9 : lastByte !== 0x0a && lastByte !== 0x7d) expect(told).toEqual([`${path()}: read up to message ${json.length}: it was cut there\n`]);
    }
  });

  test('as large as it may be, and not larger', async () => {
    const many = Array.from({ length: 60 }, () => responses).flat();
    const maxBytes = 40_000;
    const recording = new Recording(path(), { form, force: true, maxBytes });
    const taken = many.map((one) => recording.add(one)).filter((took) => took).length;
    expect(recording.finish()).toBe(`${taken} flows in ${path()}, which is as large as it may be`);
    expect(statSync(path()).size).toBeLessThanOrEqual(maxBytes);
    expect(statSync(path()).size).toBeGreaterThan(maxBytes * 0.95);
    expect((await read()).json).toEqual(Array.from({ length: 60 }, () => written).flat().slice(0, taken));
  });

  test('is whole when it is there, 0600, and nothing is written over', () => {
    const recording = new Recording(path(), { form });
    recording.add(responses[0]!);
    expect(readFileSync(path(), 'utf8')).toBe('');
    recording.finish();
    expect(existsSync(`${path()}.part`)).toBe(false);
    expect(statSync(path()).mode & 0o777).toBe(0o600);
    expect(() => new Recording(path(), { form })).toThrow(/is there already/);
  });
});

test('the binary one is a tenth of the other', () => {
  const many = Array.from({ length: 2_000 }, (_, n) => ({ flow: flowOf(n, { Summary: 'TCP Flags: SYN', l4: { TCP: { source_port: 1024 + n, destination_port: 80 } } }), node_name: 'node1', time: { seconds: 1_700_000_000 + n } }));
  record('json', many);
  const { size } = statSync(path());
  record('binary', many);
  expect(statSync(path()).size).toBeLessThan(size / 10);
});

test('a byte that was changed: what stands before its block is read', async () => {
  record('binary', Array.from({ length: 20 }, () => responses).flat());
  const bytes = readFileSync(path());
  bytes[bytes.length - 100]! ^= 0xff;
  writeFileSync(path(), bytes);
  const { json, told } = await read();
  expect(json.length).toBeGreaterThan(0);
  expect(told).toEqual([`${path()}: read up to message ${json.length}: what follows is damaged\n`]);
});

test('a line that has no end is passed over', async () => {
  writeFileSync(path(), `${'x'.repeat(5 << 20)}\n${JSON.stringify(written[0])}\n`);
  expect(await read()).toEqual({ json: [written[0]], told: [`${path()}:1: no flow: the line is too long\n`] });
});

test.each(recordingForms)('a full disk ends a %s one; what was written before is named', (form) => {
  symlinkSync('/dev/full', `${path()}.part`);
  const fill = (): void => {
    const recording = new Recording(path(), { form });
    for (let turn = 0; turn < 100; turn += 1) for (const one of responses) recording.add(one);
    recording.finish();
  };
  expect(fill).toThrow(expect.objectContaining({ message: expect.stringMatching(/write .*: ENOSPC/), mend: `what was written until then is in ${path()}.part` }));
  expect(existsSync(path())).toBe(false);
});

describe('words', () => {
  test.each<{ text: string; bytes: number }>([
    { text: '4096', bytes: 4_096 }, { text: '100MB', bytes: 100e6 }, { text: '1.5M', bytes: 1.5e6 }, { text: '64KiB', bytes: 65_536 }, { text: '2GiB', bytes: 2 ** 31 },
  ])('$text', ({ text, bytes }) => { expect(bytesOf(text)).toBe(bytes); });
  test.each(['', 'MB', '1', '-5MB', '1TB', '1e9', '0.0001K'])('refuses %p', (text) => { expect(() => bytesOf(text)).toThrow(/--max-size .*expected a size/); });
  test.each<{ output: string; format?: RecordingForm; form: RecordingForm }>([
    { output: 'a.jsonl', form: 'json' }, { output: 'a', form: 'json' }, { output: 'a.bin', form: 'binary' }, { output: 'a.bin', format: 'json', form: 'json' }, { output: 'a.json', format: 'binary', form: 'binary' },
  ])('$output, $format', ({ form, ...words }) => { expect(formOf(words)).toBe(form); });
});

describe('the real command', () => {
  const weir = async (...args: string[]): Promise<{ code: number | null; out: string; error: string }> => new Promise((resolve) => {
    const child = spawn(process.execPath, ['cli/main.ts', ...args], { cwd: root, stdio: ['ignore', 'pipe', 'pipe'] });
    let [out, error] = ['', ''];
    child.stdout.on('data', (data: Buffer) => { out += data.toString(); });
    child.stderr.on('data', (data: Buffer) => { error += data.toString(); });
    child.once('close', (code) => { resolve({ code, out, error }); });
  });
  const nowFlow = (n: number, ageMs: number) => { const ms = Date.now() - ageMs; return flowOf(n, { time: { seconds: Math.floor(ms / 1_000), nanos: (ms % 1_000) * 1e6 }, trace_reason: 1, is_reply: { value: false }, destination: { ...flowOf(n).destination, labels: ['k8s:io.kubernetes.pod.namespace=shop'] }, l4: { TCP: { source_port: 4_000 + n, destination_port: 80 } } }); };

  test('record in both forms, bounded; observe and simulate read them; simulate asks the observer itself', async () => {
    const observer = new Observer({ nodeName: 'node1', version: '0.1.0', capacity: 31 });
    const server = `unix://${join(folder, 'hubble.sock')}`;
    const { close } = await serveHubble(servedOf(observer), { socketPath: join(folder, 'hubble.sock'), log: () => undefined });
    try {
      for (let n = 1; n <= 20; n += 1) observer.record(nowFlow(n, n <= 10 ? 7_200_000 : 60_000));
      for (const [file, flags, count] of [['all.bin', [], 20], ['last.jsonl', ['--last', '5'], 5], ['since.bin', ['--since', '1h'], 10], ['binary', ['--format', 'binary', '--to-port', '81'], 0]] as const) {
        expect(await weir('record', '--server', server, '-o', join(folder, file), ...flags)).toEqual({ code: 0, out: '', error: `${count} ${'flows'} in ${join(folder, file)}\n` });
        const { out } = await weir('observe', '--input-file', join(folder, file), '-o', 'json');
        expect(out.split('\n').filter((line) => line !== '')).toHaveLength(count);
      }
      expect((await weir('record', '--server', server, '-o', join(folder, 'x'), '--last', '5', '--since', '1h')).error).toMatch(/--since and --last cannot be combined/);
      const policies = join(folder, 'p.yaml');
      writeFileSync(policies, JSON.stringify({ apiVersion: 'cilium.io/v2', kind: 'CiliumNetworkPolicy', metadata: { name: 'none', namespace: 'shop' }, spec: { endpointSelector: {}, ingress: [{}] } }));
      const simulate = (...flags: string[]) => weir('policy', 'simulate', '-f', policies, ...flags);
      expect(await simulate('--flows', join(folder, 'all.bin'))).toMatchObject({ code: 1, error: '', out: expect.stringContaining('20 connections judged, 20 would change') });
      expect(await simulate('--flows', join(folder, 'since.bin'))).toMatchObject({ code: 1, out: expect.stringContaining('10 connections judged') });
      expect(await simulate('--since', '30m', '--server', server)).toMatchObject({ code: 1, error: expect.stringMatching(/reaches back to its start at \S+ only\n/), out: expect.stringContaining('10 connections judged') });
      for (let n = 21; n <= 60; n += 1) observer.record(nowFlow(n, 1_000));
      expect(await simulate('--since', '30m', '--server', server)).toMatchObject({ code: 1, error: expect.stringMatching(/^the observer reaches back to \S+ only: 29 older flows are gone\n$/), out: expect.stringContaining('31 connections judged') });
      expect(await simulate('--since', '0s', '--server', server)).toMatchObject({ code: 0, error: expect.stringMatching(/^all flows since \S+ are there\n$/) });
      expect(await simulate()).toMatchObject({ code: 2, error: expect.stringMatching(/--flows FILE or --since TIME/) });
      expect(await simulate('--flows', 'x', '--since', '1h')).toMatchObject({ code: 2 });
    } finally {
      close();
    }
  }, 180_000);
});
