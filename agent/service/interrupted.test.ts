// An agent that is killed while it changes 10,000 services: whatever moment it was, each service stands in the kernel as it was before or as it should
// be, never half of one; and the next agent makes all of them what they should be.
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, rmSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { objectPath } from '../../bpf/build.ts';
import { loadDatapath, type Datapath } from '../datapath/maps.ts';
import { mappedBytes, textOf } from '../ipcache/address.ts';
import { addressOf, backendsEach, portOf, serviceCount, writerOn } from './interrupted-writer.ts';
import { serviceMaps, type ServiceMaps } from './maps.ts';

const pinDir = `/sys/fs/bpf/weir/test-interrupted-${process.pid}`;
const startMs = 30_000;
let datapath: Datapath;
let maps: ServiceMaps;
let child: ChildProcess | undefined;
beforeAll(() => {
  mkdirSync(pinDir, { recursive: true });
  datapath = loadDatapath(objectPath, { pinDir });
  maps = serviceMaps(datapath.object);
});
afterAll(() => {
  child?.kill('SIGKILL');
  datapath.object.close();
  rmSync(pinDir, { recursive: true });
});

interface Found { readonly services: number; readonly wrong: readonly string[]; readonly versions: ReadonlySet<number> }

/** What a program finds: each frontend, its slots, the backends that they name. */
function look(): Found {
  const backends = new Map(maps.backends.entries());
  const wrong: string[] = [];
  const versions = new Set<number>();
  const frontends = maps.frontends.entries();
  for (const [{ addr }, { first, count }] of frontends) {
    const address = textOf(addr.word);
    const own = address.split('.').slice(2).join('.');
    const found = maps.slots.range(first, count).map((number) => backends.get(number));
    const ports = new Set(found.map((backend) => backend?.port));
    const places = found.map((backend) => (backend === undefined ? 'gone' : textOf(backend.addr.word)));
    const whole = Array.from({ length: backendsEach }, (_, index) => `10.${100 + index}.${own}`);
    if (ports.size !== 1 || places.join() !== whole.join()) wrong.push(`${address} -> ${places.join()} ${[...ports].join()}`);
    else versions.add([...ports][0]!);
  }
  return { services: frontends.length, wrong, versions };
}

const firstFrontend = { addr: { word: mappedBytes(addressOf(0)) }, port: 80, protocol: 6, scope: 0 };

/** Spins until the first frontend is another one: the rest is written within milliseconds. */
function untilFrontends(): void {
  const before = maps.frontends.get(firstFrontend)!.first;
  const endMs = performance.now() + startMs;
  while (maps.frontends.get(firstFrontend)!.first === before) if (performance.now() > endMs) throw new Error('nothing is written');
}

/** Kills it as soon as it writes frontends, or so long after it began with its second version; returns the last that it began with. */
async function killAt(moment: 'frontends' | number, first: number): Promise<number> {
  let last = first - 1;
  child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', fileURLToPath(new URL('interrupted-writer.ts', import.meta.url)), pinDir, String(first)], { stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = once(child, 'exit');
  child.stdout!.on('data', (data: Buffer) => { last = Number(data.toString().trim().split('\n').at(-1)); });
  while (last <= first && child.exitCode === null) await sleep(1);
  if (moment === 'frontends') untilFrontends();
  else await sleep(moment);
  child.kill('SIGKILL');
  await ended;
  return last;
}

test('no half of a service, whenever it is killed; the next agent goes on', async () => {
  const writer = writerOn(maps);
  writer.write(0);
  await writer.stop();
  expect(look()).toEqual({ services: serviceCount, wrong: [], versions: new Set([portOf(0)]) });
  let mixed = 0;
  let version = 0;
  for (const moment of ['frontends', 10, 'frontends', 80, 'frontends'] as const) {
    version = await killAt(moment, version + 1);
    const { services, wrong, versions } = look();
    expect([services, wrong.slice(0, 5)]).toEqual([serviceCount, []]);
    if (versions.size > 1) mixed += 1;
  }
  // Some were killed between two services, or the test says nothing.
  expect(mixed).toBeGreaterThan(0);
  const next = writerOn(maps);
  next.write(version);
  await next.idle();
  expect(look()).toEqual({ services: serviceCount, wrong: [], versions: new Set([portOf(version)]) });
  expect(maps.backends.entries()).toHaveLength(serviceCount * backendsEach);
  await next.stop();
}, 300_000);
