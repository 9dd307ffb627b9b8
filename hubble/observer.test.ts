// The observer over a real gRPC server on a unix socket: who gets which flows, and that every flow is delivered or counted.
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import grpc from '@grpc/grpc-js';
import { Observer, serveHubble } from './observer.ts';
import { healthService, observerService } from './proto.ts';
import { flowOf, servedOf } from './testing.ts';
import type { GetFlowsRequest, GetFlowsResponse } from './types.ts';

const startMs = 1_700_000_000_000;
const at = (n: number) => ({ seconds: 1_700_000_000 + n });

let folder: string;
let close: () => void;
let observer: Observer;
let client: grpc.Client;

async function start(capacity: number): Promise<void> {
  observer = new Observer({ capacity, nodeName: 'node1', version: '0.1.0', clock: () => startMs + 60_000 });
  close = (await serveHubble(servedOf(observer), { socketPath: join(folder, 'hubble.sock'), log: () => undefined })).close;
  client = connect();
}

beforeEach(() => { folder = mkdtempSync(join(tmpdir(), 'hubble-')); });
afterEach(() => {
  client.close();
  close();
  rmSync(folder, { recursive: true });
});

type Call = grpc.ClientReadableStream<GetFlowsResponse>;

/** With a connection of its own: what one client does not read must not stand in the way of another's. */
const connect = (): grpc.Client =>
  new grpc.Client(`unix://${join(folder, 'hubble.sock')}`, grpc.credentials.createInsecure(), { 'grpc.use_local_subchannel_pool': 1 });

const textOf = ({ flow, lost_events: lost }: GetFlowsResponse): string => flow?.uuid ?? `lost ${String(lost?.num_events_lost)} ${lost?.source}`;

function getFlows(request: GetFlowsRequest, from = client): Call {
  const { path, requestSerialize, responseDeserialize } = observerService.GetFlows;
  const call = from.makeServerStreamRequest(path, requestSerialize, responseDeserialize, request) as Call;
  call.on('error', () => undefined); // told by the iterator, or the cancelling of the test
  return call;
}

/** The server has begun to answer: what comes from now on is followed. */
const opened = async (call: Call): Promise<void> => new Promise((resolve) => { call.once('metadata', () => { resolve(); }); });

async function collect(call: AsyncIterable<GetFlowsResponse>): Promise<string[]> {
  const got: string[] = [];
  for await (const response of call) got.push(textOf(response));
  return got;
}

/** Reads until `until` holds, then cancels. */
async function take(call: Call, until: (got: readonly string[]) => boolean): Promise<string[]> {
  const got: string[] = [];
  await new Promise<void>((resolve) => {
    call.on('data', (response: GetFlowsResponse) => {
      got.push(textOf(response));
      if (until(got)) resolve();
    });
  });
  call.cancel();
  return got;
}

const unary = (method: { path: string; requestSerialize: (request: never) => Buffer; responseDeserialize: (data: Buffer) => object }, request: object = {}): Promise<{ value: object; metadata: grpc.Metadata }> =>
  new Promise((resolve, reject) => {
    let metadata = new grpc.Metadata();
    client.makeUnaryRequest<object, object>(method.path, method.requestSerialize as (request: object) => Buffer, method.responseDeserialize, request,
      (error, value) => { if (error) reject(error); else resolve({ value: value!, metadata }); })
      .on('metadata', (received: grpc.Metadata) => { metadata = received; });
  });

/** Ten flows, of which 3, 6 and 9 are dropped; after 4 the kernel lost 7 events. */
function fill(): void {
  for (let n = 1; n <= 10; n += 1) {
    observer.record(flowOf(n, { verdict: n % 3 === 0 ? 2 : 1 }));
    if (n === 4) observer.lost('PERF_EVENT_RING_BUFFER', 7);
  }
}
const lost7 = 'lost 7 1';
const uuids = (...numbers: number[]): string[] => numbers.map((n) => `u-${n}`);
const dropped = [{ verdict: [2] }];

const requests: { name: string; request: GetFlowsRequest; got: string[] }[] = [
  { name: 'everything', request: {}, got: [...uuids(1, 2, 3, 4), lost7, ...uuids(5, 6, 7, 8, 9, 10)] },
  { name: 'the last two', request: { number: 2 }, got: uuids(9, 10) },
  { name: 'the last two that match', request: { number: 2, whitelist: dropped }, got: uuids(6, 9) },
  { name: 'more than there are', request: { number: 100, blacklist: [{ verdict: [1] }] }, got: ['u-3', lost7, ...uuids(6, 9)] },
  { name: 'all, as the command line asks', request: { number: '18446744073709551615', whitelist: dropped }, got: ['u-3', lost7, ...uuids(6, 9)] },
  { name: 'the first two', request: { number: 2, first: true }, got: uuids(1, 2) },
  { name: 'the first two that match; losses do not count', request: { number: 2, first: true, whitelist: dropped }, got: ['u-3', lost7, 'u-6'] },
  { name: 'since', request: { since: at(9) }, got: uuids(9, 10) },
  { name: 'since outranks a number', request: { since: at(8), number: 1 }, got: uuids(8, 9, 10) },
  { name: 'the first since', request: { since: at(8), number: 1, first: true }, got: uuids(8) },
  { name: 'until', request: { until: at(2) }, got: uuids(1, 2) },
  { name: 'since and until', request: { since: at(7), until: at(8) }, got: uuids(7, 8) },
];

describe('GetFlows', () => {
  test.each(requests)('$name', async ({ request, got }) => {
    await start(100);
    fill();
    // The clock of the observer is late: its loss has a time behind all flows, which since and until compare.
    const want = request.until === undefined && request.since === undefined ? got : got.filter((text) => text !== lost7);
    expect(await collect(getFlows(request))).toEqual(want);
  });

  test('a field mask leaves what was asked for', async () => {
    await start(10);
    observer.record(flowOf(1));
    for await (const { flow } of getFlows({ field_mask: { paths: ['uuid', 'source.pod_name'] } })) {
      expect(JSON.parse(JSON.stringify(flow))).toEqual({ uuid: 'u-1', source: { pod_name: 'client' } });
    }
  });

  test.each<{ name: string; request: GetFlowsRequest; says: RegExp }>([
    { name: 'first with follow', request: { first: true, follow: true }, says: /first and follow/ },
    { name: 'a wrong filter', request: { whitelist: [{ source_ip: ['x'] }] }, says: /"x" is neither an IP address/ },
    { name: 'a wrong mask', request: { field_mask: { paths: ['source.nope'] } }, says: /no field "source.nope"/ },
  ])('refuses $name', async ({ request, says }) => {
    await start(10);
    await expect(collect(getFlows(request))).rejects.toMatchObject({ code: grpc.status.INVALID_ARGUMENT, details: expect.stringMatching(says) });
  });

  test('follow: the last ones, then every new one, lost events in their place', async () => {
    await start(100);
    fill();
    const call = getFlows({ follow: true, number: 1 });
    const following = take(call, (got) => got.length === 4);
    await opened(call);
    observer.record(flowOf(11));
    observer.lost('OBSERVER_EVENTS_QUEUE', 3);
    observer.record(flowOf(12));
    expect(await following).toEqual(['u-10', 'u-11', 'lost 3 2', 'u-12']);
  });

  test('follow without a number starts at the end', async () => {
    await start(100);
    fill();
    const call = getFlows({ follow: true, whitelist: dropped });
    const following = take(call, (got) => got.length === 1);
    await opened(call);
    observer.record(flowOf(11));
    observer.record(flowOf(12, { verdict: 2 }));
    expect(await following).toEqual(['u-12']);
  });
});

describe('loss', () => {
  const offered = 20_000;
  const countLost = (got: readonly string[]): number => got.reduce((sum, text) => sum + (text.startsWith('lost') ? Number(text.split(' ')[1]) : 0), 0);
  const countFlows = (got: readonly string[]): number => got.filter((text) => !text.startsWith('lost')).length;

  test('a follower that does not read for a while: offered = delivered + told as lost, and others lose nothing by it', async () => {
    await start(1_000);
    const slow = getFlows({ follow: true });
    const slowGot: string[] = [];
    const slowDone = new Promise<void>((resolve) => {
      slow.on('data', (response: GetFlowsResponse) => {
        slowGot.push(textOf(response));
        if (slowGot.length === 1) slow.pause();
        if (countFlows(slowGot) + countLost(slowGot) >= offered + 500) resolve();
      });
    });
    const other = connect();
    const fast = getFlows({ follow: true }, other);
    const fastGot: string[] = [];
    fast.on('data', (response: GetFlowsResponse) => { fastGot.push(textOf(response)); });
    await Promise.all([opened(slow), opened(fast)]);
    for (let n = 1; n <= offered; n += 1) {
      observer.record(flowOf(n));
      if (n === offered / 2) observer.lost('PERF_EVENT_RING_BUFFER', 500);
      // The ring is the fast reader's too: it gets its turn before it is overtaken.
      while (n % 200 === 0 && fastGot.length < n - 600) await new Promise(setImmediate);
    }
    while (countFlows(fastGot) < offered) await new Promise(setImmediate);
    slow.resume();
    await slowDone;
    slow.cancel();
    fast.cancel();
    other.close();
    expect(countLost(fastGot)).toBe(500);
    expect(countFlows(slowGot)).toBeLessThan(offered);
    expect(countFlows(slowGot) + countLost(slowGot)).toBe(offered + 500);
    expect(slowGot).toContain(`u-${offered}`);
    expect(observer.stats).toMatchObject({ seen: offered, lost: { PERF_EVENT_RING_BUFFER: 500 }, capacity: 1_000 });
    expect(observer.stats.kept + observer.stats.overwritten).toBe(offered);
  });
});

describe('the other calls', () => {
  test('the socket is for its owner alone', async () => {
    await start(10);
    expect(statSync(join(folder, 'hubble.sock')).mode & 0o777).toBe(0o600);
  });

  test('ServerStatus, with the version as a header', async () => {
    await start(4);
    fill();
    const { value, metadata } = await unary(observerService.ServerStatus);
    expect(JSON.parse(JSON.stringify(value))).toMatchObject({ num_flows: '4', max_flows: '4', seen_flows: '10', version: '0.1.0', flows_rate: 10 });
    expect(metadata.get('hubble-server-version')).toEqual(['0.1.0']);
  });

  test('GetNamespaces', async () => {
    await start(4);
    fill();
    expect(JSON.parse(JSON.stringify((await unary(observerService.GetNamespaces)).value))).toEqual({ namespaces: [{ namespace: 'shop' }] });
  });

  test.each([['', 1], ['observer.Observer', 1]])('health of %j', async (service, status) => {
    await start(4);
    expect((await unary(healthService.Check, { service })).value).toMatchObject({ status });
  });

  test('health of an unknown service', async () => {
    await start(4);
    await expect(unary(healthService.Check, { service: 'x' })).rejects.toMatchObject({ code: grpc.status.NOT_FOUND });
  });

  test('find, lastDrop, subscribe', async () => {
    await start(100);
    const heard: string[] = [];
    const stop = observer.subscribe((flow) => { heard.push(flow.uuid ?? ''); });
    fill();
    stop();
    observer.record(flowOf(11));
    expect(heard).toEqual(uuids(1, 2, 3, 4, 5, 6, 7, 8, 9, 10));
    expect(observer.find('u-4')?.uuid).toBe('u-4');
    expect(observer.find('nope')).toBeUndefined();
    expect(observer.lastDrop()?.uuid).toBe('u-9');
  });
});
