// For interrupted.test.ts: an agent's way from tables to the pinned maps, which changes all of its services and is killed at a step of that.
//   node interrupted-writer.ts PIN_FOLDER VERSION MAP CALL ROWS
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { objectPath } from '../../bpf/build.ts';
import { limit } from '../../bpf/types.gen.ts';
import { mapInfo, openPin } from '../kernel/bpf.ts';
import { Btf, elfSection } from '../kernel/btf.ts';
import type { LoadedMap } from '../kernel/object.ts';
import { backendKey, frontendKey } from './derive.ts';
import { serviceMaps, type ServiceMaps } from './maps.ts';
import { ServiceReconciler } from './reconciler.ts';
import { backendTable, frontendTable, type BackendRow, type FrontendRow } from './tables.ts';

export const serviceCount = 10_000;
export const backendsEach = 2;

export const addressOf = (index: number): string => `10.218.${index >> 8}.${index & 255}`;
/** Each version has other ports, so that one is told from another. */
export const portOf = (version: number): number => 8_000 + version;

function backendsOf(index: number, version: number): BackendRow[] {
  return Array.from({ length: backendsEach }, (_, backend): BackendRow => {
    const [address, port] = [`10.${100 + backend}.${index >> 8}.${index & 255}`, portOf(version)];
    return { key: backendKey(address, port, 'TCP'), address, port, protocol: 'TCP', state: 'active' };
  });
}

export function mapsAt(pinDir: string): ServiceMaps {
  const names = ['frontends', 'backends', 'services', 'source_ranges', 'service_slots', 'maglev_tables'];
  const maps = new Map(names.map((name): [string, LoadedMap] => { const fd = openPin(join(pinDir, name)); return [name, { name, fd, ...mapInfo(fd, name) }]; }));
  return serviceMaps({ maps, btf: new Btf(elfSection(readFileSync(objectPath), '.BTF')) });
}

export interface Writer { readonly write: (version: number) => void; readonly idle: () => Promise<void>; readonly stop: () => Promise<void> }

export function writerOn(maps: ServiceMaps): Writer {
  const [frontends, backends] = [frontendTable(), backendTable()];
  const reconciler = new ServiceReconciler({ maps, frontends, backends, maglevSize: limit.MAGLEV_SIZE, log: (line) => { throw new Error(line); } });
  return {
    idle: async () => reconciler.idle(), stop: async () => reconciler.stop(),
    write: (version) => {
      const lists = Array.from({ length: serviceCount }, (_, index) => backendsOf(index, version));
      backends.replace(lists.flat());
      frontends.replace(lists.map((list, index): FrontendRow => ({
        key: frontendKey(addressOf(index), 80, 'TCP', 'cluster'), address: addressOf(index), port: 80, protocol: 'TCP', scope: 'cluster', service: `bench/s${index}`, portName: '', kind: 'ClusterIP',
        affinitySeconds: 0, local: false, sourceRanges: [], maglev: false, dsr: false, backends: list.map(({ key }) => key),
      })));
      reconciler.apply();
    },
  };
}

/** Ends this process without a word, once so many rows have been written (or deleted) there. */
function deadlyMap<Map extends object>(map: Map, call: string, rows: number): Map {
  let left = rows;
  const die = (): void => { process.kill(process.pid, 'SIGKILL'); };
  const deadly: Readonly<Record<string, (...given: never[]) => unknown>> = {
    setAll: (all: Iterable<unknown>, count: number) => {
      const some = [...all].slice(0, left);
      (map as { setAll: (rows: unknown[], count: number) => void }).setAll(some, some.length);
      left -= count;
      if (left <= 0) die();
    },
    delete: (key: unknown) => {
      const found = (map as { delete: (key: unknown) => boolean }).delete(key);
      left -= 1;
      if (left <= 0) die();
      return found;
    },
  };
  return new Proxy(map, { get: (target, name) => {
    const value: unknown = Reflect.get(target, name);
    return typeof value !== 'function' ? value : name === call ? deadly[call] : value.bind(target);
  } });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [pinDir, version, map, call, rows] = process.argv.slice(2) as [string, string, 'frontends' | 'backends', string, string];
  const maps = mapsAt(pinDir);
  writerOn({ ...maps, [map]: deadlyMap<object>(maps[map], call, Number(rows)) }).write(Number(version));
}
