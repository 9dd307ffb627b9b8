// What is more than the kernel's maps of services hold: refused whole and said, before anything of it is written; the rest is untouched.
import { describe, expect, test } from '@jest/globals';
import { limit } from '../../bpf/types.gen.ts';
import { serviceWorld } from './fixture.ts';
import type { BackendRow, FrontendRow } from './tables.ts';

const { maps, agent, backend, keys, frontend, set, inKernel, kernelRow } = serviceWorld();
const small = frontend('small', '10.218.0.1', keys(1));
const timeoutMs = 60_000;

/** As many frontends of one service. */
const many = (service: string, count: number, first = 0): FrontendRow[] => Array.from({ length: count }, (_, index) =>
  frontend(service, `10.219.${(first + index) >> 8 & 255}.${(first + index) & 255}`, keys(1), { port: 1 + ((first + index) >> 16) }));
const ends = (count: number): BackendRow[] => Array.from({ length: count }, (_, index) => backend(index + 1));

interface Row { readonly name: string; readonly fits: readonly FrontendRow[]; readonly tooMany: readonly FrontendRow[]; readonly backends: number; readonly message: RegExp }
const large = (service: string, address: string, count: number): FrontendRow => frontend(service, address, Array.from({ length: count }, (_, index) => backend(index + 1).key));
const rows: readonly Row[] = [
  { name: 'frontends', fits: [small, ...many('full', limit.MAX_FRONTENDS - 2)], tooMany: many('more', 2, limit.MAX_FRONTENDS), backends: 1, message: /131073 frontends, at most 131072 fit/ },
  { name: 'backends', fits: [small], tooMany: [large('more', '10.218.0.2', limit.MAX_BACKENDS + 1)], backends: limit.MAX_BACKENDS + 1, message: /more than 262143 backends/ },
  { name: 'places for backends', fits: [small, ...Array.from({ length: 52 }, (_, index) => large(`full${index}`, `10.218.1.${index}`, 10_000))], tooMany: [large('more', '10.218.0.2', 10_000)], backends: 10_000,
    message: /no room for its 1 frontends: 4287 places for backends and 4095 Maglev tables are left/ },
  { name: 'Maglev tables', fits: [small, ...Array.from({ length: limit.MAX_MAGLEV_TABLES - 2 }, (_, index) => frontend(`full${index}`, `10.218.${1 + (index >> 8)}.${index & 255}`, keys(1), { maglev: true }))],
    tooMany: [frontend('more', '10.218.0.2', keys(1), { maglev: true }), frontend('more', '10.218.0.3', keys(2), { maglev: true })], backends: 2, message: /no room for its 2 frontends: \d+ places for backends and 0 Maglev tables/ },
  { name: 'source ranges', fits: [small], backends: 1, message: /65537 source ranges, at most 65536 fit/,
    tooMany: [frontend('more', '10.218.0.2', keys(1), { sourceRanges: Array.from({ length: limit.MAX_SOURCE_RANGES + 1 }, (_, index) => `10.${index >> 16}.${index >> 8 & 255}.${index & 255}/32`) })] },
];

describe('what does not fit is refused whole, the rest untouched', () => {
  test.each(rows)('$name', async ({ fits, tooMany, backends, message }) => {
    const one = agent();
    one.backends.write(ends(backends));
    one.frontends.write(fits);
    one.reconciler.apply();
    expect([one.log, one.reconciler.usage.frontends, maps.frontends.entries().length]).toEqual([[], fits.length, fits.length]);
    const [standing, free] = [kernelRow(small), one.reconciler.usage.slotsFree];
    one.frontends.write(tooMany);
    one.reconciler.apply();
    expect(one.reconciler.refusal('shop/more')).toMatch(message);
    expect([one.log.length, one.reconciler.usage.frontends, maps.frontends.entries().length]).toEqual([1, fits.length, fits.length]);
    expect([kernelRow(small), maps.sourceRanges.entries().length]).toEqual([standing, 0]);
    await one.pass();
    expect(one.reconciler.usage.slotsFree).toBe(free);
    // The rest goes on changing.
    one.frontends.write([{ ...small, affinitySeconds: 7 }], tooMany.map(({ key }) => key));
    one.reconciler.apply();
    expect([kernelRow(small).affinity_seconds, one.reconciler.usage.refused]).toEqual([7, 0]);
    await one.end();
  }, timeoutMs);

  test('what goes makes room a grace period later, and whoever waited has it', async () => {
    const one = agent();
    set(one, [small, ...Array.from({ length: 53 }, (_, index) => large(`large${index}`, `10.218.1.${index}`, 10_000))], ends(10_000));
    expect([one.reconciler.refusal('shop/large51'), one.reconciler.usage.frontends]).toEqual([undefined, 53]);
    one.frontends.write([], [large('large7', '10.218.1.7', 0).key]);
    one.reconciler.apply();
    expect(one.reconciler.usage.refused).toBe(1);
    await one.pass();
    expect([one.reconciler.usage.refused, one.reconciler.usage.frontends]).toEqual([0, 53]);
    await one.end();
  }, timeoutMs);

  test('frontends that change places in a full map', async () => {
    const one = agent();
    set(one, [small, ...many('full', limit.MAX_FRONTENDS - 1)], ends(1));
    const next = [{ ...small, key: small.key.replace('10.218.0.1', '10.218.0.9'), address: '10.218.0.9' }];
    one.frontends.write(next, [small.key]);
    one.reconciler.apply();
    expect(one.reconciler.refusal('shop/small')).toMatch(/131073 frontends/);
    one.frontends.write([], many('full', 1).map(({ key }) => key));
    one.reconciler.apply();
    await one.pass();
    expect([one.reconciler.usage.refused, inKernel()[next[0]!.key]]).toEqual([0, keys(1)]);
    await one.end();
  }, timeoutMs);
});

test('100,000 backends of one service', async () => {
  const one = agent();
  const row = large('large', '10.218.0.2', 100_000);
  set(one, [row], ends(100_000));
  expect([one.log, inKernel()[row.key]!.length, maps.backends.entries().length]).toEqual([[], 100_000, 100_000]);
  set(one, [{ ...row, backends: row.backends.slice(1) }], ends(100_000).slice(1));
  await one.pass();
  expect([one.log, inKernel()[row.key]!.length, maps.backends.entries().length]).toEqual([[], 99_999, 99_999]);
  await one.end();
}, timeoutMs);

test('a backend that comes and goes takes no number twice within the rest, and no more places', async () => {
  const one = agent();
  const row = frontend('flap', '10.218.0.2', keys(1, 2));
  const free = limit.MAX_SERVICE_SLOTS - 2;
  for (let flap = 0; flap < 1_000; flap += 1) {
    const there = flap % 2 === 1;
    set(one, [there ? row : { ...row, backends: keys(1) }], there ? ends(2) : ends(1));
    await one.pass();
  }
  expect([one.log, inKernel()[row.key], one.reconciler.usage.slotsFree, maps.backends.entries().length]).toEqual([[], keys(1, 2), free, 2]);
  expect(one.reconciler.backendNumber(backend(2).key)).toBe(501);
  await one.end();
}, timeoutMs);
