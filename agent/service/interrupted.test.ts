// An agent that is killed while it changes 10,000 services: at whatever step, each service stands in the kernel as it was before or as it should
// be, never half of one; and the next agent makes all of them what they should be.
import { spawnSync } from 'node:child_process';
import { mkdirSync, rmSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { objectPath } from '../../bpf/build.ts';
import { loadDatapath, type Datapath } from '../datapath/maps.ts';
import { textOf } from '../ipcache/address.ts';
import { backendsEach, portOf, serviceCount, writerOn } from './interrupted-writer.ts';
import { serviceMaps, type ServiceMaps } from './maps.ts';

const pinDir = `/sys/fs/bpf/weir/test-interrupted-${process.pid}`;
const writerPath = fileURLToPath(new URL('interrupted-writer.ts', import.meta.url));
const timeoutMs = 300_000;
/** Whose backends stand. */
let version = 0;
let datapath: Datapath;
let maps: ServiceMaps;
beforeAll(async () => {
  mkdirSync(pinDir, { recursive: true });
  datapath = loadDatapath(objectPath, { pinDir });
  maps = serviceMaps(datapath.object);
  await written(version);
}, timeoutMs);
afterAll(() => {
  datapath.object.close();
  rmSync(pinDir, { recursive: true });
});

interface Found { readonly services: number; readonly wrong: readonly string[]; readonly ofPort: ReadonlyMap<number, number> }

/** What a program finds: each frontend, its slots, the backends that they name. */
function look(): Found {
  const backends = new Map(maps.backends.entries());
  const wrong: string[] = [];
  const ofPort = new Map<number, number>();
  const frontends = maps.frontends.entries();
  for (const [{ addr }, { first, count }] of frontends) {
    const address = textOf(addr.word);
    const own = address.split('.').slice(2).join('.');
    const found = maps.slots.range(first, count).map((number) => backends.get(number));
    const ports = new Set(found.map((backend) => backend?.port));
    const places = found.map((backend) => (backend === undefined ? 'gone' : textOf(backend.addr.word)));
    const whole = Array.from({ length: backendsEach }, (_, index) => `10.${100 + index}.${own}`);
    if (ports.size !== 1 || places.join() !== whole.join()) wrong.push(`${address} -> ${places.join()} ${[...ports].join()}`);
    else ofPort.set([...ports][0]!, (ofPort.get([...ports][0]!) ?? 0) + 1);
  }
  return { services: frontends.length, wrong, ofPort };
}

/** By an agent that lives. */
async function written(wanted: number): Promise<void> {
  const writer = writerOn(maps);
  writer.write(wanted);
  await writer.idle();
  await writer.stop();
}

interface Row { readonly name: string; readonly map: 'frontends' | 'backends'; readonly call: 'setAll' | 'delete'; readonly rows: number; readonly fresh: number }
/** `fresh`: services that have their new backends then. */
const moments: readonly Row[] = [
  { name: 'half of the backends', map: 'backends', call: 'setAll', rows: serviceCount, fresh: 0 },
  { name: 'at its first frontend', map: 'frontends', call: 'setAll', rows: 1, fresh: 1 },
  { name: 'half of the frontends', map: 'frontends', call: 'setAll', rows: serviceCount / 2, fresh: serviceCount / 2 },
  { name: 'while old backends go', map: 'backends', call: 'delete', rows: serviceCount / 2, fresh: serviceCount },
];

test.each(moments)('killed $name: no half of a service, and the next agent makes them whole', async ({ map, call, rows, fresh }) => {
  version += 1;
  const { signal, stderr } = spawnSync(process.execPath, ['--disable-warning=ExperimentalWarning', writerPath, pinDir, String(version), map, call, String(rows)], { encoding: 'utf8' });
  expect([signal, stderr]).toEqual(['SIGKILL', '']);
  const found = look();
  expect([found.services, found.wrong.slice(0, 5), found.ofPort.get(portOf(version)) ?? 0]).toEqual([serviceCount, [], fresh]);
  await written(version);
  expect(look()).toEqual({ services: serviceCount, wrong: [], ofPort: new Map([[portOf(version), serviceCount]]) });
  expect(maps.backends.entries()).toHaveLength(serviceCount * backendsEach);
}, timeoutMs);
