// The kernel's maps of services, and the form that rows have in them.
import { closeSync } from 'node:fs';
import { backend_state, frontend_flag, frontend_scope, type Backend, type Frontend, type FrontendKey, type ServiceControl, type SourceRangeKey } from '../../bpf/types.gen.ts';
import { bytesOf, mappedBytes, maskedPrefix, parsePrefix, textOf } from '../ipcache/address.ts';
import { innerMapFlag, mapById, mapCreate, mapDelete, mapDeleteBatch, mapInfo, mapKeys, mapLookup, mapType, mapUpdate, mapUpdateBatch } from '../kernel/bpf.ts';
import { codecOf, type Codec } from '../kernel/codec.ts';
import { KernelError } from '../kernel/errors.ts';
import { BpfMap, mapMemory } from '../kernel/map.ts';
import type { LoadedMap, LoadedObject } from '../kernel/object.ts';
import { backendKey, frontendKey } from './derive.ts';
import type { BackendRow, FrontendRow, ServiceProtocol } from './tables.ts';

export interface ServiceMaps {
  readonly frontends: BpfMap<FrontendKey, Frontend>;
  readonly backends: BpfMap<number, Backend>;
  readonly control: BpfMap<number, ServiceControl>;
  readonly sourceRanges: BpfMap<SourceRangeKey, number>;
  readonly slots: Slots;
  readonly maglevTables: LoadedMap;
}

/** `service_slots` as it stands in the kernel: a write is seen at once. */
export class Slots {
  readonly #words: Uint32Array;
  readonly count: number;

  /** The rows of an array map are a multiple of 8 bytes apart (kernel/bpf/arraymap.c). */
  constructor(map: LoadedMap) {
    this.count = map.maxEntries;
    this.#words = new Uint32Array(mapMemory({ ...map, valueSize: 8 }, map.maxEntries));
  }

  get(slot: number): number { return this.#words[slot * 2]!; }
  set(slot: number, backend: number): void { this.#words[slot * 2] = backend; }
  range(first: number, count: number): number[] { return Array.from({ length: count }, (_, index) => this.get(first + index)); }
}

const number: Codec<number> = { size: 4, encode: (value) => new Uint8Array(new Uint32Array([value]).buffer), decode: (view, offset) => view.getUint32(offset, true) };

export function serviceMaps(object: Pick<LoadedObject, 'maps' | 'btf'>): ServiceMaps {
  const map = (name: string): LoadedMap => object.maps.get(name)!;
  const layout = <Row>(name: string): Codec<Row> => codecOf<Row>(object.btf.struct(name));
  return {
    frontends: new BpfMap(map('frontends'), layout<FrontendKey>('frontend_key'), layout<Frontend>('frontend')),
    backends: new BpfMap(map('backends'), number, layout<Backend>('backend')),
    control: new BpfMap(map('services'), number, layout<ServiceControl>('service_control')),
    sourceRanges: new BpfMap(map('source_ranges'), layout<SourceRangeKey>('source_range_key'), number),
    slots: new Slots(map('service_slots')),
    maglevTables: map('maglev_tables'),
  };
}

export const protocolNumbers: Readonly<Record<ServiceProtocol, number>> = { TCP: 6, UDP: 17, SCTP: 132 };
const protocolNames = new Map(Object.entries(protocolNumbers).map(([name, value]) => [value, name as ServiceProtocol]));
const scopes = { cluster: frontend_scope.SCOPE_CLUSTER, external: frontend_scope.SCOPE_EXTERNAL } as const;

export const frontendKeyOf = ({ address, port, protocol, scope }: FrontendRow): FrontendKey => ({ addr: { word: mappedBytes(address) }, port, protocol: protocolNumbers[protocol], scope: scopes[scope] });

/** The table's key of a row of the kernel's; undefined: weir writes no such row. */
export function keyOfFrontend({ addr, port, protocol, scope }: FrontendKey): string | undefined {
  const name = protocolNames.get(protocol);
  return name === undefined ? undefined : frontendKey(textOf(addr.word), port, name, scope === frontend_scope.SCOPE_EXTERNAL ? 'external' : 'cluster');
}

export const flagsOf = ({ kind, local, dsr, sourceRanges }: FrontendRow): number => (sourceRanges.length > 0 ? frontend_flag.FRONTEND_SOURCE_RANGES : 0)
  | (kind === 'NodePort' ? frontend_flag.FRONTEND_NODE_PORT : 0) | (local ? frontend_flag.FRONTEND_LOCAL : 0) | (dsr ? frontend_flag.FRONTEND_DSR : 0);

export const backendValue = ({ address, port, protocol, state }: BackendRow, connections: number): Backend => ({
  addr: { word: mappedBytes(address) }, port, protocol: protocolNumbers[protocol], state: state === 'active' ? backend_state.BACKEND_ACTIVE : backend_state.BACKEND_TERMINATING, connections,
});

export const keyOfBackend = ({ addr, port, protocol }: Backend): string => backendKey(textOf(addr.word), port, protocolNames.get(protocol) ?? 'TCP');
export const stateOfBackend = ({ state }: Backend): BackendRow['state'] => (state === backend_state.BACKEND_ACTIVE ? 'active' : 'terminating');

const serviceBits = 32;

export function sourceRangeKey(service: number, range: string): SourceRangeKey {
  const { address, length } = parsePrefix(range);
  const bits = bytesOf(address).length === 4 ? 96 + length : length;
  return { prefixlen: serviceBits + bits, service, addr: { word: mappedBytes(maskedPrefix(address, length).split('/')[0]!) } };
}

/** A table of its own for each that changes: whoever reads the old one reads it to its end. Nobody finds it before putMaglev. */
export function makeMaglev(slots: Uint32Array): number {
  const inner = mapCreate(mapType.array, 4, 4, slots.length, 0, innerMapFlag);
  const keys = Uint32Array.from(slots, (_, index) => index);
  mapUpdateBatch(inner, new Uint8Array(keys.buffer), new Uint8Array(slots.buffer), slots.length, 'maglev_table');
  return inner;
}

/** The kernel waits a grace period in each call that changes a map of maps (15 ms): all go with one. `made`: descriptors by number. */
export function putMaglev(tables: LoadedMap, made: ReadonlyMap<number, number>): void {
  if (made.size === 0) return;
  together(() => { mapUpdateBatch(tables.fd, words([...made.keys()]), words([...made.values()]), made.size, tables.name); },
    () => { for (const [id, inner] of made) mapUpdate(tables.fd, number.encode(id), number.encode(inner), tables.name); });
}

export function deleteMaglev(tables: LoadedMap, ids: readonly number[]): void {
  if (ids.length === 0) return;
  together(() => { mapDeleteBatch(tables.fd, words(ids), ids.length, tables.name); }, () => { for (const id of ids) mapDelete(tables.fd, number.encode(id), tables.name); });
}

/** Maps of maps take no batches before 5.19, and one that lacks a key ends there. */
function together(all: () => void, each: () => void): void {
  try {
    all();
  } catch (error) {
    if (!(error instanceof KernelError)) throw error;
    each();
  }
}

const words = (values: readonly number[]): Uint8Array => new Uint8Array(Uint32Array.from(values).buffer);

/** Index of a backend in each slot. */
export function readMaglev(tables: LoadedMap, id: number): number[] {
  const found = new Uint8Array(4);
  if (!mapLookup(tables.fd, number.encode(id), found, tables.name)) return [];
  const inner = mapById(number.decode(new DataView(found.buffer), 0), 'maglev_table');
  try {
    const { maxEntries } = mapInfo(inner, 'maglev_table');
    return Array.from({ length: maxEntries }, (_, slot) => { mapLookup(inner, number.encode(slot), found, 'maglev_table'); return number.decode(new DataView(found.buffer), 0); });
  } finally {
    closeSync(inner);
  }
}

export const maglevNumbers = (tables: LoadedMap): number[] => mapKeys(tables.fd, 4, tables.maxEntries, tables.name).map((key) => number.decode(new DataView(key.buffer), 0));
