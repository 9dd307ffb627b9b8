// The way of frontends and backends into the kernel's maps, on real ones: order, sharing, grace, refusal, adoption.
import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { objectPath } from '../../bpf/build.ts';
import { limit } from '../../bpf/types.gen.ts';
import { loadDatapath, type Datapath } from '../datapath/maps.ts';
import { backendKey, frontendKey } from './derive.ts';
import { keyOfBackend, keyOfFrontend, serviceMaps, sourceRangeKey, stateOfBackend, type ServiceMaps } from './maps.ts';
import { ServiceReconciler } from './reconciler.ts';
import { backendTable, frontendTable, type BackendRow, type FrontendRow, type Scope } from './tables.ts';

let datapath: Datapath;
let maps: ServiceMaps;
beforeAll(() => {
  datapath = loadDatapath(objectPath);
  maps = serviceMaps(datapath.object);
});
afterAll(() => { datapath.object.close(); });
beforeEach(() => {
  for (const [key] of maps.frontends.entries()) maps.frontends.delete(key);
  for (const [key] of maps.backends.entries()) maps.backends.delete(key);
  for (const [key] of maps.sourceRanges.entries()) maps.sourceRanges.delete(key);
});

const backend = (index: number, state: BackendRow['state'] = 'active'): BackendRow => ({ key: backendKey(`10.0.${index >> 8}.${index & 255}`, 80, 'TCP'), address: `10.0.${index >> 8}.${index & 255}`, port: 80, protocol: 'TCP', state });
const keys = (...indexes: number[]): string[] => indexes.map((index) => backend(index).key);
const frontend = (service: string, address: string, backends: readonly string[], more: Partial<FrontendRow> = {}): FrontendRow => {
  const scope: Scope = more.scope ?? 'cluster';
  return { key: frontendKey(address, 80, 'TCP', scope), address, port: 80, protocol: 'TCP', scope, service: `shop/${service}`, portName: '', kind: 'ClusterIP', affinitySeconds: 0, local: false, sourceRanges: [], maglev: false, dsr: false, backends, ...more };
};

interface Agent { readonly frontends: ReturnType<typeof frontendTable>; readonly backends: ReturnType<typeof backendTable>; readonly reconciler: ServiceReconciler; readonly log: string[]; readonly pass: () => Promise<void>; readonly end: () => Promise<void> }

/** Its grace periods pass when they are told to. */
function agent(on = maps): Agent {
  const [frontends, backends] = [frontendTable(), backendTable()];
  const log: string[] = [];
  let waiting: (() => void)[] = [];
  const reconciler = new ServiceReconciler({
    maps: on, frontends, backends, maglevSize: 251, log: (line) => { log.push(line); }, grace: () => new Promise((resolve) => { waiting.push(resolve); }),
  });
  const pass = async (): Promise<void> => {
    await new Promise(setImmediate);
    await new Promise(setImmediate);
    for (const go of waiting.splice(0)) go();
    waiting = [];
    await new Promise(setImmediate);
  };
  const end = async (): Promise<void> => {
    const stopped = reconciler.stop();
    await pass();
    await stopped;
  };
  return { frontends, backends, reconciler, log, pass, end };
}
const set = ({ frontends, backends, reconciler }: Agent, rows: readonly FrontendRow[], ends: readonly BackendRow[]): void => {
  backends.replace(ends);
  frontends.replace(rows);
  reconciler.apply();
};
/** As a program finds it. */
const inKernel = (on = maps): Record<string, string[]> => Object.fromEntries(on.frontends.entries().map(([key, value]) => [keyOfFrontend(key)!,
  on.slots.range(value.first, value.count).map((number) => { const row = on.backends.get(number); return row === undefined ? `${number}?` : keyOfBackend(row); })]).sort(([a], [b]) => (a! < b! ? -1 : 1)) as [string, string[]][]);
const kernelRow = (row: FrontendRow) => maps.frontends.entries().find(([key]) => keyOfFrontend(key) === row.key)![1];

test('what the tables say is what a program finds', async () => {
  const one = agent();
  set(one, [frontend('a', '10.218.0.1', keys(1, 2)), frontend('b', '10.218.0.2', keys(2, 3)), frontend('c', '10.218.0.3', []), frontend('d', 'fd77::1', keys(1), { scope: 'external' })], [1, 2, 3].map((index) => backend(index)));
  expect(inKernel()).toEqual({ '10.218.0.1:80/TCP cluster': keys(1, 2), '10.218.0.2:80/TCP cluster': keys(2, 3), '10.218.0.3:80/TCP cluster': [], '[fd77::1]:80/TCP external': keys(1) });
  set(one, [frontend('a', '10.218.0.1', keys(3))], [backend(3)]);
  expect(inKernel()).toEqual({ '10.218.0.1:80/TCP cluster': keys(3) });
  await one.end();
});

test('frontends of one service with the same backends share their slots; those of another do not', async () => {
  const one = agent();
  const rows = [frontend('a', '10.218.0.1', keys(1, 2)), frontend('a', '10.219.0.1', keys(1, 2), { kind: 'LoadBalancer' }), frontend('b', '10.218.0.2', keys(1, 2))];
  set(one, rows, [backend(1), backend(2)]);
  const [first, second, other] = rows.map(kernelRow);
  expect([second!.first, second!.service]).toEqual([first!.first, first!.service]);
  expect(other!.first).not.toBe(first!.first);
  expect(one.reconciler.usage.slotsFree).toBe(limit.MAX_SERVICE_SLOTS - 4);
  await one.end();
});

test('slots and numbers stay as they are until a grace period has passed', async () => {
  const one = agent();
  const row = frontend('a', '10.218.0.1', keys(1, 2));
  set(one, [row], [backend(1), backend(2)]);
  const before = kernelRow(row);
  const numbers = maps.slots.range(before.first, 2);
  set(one, [frontend('a', '10.218.0.1', keys(3, 4))], [backend(3), backend(4)]);
  const after = kernelRow(row);
  expect(after.first).not.toBe(before.first);
  expect(maps.slots.range(before.first, 2)).toEqual(numbers);
  expect(numbers.map((number) => maps.backends.get(number) !== undefined)).toEqual([true, true]);
  expect(one.reconciler.usage.slotsFree).toBe(limit.MAX_SERVICE_SLOTS - 4);
  await one.pass();
  expect(numbers.map((number) => maps.backends.get(number))).toEqual([undefined, undefined]);
  expect(one.reconciler.usage.slotsFree).toBe(limit.MAX_SERVICE_SLOTS - 2);
  await one.end();
});

test('a backend that ends keeps its number and its count', async () => {
  const one = agent();
  set(one, [frontend('a', '10.218.0.1', keys(1, 2))], [backend(1), backend(2)]);
  const number = one.reconciler.backendNumber(backend(2).key)!;
  maps.backends.set(number, { ...maps.backends.get(number)!, connections: 7 });
  set(one, [frontend('a', '10.218.0.1', keys(1))], [backend(1), backend(2, 'terminating')]);
  const row = maps.backends.get(number)!;
  expect([stateOfBackend(row), row.connections, one.reconciler.backendNumber(backend(2).key)]).toEqual(['terminating', 7, number]);
  await one.end();
});

test('source ranges come before and go after', async () => {
  const one = agent();
  const row = frontend('a', '10.219.0.1', keys(1), { kind: 'LoadBalancer', scope: 'external', sourceRanges: ['10.0.0.0/8', '2001:db8::/32'] });
  set(one, [row], [backend(1)]);
  const { service, flags } = kernelRow(row);
  expect([flags & 1, maps.sourceRanges.get(sourceRangeKey(service, '10.0.0.0/8')), maps.sourceRanges.get(sourceRangeKey(service, '2001:db8::/32'))]).toEqual([1, 1, 1]);
  set(one, [{ ...row, sourceRanges: ['10.0.0.0/8'] }], [backend(1)]);
  expect(maps.sourceRanges.entries()).toHaveLength(1);
  await one.end();
});

test('a Maglev table for those that ask for one, another for each change', async () => {
  const one = agent();
  const row = frontend('a', '10.219.0.1', keys(1, 2), { scope: 'external', maglev: true });
  set(one, [row], [backend(1), backend(2)]);
  const before = kernelRow(row).maglev;
  expect(before).toBeGreaterThan(0);
  set(one, [{ ...row, backends: keys(1) }], [backend(1)]);
  expect(kernelRow(row).maglev).not.toBe(before);
  expect(kernelRow(row).maglev).toBeGreaterThan(0);
  set(one, [{ ...row, backends: [] }], []);
  expect(kernelRow(row).maglev).toBe(0);
  await one.pass();
  await one.pass();
  expect(one.reconciler.usage.maglevFree).toBe(limit.MAX_MAGLEV_TABLES - 1);
  await one.end();
});

describe('what does not fit is refused whole, the rest untouched', () => {
  test('slots', async () => {
    const one = agent();
    const ends = Array.from({ length: 10_000 }, (_, index) => backend(index));
    const all = ends.map(({ key }) => key);
    const large = (index: number): FrontendRow => frontend(`large${index}`, `10.218.1.${index}`, all);
    one.backends.write(ends);
    one.frontends.write([frontend('small', '10.218.0.1', keys(1)), ...Array.from({ length: 53 }, (_, index) => large(index))]);
    one.reconciler.apply();
    expect([one.reconciler.refusal('shop/large51'), one.reconciler.usage.frontends, one.log.length]).toEqual([undefined, 53, 1]);
    expect(one.reconciler.refusal('shop/large52')).toMatch(/no room for its 1 frontends: \d+ places for backends/);
    // What goes makes room, a grace period later.
    one.frontends.write([], [large(7).key]);
    one.reconciler.apply();
    expect(one.reconciler.usage.refused).toBe(1);
    await one.pass();
    one.reconciler.apply();
    expect([one.reconciler.usage.refused, one.reconciler.usage.frontends]).toEqual([0, 53]);
    await one.end();
  }, 60_000);
});

describe('an agent after one that died', () => {
  test.each([
    ['the same', keys(1, 2), true],
    ['with other backends', keys(2, 3), false],
  ])('%s: numbers stay, what is gone goes, nothing that is read is overwritten', async (_, backends, place) => {
    const one = agent();
    const row = frontend('a', '10.219.0.1', keys(1, 2), { scope: 'external', kind: 'LoadBalancer', maglev: true, sourceRanges: ['10.0.0.0/8'] });
    const gone = frontend('gone', '10.218.0.9', keys(9));
    set(one, [row, gone], [backend(1), backend(2), backend(9)]);
    const before = kernelRow(row);
    const number = one.reconciler.backendNumber(backend(2).key);
    maps.backends.set(number!, { ...maps.backends.get(number!)!, connections: 5 });

    const indexes = backends.map((key) => Number(/\.(\d+):/.exec(key)![1]));
    const two = agent();
    const old = maps.slots.range(before.first, before.count);
    set(two, [{ ...row, backends }], indexes.map((index) => backend(index)));
    const after = kernelRow(row);
    expect([after.service, after.first === before.first, after.maglev === before.maglev]).toEqual([before.service, place, place]);
    expect(inKernel()).toEqual({ [row.key]: backends });
    expect(maps.slots.range(before.first, before.count)).toEqual(old);
    expect([two.reconciler.backendNumber(backend(2).key), maps.backends.get(number!)!.connections]).toEqual([number, 5]);
    await two.pass();
    expect(maps.backends.entries().map(([, value]) => keyOfBackend(value)).sort()).toEqual([...backends].sort());
    expect(maps.sourceRanges.entries()).toHaveLength(1);
    expect(two.reconciler.usage.slotsFree).toBe(limit.MAX_SERVICE_SLOTS - 2);
    for (const agentOf of [one, two]) await agentOf.end();
  });

  test('nothing goes before the tables are complete', async () => {
    const one = agent();
    set(one, [frontend('a', '10.218.0.1', keys(1))], [backend(1)]);
    const two = agent();
    two.frontends.expect('manifests');
    two.reconciler.apply();
    expect(inKernel()).toEqual({ '10.218.0.1:80/TCP cluster': keys(1) });
    for (const agentOf of [one, two]) await agentOf.end();
  });
});
