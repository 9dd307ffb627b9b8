// For interrupted.test.ts: an agent's way from tables to the pinned maps, which changes all of its services again and again until it is killed.
//   node interrupted-writer.ts PIN_FOLDER VERSION
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
export const backendsEach = 3;
const pauseMs = 5;

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

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [pinDir, first] = [process.argv[2]!, Number(process.argv[3])];
  const writer = writerOn(mapsAt(pinDir));
  for (let version = first; ; version += 1) {
    process.stdout.write(`${version}\n`);
    writer.write(version);
    await new Promise((resolve) => { setTimeout(resolve, pauseMs); });
  }
}
