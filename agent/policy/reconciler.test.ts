// The way of an image into the kernel's maps: fresh numbers, one flip, clean retreat. On real maps.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { Bench } from '../../bpf/testing/bench.ts';
import { limit } from '../../bpf/types.gen.ts';
import { ConfigError } from '../errors.ts';
import { ipcacheKey } from '../ipcache/address.ts';
import type { IpcacheRow } from '../ipcache/tables.ts';
import type { EndpointRow } from '../endpoint/tables.ts';
import type { Interval, MergedPolicy, PeerClass, PolicyImage } from './image.ts';
import { PolicyReconciler } from './reconciler.ts';

let bench: Bench;
let reconciler: PolicyReconciler;
beforeAll(() => {
  bench = new Bench();
  reconciler = new PolicyReconciler(bench.datapath);
});
afterAll(() => { bench.close(); });

const ref = { policy: { kind: 'CiliumNetworkPolicy', namespace: 'default', name: 'p' }, path: 'spec.ingress[0]', action: 'allow' as const };
/** Bit n is for peer set n. */
const policyOf = (key: string, intervals: readonly Interval[] = [{ lower: 0, steps: [{ word: 0, mask: 1n, action: 'allow' }] }], bits = 1): MergedPolicy => ({
  key, direction: 'ingress', words: Math.ceil(bits / 64), defaultAction: 'default-deny', intervals, names: [], l7: new Map(), enforcedBy: [],
  rules: new Array<typeof ref>(bits).fill(ref), peerSets: Array.from({ length: bits }, (_, bit) => bit),
});
const peers = (key: string, ...sets: number[]): PeerClass => ({ key, sets: new Set(sets), row: () => [] });

function imageOf(policies: readonly MergedPolicy[], classes: readonly PeerClass[], identities: Record<number, string>): PolicyImage {
  return {
    policies: new Map(policies.map((one) => [one.key, one])), classes: new Map(classes.map((one) => [one.key, one])),
    classOfIdentity: new Map(Object.entries(identities).map(([id, key]) => [Number(id), key])),
    ofEndpoint: new Map(policies[0] === undefined ? [] : [[1, { ingress: policies[0].key }]]), prefixes: new Map(),
  };
}
const prefix = (text: string, identity: number): IpcacheRow => ({ prefix: text, identity, ifindex: 0, host: false, origin: 'policy' });
const world = prefix('0.0.0.0/0', 9);
const endpoint = { id: 1, key: 'default/a', uid: 'u', identity: 300, ipv4: '10.0.0.1', ipv6: 'fd00::1', ifindex: 77, mac: '02:00:00:00:00:01', hostMac: '02:00:00:00:00:02' } as EndpointRow;
const row = (text: string) => bench.datapath.ipcache.get(ipcacheKey(text));
const some = imageOf([policyOf('a')], [peers('all', 0), peers('none')], { 9: 'none', 300: 'all', 500: 'all' });

describe('PolicyReconciler', () => {
  test('a new prefix says what held before: the prefix around it; one that goes says what holds from then on', async () => {
    await reconciler.apply(some, [world], [endpoint]);
    const { generation } = await reconciler.apply(some, [world, prefix('10.0.0.0/8', 500)], [endpoint]);
    const none = reconciler.numbers.classId('none');
    const all = reconciler.numbers.classId('all');
    expect(row('10.0.0.0/8')).toMatchObject({ since: generation, peer: [{ identity: 9, class_id: none }, { identity: 500, class_id: all }] });
    await reconciler.apply(some, [world], [endpoint]);
    // A look-up is by the longest prefix: what answers now is the one around it.
    expect(row('10.0.0.0/8')).toEqual(row('0.0.0.0/0'));
  });

  test('what did not change is not written', async () => {
    const { prefixes, endpoints } = await reconciler.apply(some, [world], [endpoint]);
    expect([prefixes, endpoints]).toEqual([0, 0]);
  });

  test('numbers in use are not rewritten: the endpoint knows both policies until the next flip', async () => {
    const before = reconciler.numbers.policyId('a');
    const { generation } = await reconciler.apply(imageOf([policyOf('b')], [peers('all', 0)], { 9: 'all' }), [world], [endpoint]);
    const after = reconciler.numbers.policyId('b');
    expect(after).not.toBe(before);
    expect(bench.datapath.endpoints.get(77)).toMatchObject({ since: generation, ingress_policy: [before, after], egress_policy: [0, 0] });
    expect(bench.datapath.control.get(0)).toEqual({ generation, audits: 0 });
    expect(reconciler.numbers.policyOf(before)?.key).toBe('a');
  });

  const many = (count: number): Interval[] => Array.from({ length: count }, (_, lower) => ({ lower, steps: [] }));
  const steps = Array.from({ length: limit.POLICY_STEPS + 1 }, (_, word) => ({ word, mask: 1n, action: 'allow' as const }));
  const times = (count: number, make: (index: number) => MergedPolicy): PolicyImage => imageOf(Array.from({ length: count }, (_, index) => make(index)), [], {});
  const addresses = (count: number): IpcacheRow[] => Array.from({ length: count }, (_, index) => prefix(`10.${index >> 16}.${(index >> 8) & 255}.${index & 255}/32`, 9));
  const ends = (count: number): EndpointRow[] => Array.from({ length: count }, (_, index) => ({ ...endpoint, ifindex: 1_000 + index }));
  const ours = imageOf([policyOf('b')], [peers('all', 0)], { 9: 'all' });
  test.each<[string, PolicyImage, RegExp, IpcacheRow[]?, EndpointRow[]?]>([
    ['too many intervals in one policy', imageOf([policyOf('big', many(limit.POLICY_INTERVALS + 1))], [], {}), /16385 port intervals, at most 16384 fit.*join/],
    ['too many steps on one port', imageOf([policyOf('deep', [{ lower: 0, steps }], steps.length * 64)], [], {}), /2112 rules on one port, at most about 1024 fit.*join/],
    ['too many rules in one policy', imageOf([policyOf('wide', many(1), limit.ROW_WORDS * 64 + 1)], [], {}), /at most 16384 rules over all different sets.*remove/],
    ['too many rules together', times(5, (index) => policyOf(`w${index}`, many(1), 4_000)), /at most 16384 rules over all/],
    ['too many intervals together', times(9, (index) => policyOf(`p${index}`, many(16_000))), /at most 131071 port intervals over all.*remove/],
    ['too many policies', times(limit.MAX_POLICIES, (index) => policyOf(`n${index}`)), /at most 8191 different sets of rules.*remove/],
    ['too many classes', imageOf([], Array.from({ length: limit.MAX_CLASSES }, (_, index) => peers(`c${index}`)), {}), /more than 16383 classes.*fewer/],
    ['too many prefixes', ours, /262145 addresses and prefixes.*at most 262144.*fewer/, addresses(limit.MAX_PREFIXES)],
    ['too many endpoints', ours, /16385 endpoints.*at most 16384/, [], ends(limit.MAX_ENDPOINTS)],
  ])('%s: refused whole, the old state stands', async (name, image, message, prefixes = [], endpoints = []) => {
    await reconciler.apply(ours, [world], [endpoint]);
    const generation = reconciler.generation;
    const kept = reconciler.numbers.policyId('b');
    const before = [bench.datapath.policies.get(kept), bench.datapath.endpoints.get(77), row('0.0.0.0/0')];
    const refused = await reconciler.apply(image, [world, ...prefixes], [endpoint, ...endpoints]).then(() => 'taken', (error: unknown) =>
      (error instanceof ConfigError ? `${error.message}: ${error.mend}` : error));
    expect(refused).toEqual(expect.stringMatching(message));
    expect([reconciler.generation, reconciler.numbers.policyId('b')]).toEqual([generation, kept]);
    expect([bench.datapath.policies.get(kept), bench.datapath.endpoints.get(77), row('0.0.0.0/0')]).toEqual(before);
    // Nothing leaked: what was there fits still.
    await reconciler.apply(ours, [world], [endpoint]);
    expect(reconciler.numbers.policyId('b')).toBe(kept);
    await reconciler.apply(imageOf([policyOf('b'), policyOf(`after ${name}`)], [peers('all', 0), peers(`after ${name}`)], { 9: 'all', 500: `after ${name}` }), [world], [endpoint]);
  }, 60_000);

  test('an endpoint that goes leaves the map', async () => {
    await reconciler.apply(imageOf([], [], {}), [world], []);
    expect(bench.datapath.endpoints.get(77)).toBeUndefined();
  });
});

describe('an agent that follows one that died', () => {
  const folder = mkdtempSync(join(tmpdir(), 'weir-numbers-'));
  const path = join(folder, 'numbers.json');
  afterAll(() => { rmSync(folder, { recursive: true }); });
  const first = imageOf([policyOf('a'), policyOf('b')], [peers('all', 0), peers('none')], { 9: 'none', 300: 'all', 500: 'all' });
  const rows = [world, prefix('10.0.0.1/32', 300)];
  const died = async (): Promise<PolicyReconciler> => {
    const one = new PolicyReconciler(bench.datapath, path);
    one.adopt([endpoint]);
    await one.apply(first, rows, [endpoint]);
    return one;
  };
  const next = (): PolicyReconciler => {
    const one = new PolicyReconciler(bench.datapath, path);
    one.adopt([endpoint]);
    return one;
  };

  test('finds its numbers again and writes nothing but the generation', async () => {
    const before = await died();
    const after = next();
    expect(await after.apply(first, rows, [endpoint])).toEqual({ generation: before.generation + 1, prefixes: 0, endpoints: 0 });
    expect(after.numbers.policyId('a')).toBe(before.numbers.policyId('a'));
    expect(['all', 'none'].map((key) => after.numbers.classId(key))).toEqual(['all', 'none'].map((key) => before.numbers.classId(key)));
  });

  test.each([
    ['the names are lost', () => { rmSync(path, { force: true }); }],
    ['a name leads to other rows', () => { writeFileSync(path, readFileSync(path, 'utf8').replace('"a"', '"b"').replace('"all"', '"none"')); }],
  ])('%s: what is in force keeps its rows until the flip, and they are free after it', async (_, spoil) => {
    const before = await died();
    const old = before.numbers.policyId('a');
    const class_id = before.numbers.classId('all');
    spoil();
    const after = next();
    const other = imageOf([policyOf('a', [{ lower: 0, steps: [{ word: 0, mask: 2n, action: 'deny' }] }], 2)], [peers('all', 0, 1), peers('none')], { 9: 'none', 300: 'all' });
    const { generation } = await after.apply(other, rows, [endpoint]);
    const fresh = after.numbers.policyId('a');
    expect(fresh).not.toBe(old);
    expect(bench.datapath.endpoints.get(77)).toMatchObject({ since: generation, ingress_policy: [old, fresh] });
    expect(row('10.0.0.1/32')).toMatchObject({ since: generation, peer: [{ class_id }, { class_id: after.numbers.classId('all') }] });
    expect(after.numbers.classId('all')).not.toBe(class_id);
  });

  test('a flip that never came does not come with the next one', async () => {
    const before = await died();
    const key = ipcacheKey('10.0.0.1/32');
    const good = bench.datapath.ipcache.get(key)!;
    const end = bench.datapath.endpoints.get(77)!;
    const since = before.generation + 1;
    bench.datapath.ipcache.set(key, { ...good, peer: [good.peer[1]!, { identity: 666, class_id: 0 }], since });
    bench.datapath.endpoints.set(77, { ...end, ingress_policy: [end.ingress_policy[1]!, 0], since });
    const { generation } = await next().apply(first, rows, [endpoint]);
    expect(generation).toBe(since);
    expect(row('10.0.0.1/32')?.peer).toEqual([good.peer[1], good.peer[1]]);
    expect(bench.datapath.endpoints.get(77)?.ingress_policy).toEqual([end.ingress_policy[1], end.ingress_policy[1]]);
  });

  test('rows that nobody wants any more go with the first flip; a change that does not fit leaves all as it was', async () => {
    await died();
    const after = next();
    const wide = imageOf([policyOf('wide', [{ lower: 0, steps: [] }], limit.ROW_WORDS * 64 + 1)], [], {});
    const old = bench.datapath.endpoints.get(77);
    await expect(after.apply(wide, rows, [endpoint])).rejects.toThrow(/do not fit/);
    expect(bench.datapath.endpoints.get(77)).toEqual(old);
    await after.apply(first, [world], []);
    expect([bench.datapath.endpoints.get(77), row('10.0.0.1/32')]).toEqual([undefined, row('0.0.0.0/0')]);
  });

  test('rows that overlap are refused', async () => {
    const before = await died();
    const used = bench.datapath.endpoints.get(77)!;
    const a = bench.datapath.policies.get(before.numbers.policyId('a'))!;
    bench.datapath.policies.set(4_000, a);
    bench.datapath.endpoints.set(78, { ...used, ingress_policy: [4_000, 4_000] });
    expect(() => { next(); }).toThrow(/overlaps/);
    bench.datapath.endpoints.delete(78);
  });
});
