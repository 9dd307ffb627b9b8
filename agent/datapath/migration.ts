// Connections, masqueraded ports and what clients of services were told, of an agent whose maps have another layout or size: read by the layout that the kernel keeps with
// each map, copied field by field into maps of this agent. Nothing of the old ones is written to while they are read.
import { closeSync, existsSync } from 'node:fs';
import { join } from 'node:path';
import { mappedBytes } from '../ipcache/address.ts';
import type { EndpointRow } from '../endpoint/tables.ts';
import { mapBatch, mapInfo, mapLookup, mapUpdate, openPin, readBtf, updateFlags, type Batch } from '../kernel/bpf.ts';
import { Btf } from '../kernel/btf.ts';
import { codecOf, type Codec } from '../kernel/codec.ts';
import { errno, KernelError } from '../kernel/errors.ts';
import { BpfMap } from '../kernel/map.ts';
import type { LoadedMap } from '../kernel/object.ts';
import type { Control } from '../../bpf/types.gen.ts';
import type { Datapath } from './maps.ts';
import { checkNumbers, moved, movesOf, type Moves } from './moves.ts';
import { ticksNow } from './ticks.ts';
import { charge } from './usage.ts';

const batchRows = 4_096;

/** `key` absent: __u32. `optional`: versions without Services have no such map. */
interface CopiedMap { readonly map: string; readonly key?: keyof typeof keyFields; readonly row: string; readonly needed: readonly string[]; readonly optional?: true }

/** Numbers in the rows that are copied. */
const enums = ['ct_state', 'ct_flag', 'ct_service', 'direction', 'backend_state'];
/** Backends under the numbers that the others name, affinities under those of services, which the reconciler is told (agent/upgrade.ts); what follows from Services (frontends, slots, tables) is derived anew. */
const copied: readonly CopiedMap[] = [
  { map: 'conntrack', key: 'ct_key', row: 'ct_entry', needed: ['origin', 'state', 'policy_key', 'generation', 'reason'] },
  { map: 'nat', key: 'nat_key', row: 'nat_value', needed: ['addr', 'port'] },
  { map: 'backends', row: 'backend', needed: ['addr', 'port', 'protocol', 'state'], optional: true },
  { map: 'translations', key: 'translation_key', row: 'translation', needed: ['addr', 'port', 'backend'], optional: true },
  { map: 'sock_peers', key: 'sock_peer_key', row: 'sock_peer', needed: ['frontend', 'backend', 'frontend_port', 'backend_port', 'number'], optional: true },
  { map: 'affinities', key: 'affinity_key', row: 'affinity', needed: ['backend', 'seen'], optional: true },
];
const keyFields = {
  ct_key: ['addr', 'port', 'protocol'], nat_key: ['remote', 'local', 'remote_port', 'local_port', 'protocol', 'direction'],
  translation_key: ['client', 'frontend', 'client_port', 'frontend_port', 'protocol'], sock_peer_key: ['cookie', 'slot'],
  affinity_key: ['client', 'service', 'by_socket'],
} as const;
/** Key: a number. */
const numberKey: Moves = { size: 4, moves: [{ from: 0, to: 0, bytes: 4 }], absent: [] };

interface OldMap extends LoadedMap { readonly btf: Btf }

function openOld(folder: string, name: string): OldMap {
  const fd = openPin(join(folder, name));
  try {
    const info = mapInfo(fd, name);
    return { name, fd, keySize: info.keySize, valueSize: info.valueSize, maxEntries: info.maxEntries, btf: new Btf(readBtf(info.btfId, `layout of map ${name}`)) };
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

function withOld<Result>(folder: string, name: string, work: (map: OldMap) => Result): Result {
  const map = openOld(folder, name);
  try {
    return work(map);
  } finally {
    closeSync(map.fd);
  }
}

const numberCodec: Codec<number> = { size: 4, encode: (value) => new Uint8Array(new Uint32Array([value]).buffer), decode: (view, at) => view.getUint32(at, true) };

/** All rows of one map, as the layouts of that time name their fields. `key` absent: __u32. */
export function oldRows<Key, Row>(folder: string, name: string, key: string | undefined, row: string): [Key, Row][] {
  return withOld(folder, name, (map) => new BpfMap<Key, Row>(map, key === undefined ? numberCodec as Codec<unknown> as Codec<Key> : codecOf<Key>(map.btf.struct(key)), codecOf<Row>(map.btf.struct(row))).entries());
}

/** For sockets that were joined (bpf/sockmap.c): they keep the program of that time, and the maps it reads. No row there is of the generation
 * after, so their messages go as packets. The one thing that is written to an old map, once nothing else reads it. */
export function endGeneration(folder: string): void {
  withOld(folder, 'control_words', (map) => {
    const rows = new BpfMap<number, Control>(map, numberCodec, codecOf<Control>(map.btf.struct('control')));
    const control = rows.get(0)!;
    rows.set(0, { ...control, generation: (control.generation + 1) >>> 0 });
  });
}

interface Plan { readonly map: string; readonly key: Moves; readonly row: Moves }

/** Throws ConfigError with the reason when what is in `folder` cannot be copied. */
export function planCopy(folder: string, datapath: Pick<Datapath, 'object'>): Plan[] {
  const now = datapath.object.btf;
  return copied.filter(({ map, optional }) => optional !== true || existsSync(join(folder, map))).map(({ map, key, row, needed }) => withOld(folder, map, ({ btf }) => {
    const after = new Map(now.enums().map(({ name, values }) => [name, values]));
    for (const { name, values } of btf.enums()) if (enums.includes(name)) checkNumbers(`enum ${name}`, values, after.get(name) ?? new Map());
    return { map, key: key === undefined ? numberKey : movesOf(btf.struct(key), now.struct(key), keyFields[key]), row: movesOf(btf.struct(row), now.struct(row), needed) };
  }));
}

export interface Copied { readonly connections: number; readonly nat: number; /** Rows that found the new table full. */ readonly lost: number }

/** Copies what is not there yet. Each connection is judged again on its next packet, and counts against the endpoint that it belongs to now. */
export async function copyRows(folder: string, datapath: Datapath, endpoints: readonly EndpointRow[]): Promise<Copied> {
  const found: Record<string, number> = {};
  let lost = 0;
  keepNodeBackends(folder, datapath);
  for (const plan of planCopy(folder, datapath)) {
    const to = datapath.object.maps.get(plan.map)!;
    const finish = plan.map === 'conntrack' ? completer(datapath, plan.row, endpoints) : undefined;
    const old = openOld(folder, plan.map);
    let copiedRows = 0;
    try {
      for (let batch: Batch | undefined, more = true; more;) {
        batch = await mapBatch(old, Math.min(batchRows, old.maxEntries), batch?.next, batch);
        more = batch.next !== undefined;
        for (let index = 0; index < batch.count; index += 1) {
          const key = moved(batch.keys.subarray(index * old.keySize, (index + 1) * old.keySize), plan.key);
          const row = moved(batch.values.subarray(index * old.valueSize, (index + 1) * old.valueSize), plan.row);
          const owner = finish?.(key, row);
          const written = write(to, key, row);
          if (written === 'new' && owner !== undefined) charge(datapath.usage, owner);
          if (written === 'new') copiedRows += 1;
          if (written === 'full') lost += 1;
        }
      }
    } finally {
      closeSync(old.fd);
    }
    found[plan.map] = copiedRows;
  }
  return { connections: found['conntrack']!, nat: found['nat']!, lost };
}

/** Processes of the node answer clients of services, perhaps before those ask again. */
function keepNodeBackends(folder: string, { object }: Datapath): void {
  const name = 'node_backends';
  if (!existsSync(join(folder, name))) return;
  const [row, value] = [numberCodec.encode(0), new Uint8Array(numberCodec.size)];
  withOld(folder, name, ({ fd }) => { if (mapLookup(fd, row, value, name) && value.some((byte) => byte !== 0)) mapUpdate(object.maps.get(name)!.fd, row, value, name); });
}

function write(to: LoadedMap, key: Uint8Array, row: Uint8Array): 'new' | 'known' | 'full' {
  try {
    mapUpdate(to.fd, key, row, to.name, updateFlags.noExist);
    return 'new';
  } catch (error) {
    if (error instanceof KernelError && error.errno === errno.EEXIST) return 'known';
    if (error instanceof KernelError && error.errno === errno.E2BIG) return 'full';
    throw error;
  }
}

/** What a row of another version does not say; returns the endpoint whose quota it counts against. */
function completer(datapath: Datapath, { absent }: Moves, endpoints: readonly EndpointRow[]): (key: Uint8Array, row: Uint8Array) => number {
  const [inKey, inRow] = ['ct_key', 'ct_entry'].map((name) => new Map(datapath.object.btf.struct(name).members.map((member) => [member.name, member.offset])));
  const at = (name: string): number => inRow!.get(name)!;
  const idOf = new Map(endpoints.flatMap(({ id, ipv4, ipv6 }) => [ipv4, ipv6].map((address) => [Buffer.from(mappedBytes(address)).toString('hex'), id] as const)));
  const times = ['seen', 'recorded'].filter((name) => absent.includes(name)).map(at);
  // What a version counted that did not say so is not counted again.
  const counts = ([['counted_packets', 'packets'], ['counted_bytes', 'bytes']] as const).filter(([name]) => absent.includes(name));
  return (key, row) => {
    const view = new DataView(row.buffer);
    const end = (index: number): number | undefined => idOf.get(Buffer.from(key.buffer, inKey!.get('addr')! + 16 * index, 16).toString('hex'));
    const origin = row[at('origin')]! & 1;
    const owner = end(origin) ?? end(1 - origin) ?? 0;
    for (const time of times) view.setUint32(time, ticksNow(), true);
    view.setUint32(at('owner'), owner, true);
    for (const [counted, all] of counts) view.setBigUint64(at(counted), view.getBigUint64(at(all), true), true);
    return owner;
  };
}
