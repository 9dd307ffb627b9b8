// weir stat: the table, the file it may come from, what filters mean there, what the agent answers.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { requestsOf } from '../agent/api/requests.ts';
import { toJson } from '../hubble/json.ts';
import { Observer } from '../hubble/observer.ts';
import { getFlowsResponseMessage } from '../hubble/proto.ts';
import { requestGroupings } from '../hubble/requests/table.ts';
import { accessOf, lookups, rulesOf, tlsAccessOf } from '../hubble/testing.ts';
import { ofFile, statText, type Stat } from './stat.ts';

const secondNs = 1_000_000_000n;
let folder: string;
let file: string;
const observer = new Observer({ nodeName: 'node1', version: '0', lookups: { ...lookups, identity: () => 2 }, clock: () => 1_700_000_020_000 });

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'weir-stat-'));
  file = join(folder, 'flows.jsonl');
  for (let second = 0; second <= 10; second += 1) {
    const startUnixNs = 1_700_000_000n * secondNs + BigInt(second) * secondNs;
    observer.access(accessOf({ startUnixNs, durationNs: 3_400_000n, http: { path: `/items/${second}`, code: second === 0 ? 503 : 200 } }), rulesOf);
    observer.access(accessOf({ startUnixNs, durationNs: 0n, denied: true, rule: undefined, http: { method: 'PUT', code: 403 } }), rulesOf);
    observer.access(tlsAccessOf({ startUnixNs }), rulesOf);
  }
  writeFileSync(file, Array.from({ length: observer.ring.next }, (_, number) => `${JSON.stringify(toJson(getFlowsResponseMessage, observer.entries.response(number)))}\n`).join(''));
});
afterAll(() => { rmSync(folder, { recursive: true, force: true }); });

const all = { whitelist: [], blacklist: [] };
const told = ({ rows }: Stat) => rows.map(({ method, route, requests, errors, forbidden }) => [method, route, requests, errors, forbidden]);

describe('of a file', () => {
  test('all of it: rates over the time it covers', async () => {
    expect(await ofFile(file, 'route', all, undefined)).toMatchObject({ lost: 0, others: 0, seconds: expect.closeTo(10, 2), rows: [
      { source: 'world', destination: 'shop/web', method: 'GET', route: '/items/*', requests: 11, perSecond: expect.closeTo(1.1, 2), success: 10 / 11, errors: 1, forbidden: 0, p50Ms: expect.closeTo(3.4, 0) },
      { source: 'world', destination: 'shop/web', method: 'PUT', route: '/items', requests: 11, success: 0, errors: 0, forbidden: 11 }] });
  });
  test.each<{ name: string; filters: Parameters<typeof ofFile>[2]; sinceMs?: number; rows: unknown[] }>([
    { name: 'the last seconds of it', filters: all, sinceMs: 5_000, rows: [['GET', undefined, 6, 0, 0], ['PUT', undefined, 5, 0, 5]] },
    { name: 'who was asked', filters: { whitelist: [{ destination_pod: ['shop/web'] }], blacklist: [{ http_method: ['PUT'] }] }, rows: [['GET', undefined, 11, 1, 0]] },
    { name: 'who asks', filters: { whitelist: [{ source_pod: ['shop/web'] }], blacklist: [] }, rows: [] },
    { name: 'what came of it', filters: { whitelist: [{ http_status_code: ['5+'] }], blacklist: [] }, rows: [['GET', undefined, 1, 1, 0]] },
  ])('$name', async ({ filters, sinceMs, rows }) => { expect(told(await ofFile(file, 'method', filters, sinceMs))).toEqual(rows); });
});

describe('the table', () => {
  test.each(requestGroupings.map((by) => ({ by })))('by $by', async ({ by }) => {
    const columns = { workload: '', pod: '', method: 'METHOD +', route: 'METHOD +ROUTE +' }[by];
    expect(statText(by, await ofFile(file, by, all, undefined))).toMatch(new RegExp(`^SOURCE +DESTINATION +${columns}REQUESTS +PER SECOND +SUCCESS +5XX +403 +BROKEN +P50 +P95 +P99\n`));
  });
  test('its lines', () => {
    const row = { source: 'shop/client', destination: 'shop/web\u001b[31m', requests: 20, perSecond: 2, success: 0.75, errors: 3, forbidden: 1, unanswered: 1, p50Ms: 0.42, p95Ms: 12.34, p99Ms: 12_000 };
    expect(statText('workload', { seconds: 10, others: 7, lost: 2, rows: [row] }).split('\n').slice(1)).toEqual([
      expect.stringMatching(/^shop\/client {3}shop\/web\\x1b\[31m {3}20 +2.00 +75.0% +3 +1 +1 +0.42ms +12.3ms +12.0s$/), '2 events were lost: requests may be missing', '7 requests of more groups are not shown', '']);
  });
  test('nothing yet', () => { expect(statText('pod', { seconds: 60, others: 0, lost: 0, rows: [] })).toMatch(/^no HTTP request in 60 s: .*http: \[\{\}\]\)\n$/); });
});

describe('of the agent', () => {
  test('as of its flows', () => { expect(requestsOf({ observer }, { by: 'method', sinceMs: 60_000 }).rows.map(({ method, requests }) => [method, requests])).toEqual([['GET', 11], ['PUT', 11]]); });
  test.each([[{ by: 'colour', sinceMs: 1 }, /known are workload, pod, method, route/], [{ by: 'pod', sinceMs: 0 }, /a time above 0/], [{ by: 'pod', sinceMs: 600_001 }, /the last ten minutes/]])('%j is refused', (question, says) => {
    expect(() => requestsOf({ observer }, question)).toThrow(says);
  });
});
