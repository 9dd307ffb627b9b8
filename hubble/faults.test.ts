// What goes wrong around an observer: a thousand clients, connections that are cut, a clock that is set, requests that are noise, expressions
// made to be slow, a disk that is full. What is not lost is delivered once; what is lost is told.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, connect, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import grpc from '@grpc/grpc-js';
import { compileFilters } from './filters/compile.ts';
import { Observer, serveHubble } from './observer.ts';
import { observerService } from './proto.ts';
import type { Serving } from './serve.ts';
import { flowOf, lookups, recordOf, servedOf, slotsOf } from './testing.ts';
import type { FlowFilter, GetFlowsRequest, GetFlowsResponse } from './types.ts';

let folder: string;
let observer: Observer;
let serving: Serving;
const undo: (() => void)[] = [];

const socket = (): string => join(folder, 'hubble.sock');
const start = async (made = new Observer({ nodeName: 'node1', version: '0.1.0' })): Promise<void> => {
  observer = made;
  serving = await serveHubble(servedOf(observer), { socketPath: socket(), log: () => undefined });
  undo.push(() => { serving.close(); });
};
beforeEach(() => { folder = mkdtempSync(join(tmpdir(), 'hubble-faults-')); });
afterEach(() => {
  for (const step of undo.splice(0).reverse()) step();
  rmSync(folder, { recursive: true });
});

async function until(what: string, holds: () => boolean, timeoutMs = 40_000): Promise<void> {
  for (const end = Date.now() + timeoutMs; !holds();) {
    if (Date.now() > end) throw new Error(`not in time: ${what}`);
    await new Promise((resolve) => { setTimeout(resolve, 20); });
  }
}

interface Reader { readonly seen: string[]; lost: number; error: grpc.ServiceError | undefined; ended: boolean; readonly cancel: () => void }

function reader(request: GetFlowsRequest, address = `unix://${socket()}`): Reader {
  const { path, requestSerialize, responseDeserialize } = observerService.GetFlows;
  const client = new grpc.Client(address, grpc.credentials.createInsecure(), { 'grpc.use_local_subchannel_pool': 1, 'grpc.initial_reconnect_backoff_ms': 50 });
  const call = client.makeServerStreamRequest(path, requestSerialize, responseDeserialize, request);
  const state: Reader = { seen: [], lost: 0, error: undefined, ended: false, cancel: () => { call.cancel(); client.close(); } };
  call.on('data', ({ flow, lost_events: lost }: GetFlowsResponse) => {
    if (flow != null) state.seen.push(flow.uuid!);
    state.lost += Number(lost?.num_events_lost ?? 0);
  });
  call.on('error', (error: grpc.ServiceError) => { state.error = error; });
  call.on('end', () => { state.ended = true; });
  undo.push(state.cancel);
  return state;
}

test('1,000 following clients, each a connection of its own: every one gets what its filter passes; when they go the next is served', async () => {
  await start();
  const verdicts = [1, 2];
  const readers = Array.from({ length: 1_000 }, (_, index) => reader({ follow: true, since: { seconds: 1 }, whitelist: [{ verdict: [verdicts[index % 2]!] }] }));
  for (let n = 1; n <= 20; n += 1) observer.record(flowOf(n, { verdict: verdicts[n % 2]! }));
  await until('all have theirs', () => readers.every(({ seen, lost, error }) => { if (error !== undefined) throw error; return seen.length + lost >= 10; }), 100_000);
  for (const [index, { seen, lost }] of readers.entries()) {
    expect([lost, seen]).toEqual([0, Array.from({ length: 20 }, (_, n) => n + 1).filter((n) => verdicts[n % 2] === verdicts[index % 2]).map((n) => `u-${n}`)]);
  }
  // One that comes then is served at once: none waits for the others.
  const late = reader({ number: 1 });
  await until('a late one ends', () => late.ended);
  for (const { cancel } of readers) cancel();
  observer.record(flowOf(21));
  const after = reader({ number: 1 });
  await until('and one after them', () => after.ended);
  expect(after.seen).toEqual(['u-21']);
}, 150_000);

describe('a connection that is cut', () => {
  let proxy: Server;
  const pipes: Socket[] = [];
  /** Passes on at most so many bytes of the server, then cuts. */
  const cutAfter = async (bytes: number): Promise<string> => {
    proxy = createServer((down) => {
      const up = connect(socket());
      let left = bytes;
      pipes.push(down, up);
      down.on('data', (data) => { up.write(data); }).on('error', () => undefined).on('close', () => { up.destroy(); });
      up.on('data', (data: Buffer) => {
        down.write(data.subarray(0, left));
        left -= data.length;
        if (left <= 0) { down.destroy(); up.destroy(); }
      }).on('error', () => undefined).on('close', () => { down.destroy(); });
    });
    await new Promise<void>((resolve) => { proxy.listen(join(folder, 'proxy.sock'), resolve); });
    undo.push(() => { for (const one of pipes.splice(0)) one.destroy(); proxy.close(); });
    return `unix://${join(folder, 'proxy.sock')}`;
  };

  test.each([200, 1_000, 5_000, 20_001])('after %i bytes: the client is told, what came is whole and in order, the server goes on', async (bytes) => {
    await start();
    const address = await cutAfter(bytes);
    for (let n = 1; n <= 500; n += 1) observer.record(flowOf(n));
    const cut = reader({ follow: true, since: { seconds: 1 } }, address);
    await until('it is told', () => cut.error !== undefined);
    expect([grpc.status.UNAVAILABLE, grpc.status.INTERNAL, grpc.status.CANCELLED]).toContain(cut.error!.code);
    expect(cut.seen).toEqual(Array.from({ length: cut.seen.length }, (_, n) => `u-${n + 1}`));
    expect(cut.seen.length).toBeLessThan(500);
    const whole = reader({ since: { seconds: 1 } });
    await until('another one has all', () => whole.ended);
    expect(whole.seen).toHaveLength(500);
  });
});

describe('a clock that is set', () => {
  const second = 1_000_000_000n;
  const startNs = 1_700_000_000n * second;
  /** Records count seconds of the machine; wall-clock time jumps by `stepS` from the tenth on, as agent/flow/clock.ts keeps it. */
  const stepped = async (stepS: number): Promise<void> => {
    await start(new Observer({ nodeName: 'node1', version: '0.1.0', lookups: { ...lookups, toUnixNs: (ns) => ns + startNs + (ns >= 10n * second ? BigInt(stepS) * second : 0n) } }));
    observer.records(slotsOf(...Array.from({ length: 20 }, (_, n) => recordOf({ time_ns: BigInt(n) * second, sport: 1_000 + n }))));
  };
  const at = (seconds: number): { seconds: number } => ({ seconds: 1_700_000_000 + seconds });
  const count = async (request: GetFlowsRequest): Promise<number> => {
    const one = reader(request);
    await until('it ends', () => one.ended);
    return one.seen.length;
  };

  test.each<{ name: string; stepS: number; request: GetFlowsRequest; flows: number }>([
    { name: 'forward: all are there, in the order in which they happened', stepS: 3_600, request: {}, flows: 20 },
    { name: 'forward: since the new time, those after it', stepS: 3_600, request: { since: at(3_600) }, flows: 10 },
    { name: 'forward: since an old time, all from there', stepS: 3_600, request: { since: at(5) }, flows: 15 },
    { name: 'forward: until an old time, those before it', stepS: 3_600, request: { until: at(5) }, flows: 6 },
    { name: 'back: all are there', stepS: -3_600, request: {}, flows: 20 },
    { name: 'back: since the new time, also those that seem to be yet to come', stepS: -3_600, request: { since: at(-3_600) }, flows: 20 },
    { name: 'back: since an old time, none, for the newest are older than that', stepS: -3_600, request: { since: at(5) }, flows: 0 },
    { name: 'back: until the new time, none, for the first is later', stepS: -3_600, request: { until: at(-3_580) }, flows: 0 },
    { name: 'back: the last ones are the last that happened', stepS: -3_600, request: { number: 3 }, flows: 3 },
  ])('$name', async ({ stepS, request, flows }) => {
    await stepped(stepS);
    expect(await count(request)).toBe(flows);
  });
});

describe('noise', () => {
  test('requests of random bytes and half messages are refused, and the server goes on', async () => {
    await start();
    observer.record(flowOf(1));
    const client = new grpc.Client(`unix://${socket()}`, grpc.credentials.createInsecure());
    undo.push(() => { client.close(); });
    let seed = 7;
    const random = (): number => { seed = (seed * 1_103_515_245 + 12_345) & 0x7fffffff; return seed >>> 16; };
    const codes = new Map<string, number>();
    for (let turn = 0; turn < 300; turn += 1) {
      const bytes = Buffer.from(Array.from({ length: random() % 60 }, () => random() & 0xff));
      const code = await new Promise<number>((resolve) => {
        client.makeServerStreamRequest(observerService.GetFlows.path, (message: Buffer) => message, (data) => data, bytes).on('data', () => undefined).on('error', () => undefined)
          .on('status', (status: grpc.StatusObject) => { resolve(status.code); });
      });
      codes.set(grpc.status[code]!, (codes.get(grpc.status[code]!) ?? 0) + 1);
    }
    expect([...codes.keys()].filter((name) => !['OK', 'INVALID_ARGUMENT', 'INTERNAL'].includes(name))).toEqual([]);
    expect((codes.get('INVALID_ARGUMENT') ?? 0) + (codes.get('INTERNAL') ?? 0)).toBeGreaterThan(100);
    const one = reader({ number: 1 });
    await until('it is served', () => one.ended);
    expect(one.seen).toEqual(['u-1']);
  });

  const url = (length: number) => flowOf(1, { l7: { http: { url: 'a'.repeat(length) } } });
  test.each<{ name: string; pattern: string; says: RegExp }>([
    { name: '10,000 characters of nested quantifiers', pattern: `${'('.repeat(3_333)}a${')*'.repeat(3_333)}`, says: /has more than 1024 characters/ },
    { name: '10,000 open brackets', pattern: '('.repeat(10_000), says: /more than 1024 characters/ },
    { name: '1,000 open brackets', pattern: '('.repeat(1_000), says: /regular expression .*: (Unterminated|Regular expression too large)/ },
    { name: 'counts of counts', pattern: '((a{1000}){1000}){1000}', says: /linear time/ },
    { name: 'a reference back', pattern: '(a)\\1', says: /linear time/ },
    { name: 'a look ahead', pattern: '(?=a)b', says: /linear time/ },
  ])('$name: refused at once', ({ pattern, says }) => {
    const begin = performance.now();
    for (const field of ['http_path', 'http_url', 'dns_query'] as const) expect(() => compileFilters([{ [field]: [pattern] } as FlowFilter])).toThrow(says);
    expect(performance.now() - begin).toBeLessThan(1_000);
  });

  test.each<{ name: string; pattern: string }>([
    { name: 'a sum of sums', pattern: '(x+x+)+y' }, { name: 'stars in stars', pattern: '((((((a*)*)*)*)*)*)*b' }, { name: 'the same in two ways', pattern: '(a|a)*$b' },
    { name: 'many counts', pattern: 'a{1,15}'.repeat(50) }, { name: 'a hundred stars in stars', pattern: `${'('.repeat(100)}a${')*'.repeat(100)}b` },
  ])('$name: in time with the length of the text', ({ pattern }) => {
    const matches = compileFilters([{ http_url: [pattern] }]);
    const took = (length: number): number => {
      const flow = url(length);
      return Math.min(...Array.from({ length: 3 }, () => { const begin = performance.now(); matches(flow); return performance.now() - begin; }));
    };
    took(500);
    // Four times the text: four times as long, not sixteen; what backtracks would not end at all.
    expect(took(8_000)).toBeLessThan(10 * took(2_000) + 20);
  });
});

test('a full disk under the exporter: a tmpfs of 64 KiB takes what it can, whole lines only; the rest is counted; with room again it goes on', () => {
  const script = fileURLToPath(new URL('exporter/testing-full-disk.ts', import.meta.url));
  const out = execFileSync('unshare', ['--mount', '--propagation', 'private', 'sh', '-c', `mount -t tmpfs -o size=64k weir "${folder}" && exec "${process.execPath}" --disable-warning=ExperimentalWarning "${script}" "${folder}"`], { encoding: 'utf8' });
  const { offered, full, again, lines, broken, lateMs } = JSON.parse(out) as { offered: number; full: { written: number; lost: number; errors: number; lastError: string }; again: { written: number; lost: number }; lines: number; broken: number; lateMs: number };
  expect(full.written).toBeGreaterThan(0);
  expect(full.lost).toBeGreaterThan(0);
  expect(full.written + full.lost).toBe(offered);
  expect(full.lastError).toMatch(/ENOSPC/);
  expect(broken).toBe(0);
  expect(lines).toBe(again.written);
  expect(again.written).toBe(full.written + 10);
  // Nothing else waits for the disk.
  expect(lateMs).toBeLessThan(500);
});
