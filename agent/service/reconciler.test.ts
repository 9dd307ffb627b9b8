// The way of frontends and backends into the kernel's maps, on real ones: order, sharing, grace, adoption. What does not fit: limits.test.ts.
import { describe, expect, test } from '@jest/globals';
import { limit } from '../../bpf/types.gen.ts';
import { maglevSize, serviceWorld } from './fixture.ts';
import { keyOfBackend, sourceRangeKey, stateOfBackend } from './maps.ts';

const { maps, agent, backend, keys, frontend, set, inKernel, kernelRow, maglevSlots } = serviceWorld();

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

test('by their weights backends share a Maglev table; another weight is another table', async () => {
  const one = agent();
  const row = frontend('a', '10.219.0.1', keys(1, 2), { maglev: true, weights: [100, 300] });
  const share = (): number => {
    const { maglev } = kernelRow(row);
    return Math.round(100 * maglevSlots(maglev).filter((slot) => slot === 1).length / maglevSize);
  };
  set(one, [row], [backend(1), backend(2)]);
  const before = kernelRow(row).maglev;
  expect(share()).toBe(75);
  set(one, [{ ...row, weights: [300, 100] }], [backend(1), backend(2)]);
  expect([kernelRow(row).maglev === before, share()]).toEqual([false, 25]);
  await one.end();
});

test('tables of another size are made anew by the next agent', async () => {
  const one = agent();
  const row = frontend('a', '10.219.0.1', keys(1, 2), { maglev: true });
  set(one, [row], [backend(1), backend(2)]);
  const before = kernelRow(row).maglev;
  const two = agent(127);
  set(two, [row], [backend(1), backend(2)]);
  expect([kernelRow(row).maglev === before, maglevSlots(kernelRow(row).maglev).length, maps.control.get(0)?.maglev_size]).toEqual([false, 127, 127]);
  for (const agentOf of [one, two]) await agentOf.end();
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
