// What is more than the kernel's maps of services hold: refused whole and said, before anything of it is written; the rest is untouched.
import { describe, expect, test } from '@jest/globals';
import { serviceWorld } from './fixture.ts';
import type { BackendRow, FrontendRow } from './tables.ts';

const most = { frontends: 100, backends: 200, service_slots: 1_000, maglev_tables: 9, source_ranges: 16 } as const;
const { maps, agent, backend, keys, frontend, set, inKernel, kernelRow } = serviceWorld(most);
const small = frontend('small', '10.218.0.1', keys(1));

/** As many frontends of one service. */
const many = (service: string, count: number, first = 0): FrontendRow[] => Array.from({ length: count }, (_, index) => frontend(service, `10.219.0.${first + index}`, keys(1)));
const ends = (count: number): BackendRow[] => Array.from({ length: count }, (_, index) => backend(index + 1));
const large = (service: string, address: string, count: number): FrontendRow => frontend(service, address, ends(count).map(({ key }) => key));

interface Row { readonly name: string; readonly fits: readonly FrontendRow[]; readonly tooMany: readonly FrontendRow[]; readonly backends: number; readonly message: RegExp }
const rows: readonly Row[] = [
  { name: 'frontends', fits: [small, ...many('full', 98)], tooMany: many('more', 2, 200), backends: 1, message: /101 frontends, at most 100 fit/ },
  { name: 'backends', fits: [small], tooMany: [large('more', '10.218.0.2', 200)], backends: 200, message: /more than 199 backends/ },
  { name: 'places for backends', fits: [small, ...Array.from({ length: 9 }, (_, index) => large(`full${index}`, `10.218.1.${index}`, 100))], tooMany: [large('more', '10.218.0.2', 100)], backends: 100,
    message: /no room for its 1 frontends: 99 places for backends and 8 Maglev tables are left/ },
  { name: 'Maglev tables', fits: [small, ...Array.from({ length: 7 }, (_, index) => frontend(`full${index}`, `10.218.1.${index}`, keys(1), { maglev: true }))],
    tooMany: [frontend('more', '10.218.0.2', keys(1), { maglev: true }), frontend('more', '10.218.0.3', keys(2), { maglev: true })], backends: 2, message: /no room for its 2 frontends: 992 places for backends and 1 Maglev tables/ },
  { name: 'source ranges', fits: [small], tooMany: [frontend('more', '10.218.0.2', keys(1), { sourceRanges: Array.from({ length: 17 }, (_, index) => `10.0.0.${index}/32`) })], backends: 1,
    message: /17 source ranges, at most 16 fit/ },
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
    expect(one.reconciler.usage.slotsFree).toBe(free);
    // The rest goes on changing.
    one.frontends.write([{ ...small, affinitySeconds: 7 }], tooMany.map(({ key }) => key));
    one.reconciler.apply();
    expect([kernelRow(small).affinity_seconds, one.reconciler.usage.refused]).toEqual([7, 0]);
    await one.end();
  });

  test('what goes makes room a grace period later, and whoever waited has it', async () => {
    const one = agent();
    set(one, [small, ...Array.from({ length: 10 }, (_, index) => large(`large${index}`, `10.218.1.${index}`, 100))], ends(100));
    expect([one.reconciler.refusal('shop/large8'), one.reconciler.usage.frontends]).toEqual([undefined, 10]);
    one.frontends.write([], [large('large7', '10.218.1.7', 0).key]);
    one.reconciler.apply();
    expect(one.reconciler.usage.refused).toBe(1);
    await one.pass();
    expect([one.reconciler.usage.refused, one.reconciler.usage.frontends]).toEqual([0, 10]);
    await one.end();
  });

  test('frontends that change places in a full map', async () => {
    const one = agent();
    set(one, [small, ...many('full', 99)], ends(1));
    const next = [{ ...small, key: small.key.replace('10.218.0.1', '10.218.0.9'), address: '10.218.0.9' }];
    one.frontends.write(next, [small.key]);
    one.reconciler.apply();
    expect(one.reconciler.refusal('shop/small')).toMatch(/101 frontends/);
    one.frontends.write([], many('full', 1).map(({ key }) => key));
    one.reconciler.apply();
    await one.pass();
    expect([one.reconciler.usage.refused, inKernel()[next[0]!.key]]).toEqual([0, keys(1)]);
    await one.end();
  });
});

test('a backend that comes and goes takes no number twice within the rest, and no more places', async () => {
  const one = agent();
  const row = frontend('flap', '10.218.0.2', keys(1, 2));
  const free = most.service_slots - 2;
  for (let flap = 0; flap < 200; flap += 1) {
    const there = flap % 2 === 1;
    set(one, [there ? row : { ...row, backends: keys(1) }], there ? ends(2) : ends(1));
    await one.pass();
  }
  expect([one.log, inKernel()[row.key], one.reconciler.usage.slotsFree, maps.backends.entries().length]).toEqual([[], keys(1, 2), free, 2]);
  expect(one.reconciler.backendNumber(backend(2).key)).toBe(101);
  await one.end();
});
