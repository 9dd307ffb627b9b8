// For tests: the kernel's maps of services, empty at the beginning of each test, and reconcilers on them whose grace periods pass when told to.
import { afterAll, beforeEach } from '@jest/globals';
import { objectPath } from '../../bpf/build.ts';
import { loadDatapath } from '../datapath/maps.ts';
import { backendKey, frontendKey } from './derive.ts';
import { keyOfBackend, keyOfFrontend, readMaglev, serviceMaps, type ServiceMaps } from './maps.ts';
import { ServiceReconciler } from './reconciler.ts';
import { backendTable, frontendTable, type BackendRow, type FrontendRow, type Scope } from './tables.ts';

export interface TestAgent {
  readonly frontends: ReturnType<typeof frontendTable>;
  readonly backends: ReturnType<typeof backendTable>;
  readonly reconciler: ServiceReconciler;
  readonly log: string[];
  /** Lets a grace period pass. */
  readonly pass: () => Promise<void>;
  readonly end: () => Promise<void>;
}

export const maglevSize = 251;

function backend(index: number, state: BackendRow['state'] = 'active'): BackendRow {
  const address = `10.${index >> 16}.${(index >> 8) & 255}.${index & 255}`;
  return { key: backendKey(address, 80, 'TCP'), address, port: 80, protocol: 'TCP', state };
}
const keys = (...indexes: number[]): string[] => indexes.map((index) => backend(index).key);

function frontend(service: string, address: string, backends: readonly string[], more: Partial<FrontendRow> = {}): FrontendRow {
  const { scope = 'cluster' as Scope, port = 80 } = more;
  return {
    key: frontendKey(address, port, 'TCP', scope), address, port, protocol: 'TCP', scope, service: `shop/${service}`, portName: '', kind: 'ClusterIP', affinitySeconds: 0, local: false, sourceRanges: [],
    maglev: false, dsr: false, backends, ...more,
  };
}

/** `numbers`: see ReconcilerOptions. */
export function agentOn(maps: ServiceMaps, size = maglevSize, numbers: ReadonlyMap<string, number> = new Map()): TestAgent {
  const [frontends, backends] = [frontendTable(), backendTable()];
  const log: string[] = [];
  let waiting: (() => void)[] = [];
  const reconciler = new ServiceReconciler({ maps, frontends, backends, maglevSize: size, numbers, log: (line) => { log.push(line); }, grace: () => new Promise((resolve) => { waiting.push(resolve); }) });
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

/** The tables hold these and nothing else. */
function set({ frontends, backends, reconciler }: TestAgent, rows: readonly FrontendRow[], ends: readonly BackendRow[]): void {
  backends.replace(ends);
  frontends.replace(rows);
  reconciler.apply();
}

/** As a program finds it. */
export const kernelRows = (maps: ServiceMaps): Record<string, string[]> => Object.fromEntries(maps.frontends.entries().map(([key, value]): [string, string[]] => [keyOfFrontend(key)!,
  maps.slots.range(value.first, value.count).map((number) => { const row = maps.backends.get(number); return row === undefined ? `${number}?` : keyOfBackend(row); })]).sort(([a], [b]) => (a < b ? -1 : 1)));

/** `maxEntries`: rows of maps, where they are not those of lib/maps.h. */
export function serviceWorld(maxEntries: Readonly<Record<string, number>> = {}) {
  const datapath = loadDatapath(objectPath, { maxEntries });
  const maps = serviceMaps(datapath.object);
  afterAll(() => { datapath.object.close(); });
  beforeEach(() => {
    for (const [key] of maps.frontends.entries()) maps.frontends.delete(key);
    for (const [key] of maps.backends.entries()) maps.backends.delete(key);
    for (const [key] of maps.sourceRanges.entries()) maps.sourceRanges.delete(key);
  });
  return {
    maps, agent: (size?: number) => agentOn(maps, size), backend, keys, frontend, set, inKernel: () => kernelRows(maps),
    /** A table as it stands: the index of a backend in each slot. */
    maglevSlots: (table: number) => readMaglev(maps.maglevTables, table),
    kernelRow: (row: FrontendRow) => maps.frontends.entries().find(([key]) => keyOfFrontend(key) === row.key)![1],
  };
}
