// Requests counted: routes, percentiles, groups, the window of time, bounds; live and from flows the same.
import { describe, expect, test } from '@jest/globals';
import { makeRandom } from '../../agent/policy/random-cases.ts';
import { Observer } from '../observer.ts';
import { accessOf, lookups, rulesOf } from '../testing.ts';
import type { Flow } from '../types.ts';
import { bucketOf, buckets, percentileMs } from './latency.ts';
import { RequestRing } from './ring.ts';
import { routeOf, routeOfUrl } from './route.ts';
import { RequestTable, requestGroupings } from './table.ts';

describe('routes', () => {
  test.each([
    ['/', '/'], ['', ''], ['/items', '/items'], ['/items/42', '/items/*'], ['/items/42/parts?page=2', '/items/*/parts'], ['/a#b', '/a'], ['/v1/items', '/v1/items'],
    ['/o/4bf92f35-77b3-4da6-a3ce-929d0e0e4736', '/o/*'], ['/day/2026-11-21', '/day/*'], [`/x/${'y'.repeat(40)}`, '/x/*'], ['/deadbeef', '/deadbeef'], ['/1/2/3/4/5/6/7/8', '/*/*/*/*/*/*/…'],
  ])('%s -> %s', (path, route) => { expect(routeOf(path)).toBe(route); });
  test.each([['http://web.shop/items/1?x', '/items/*'], ['http://web.shop', '/'], ['/plain', '/plain']])('of a URL: %s -> %s', (url, route) => { expect(routeOfUrl(url)).toBe(route); });
});

describe('latencies', () => {
  test.each([[0, 0], [1, 0], [1_000, 0], [2_000, 4], [1e12, buckets - 1]])('%d ns stand in bucket %d', (ns, bucket) => { expect(bucketOf(ns)).toBe(bucket); });
  test('a percentile is within a tenth', () => {
    const random = makeRandom(3);
    const counts = new Uint32Array(buckets);
    const all = Array.from({ length: 5_000 }, () => Math.exp(random.below(100_000) / 9_000) * 10_000).sort((a, b) => a - b);
    for (const ns of all) counts[bucketOf(ns)]! += 1;
    for (const quantile of [0.01, 0.5, 0.95, 0.99]) {
      const exact = all[Math.ceil(all.length * quantile) - 1]! / 1e6;
      expect(Math.abs(percentileMs(counts, quantile)! / exact - 1)).toBeLessThan(0.1);
    }
    expect(percentileMs(new Uint32Array(buckets), 0.5)).toBeUndefined();
  });
});

const at = (address: string, port = 80) => ({ address, port });
const asked = [
  accessOf(), accessOf({ http: { path: '/items/7' } }), accessOf({ http: { path: '/items/8', code: 503 } }), accessOf({ denied: true, rule: undefined, http: { method: 'PUT', code: 403 } }),
  accessOf({ source: at('10.0.0.9'), flags: 'DC', http: { code: 0 } }),
];

describe('who asked whom', () => {
  const tables = {
    workload: [['10.0.0.1', 'shop/web', undefined, undefined, 4, 0.5, 1, 1, 0], ['10.0.0.9', 'shop/web', undefined, undefined, 1, 0, 0, 0, 1]],
    pod: [['10.0.0.1', 'shop/web', undefined, undefined, 4, 0.5, 1, 1, 0], ['10.0.0.9', 'shop/web', undefined, undefined, 1, 0, 0, 0, 1]],
    method: [['10.0.0.1', 'shop/web', 'GET', undefined, 3, 2 / 3, 1, 0, 0], ['10.0.0.1', 'shop/web', 'PUT', undefined, 1, 0, 0, 1, 0], ['10.0.0.9', 'shop/web', 'GET', undefined, 1, 0, 0, 0, 1]],
    route: [['10.0.0.1', 'shop/web', 'GET', '/items/*', 2, 0.5, 1, 0, 0], ['10.0.0.1', 'shop/web', 'GET', '/items', 1, 1, 0, 0, 0],
      ['10.0.0.1', 'shop/web', 'PUT', '/items', 1, 0, 0, 1, 0], ['10.0.0.9', 'shop/web', 'GET', '/items', 1, 0, 0, 0, 1]],
  };
  test.each(requestGroupings.map((by) => ({ by })))('by $by, of a live agent and of its flows', ({ by }) => {
    let nowMs = 1_700_000_000_000;
    const observer = new Observer({ nodeName: 'node1', version: '0', lookups: { ...lookups, identity: () => 1 << 24 }, clock: () => nowMs });
    nowMs += 10_000;
    for (const access of asked) observer.access(access, rulesOf);
    const table = new RequestTable(by);
    for (let number = 0; number < observer.ring.next; number += 1) table.addFlow(observer.entries.flow(number)!);
    const live = observer.requests.report(by, 60_000);
    expect(live).toEqual(table.report(10));
    expect(live.rows.map((row) => [row.source, row.destination, row.method, row.route, row.requests, row.success, row.errors, row.forbidden, row.unanswered])).toEqual(tables[by]);
    expect(live.rows[0]).toMatchObject({ perSecond: live.rows[0]!.requests / 10, p50Ms: expect.closeTo(3.4, 0) });
  });

  test.each<{ name: string; flow: Flow }>([
    { name: 'a request', flow: { l7: { type: 1, http: { method: 'GET' } } } }, { name: 'DNS', flow: { l7: { type: 2, dns: {} } } }, { name: 'a packet', flow: {} },
  ])('$name counts nothing', ({ flow }) => {
    const table = new RequestTable('route');
    table.addFlow(flow);
    expect(table.report(1).rows).toEqual([]);
  });
});

describe('the window', () => {
  const counted = (nowMs: { at: number }) => {
    const ring = new RequestRing(() => nowMs.at, (address) => ({ workload: address, pod: address }));
    return { ring, requests: (sinceMs: number) => ring.report('workload', sinceMs).rows[0]?.requests ?? 0 };
  };

  test('what is older is not counted, and goes after ten minutes', () => {
    const now = { at: 1_000_000_000 };
    const { ring, requests } = counted(now);
    for (let second = 0; second < 1_200; second += 1) {
      ring.add(accessOf());
      now.at += 1_000;
    }
    expect([requests(10_000), requests(60_000), requests(600_000), requests(3_600_000)]).toEqual([10, 60, 600, 600]);
    expect(ring.report('workload', 60_000).seconds).toBe(60);
    now.at += 700_000;
    expect(requests(3_600_000)).toBe(0);
    ring.add(accessOf());
    expect(requests(3_600_000)).toBe(1);
  });

  test('more pairs than find a place are counted', () => {
    const now = { at: 1_000_000_000 };
    const { ring } = counted(now);
    for (let index = 0; index < 20_000; index += 1) ring.add(accessOf({ source: at(`10.1.${index >> 8}.${index & 255}`) }));
    const { rows, others } = ring.report('workload', 60_000);
    expect(rows.reduce((sum, { requests }) => sum + requests, 0) + others).toBe(20_000);
    expect(ring.uncounted).toBe(20_000 - 16_384);
    now.at += 3_600_000;
    ring.add(accessOf());
    expect(ring.report('workload', 60_000)).toMatchObject({ others: 0, rows: [{ requests: 1 }] });
  });
});
