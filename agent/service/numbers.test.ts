// Numbers of services, from the maps of one agent into those of the next, which are others.
import { mkdirSync, rmSync } from 'node:fs';
import { afterAll, expect, test } from '@jest/globals';
import { objectPath } from '../../bpf/build.ts';
import { loadDatapath } from '../datapath/maps.ts';
import { agentOn, serviceWorld } from './fixture.ts';
import { keyOfFrontend, serviceMaps } from './maps.ts';
import { numbersIn } from './numbers.ts';

const { maps, backend, keys, frontend, set } = serviceWorld({ frontends: 100 });
const pinDir = `/sys/fs/bpf/weir/test-numbers-${process.pid}`;
mkdirSync(pinDir, { recursive: true });
const old = loadDatapath(objectPath, { pinDir });
const before = serviceMaps(old.object);
afterAll(() => {
  old.object.close();
  rmSync(pinDir, { recursive: true });
});

const [a, b, c] = ['a', 'b', 'c'].map((name, index) => frontend(name, `10.218.0.${index}`, keys(1), { affinitySeconds: 60 })) as [ReturnType<typeof frontend>, ReturnType<typeof frontend>, ReturnType<typeof frontend>];
const own = (from: typeof maps): Record<string, number> => Object.fromEntries(from.frontends.entries().map(([key, { service }]) => [keyOfFrontend(key)!, service]));

test('a service keeps its number, whatever came first; a new one gets none of those', async () => {
  const one = agentOn(before);
  set(one, [a, b, c], [backend(1)]);
  const were = own(before);
  expect(new Set(Object.values(were)).size).toBe(3);
  const two = agentOn(maps, undefined, numbersIn(pinDir));
  const d = frontend('d', '10.218.0.9', keys(1));
  set(two, [d, c, b], [backend(1)]);
  const now = own(maps);
  expect([now[b.key], now[c.key], Object.values(were).includes(now[d.key]!)]).toEqual([were[b.key], were[c.key], false]);
  for (const agent of [one, two]) await agent.end();
});

test('a version that had no Services', () => { expect(numbersIn('/sys/fs/bpf/weir/none')).toEqual(new Map()); });
