// bpf(2): maps, pins, links and test runs. Numbers and layouts: include/uapi/linux/bpf.h.
import { closeSync } from 'node:fs';
import { addressOf, bpf, bpfAsync, bpfRaw } from './libc.ts';
import { errno, KernelError } from './errors.ts';
import type { LoadedMap } from './object.ts';

const command = {
  mapCreate: 0, mapLookup: 1, mapUpdate: 2, mapDelete: 3, mapNextKey: 4, objectPin: 6, objectGet: 7, progAttach: 8,
  progTestRun: 10, objectInfo: 15, progQuery: 16, mapById: 14, btfById: 19, mapLookupBatch: 24, mapUpdateBatch: 26, mapDeleteBatch: 27, linkCreate: 28, linkUpdate: 29,
} as const;

export const attachType = {
  sockOps: 3, skMsgVerdict: 7, bind4: 8, connect4: 10, connect6: 11, postBind4: 12, postBind6: 13, sendmsg4: 14, sendmsg6: 15, recvmsg4: 19, recvmsg6: 20,
  getpeername4: 29, getpeername6: 30, sockRelease: 34, skLookup: 36, xdp: 37, tcxIngress: 46, tcxEgress: 47,
} as const;
export const mapType = { hash: 1, array: 2, arrayOfMaps: 12 } as const;

/** A union bpf_attr being filled in; an array stands for its address. */
function attributes(fields: readonly (readonly [offset: number, bytes: 4 | 8, value: number | bigint | Uint8Array])[], length = 72): Uint8Array {
  const view = new DataView(new ArrayBuffer(length));
  for (const [offset, bytes, value] of fields) {
    if (typeof value === 'object') view.setBigUint64(offset, addressOf(value), true);
    else if (bytes === 4) view.setUint32(offset, Number(value), true);
    else view.setBigUint64(offset, BigInt(value), true);
  }
  return new Uint8Array(view.buffer);
}

const pathBytes = (path: string): Uint8Array => new TextEncoder().encode(`${path}\0`);

export const updateFlags = { any: 0, noExist: 1, exist: 2 } as const;

export function mapLookup(fd: number, key: Uint8Array, value: Uint8Array, name: string): boolean {
  const result = bpfRaw(command.mapLookup, attributes([[0, 4, fd], [8, 8, key], [16, 8, value]]));
  if (result >= 0) return true;
  if (result === -errno.ENOENT) return false;
  throw new KernelError(`map ${name}`, 'bpf(BPF_MAP_LOOKUP_ELEM)', -result);
}

export function mapUpdate(fd: number, key: Uint8Array, value: Uint8Array, name: string, flags: number = updateFlags.any): void {
  bpf(command.mapUpdate, attributes([[0, 4, fd], [8, 8, key], [16, 8, value], [24, 8, flags]]), `map ${name}`, 'BPF_MAP_UPDATE_ELEM');
}

/** False when there was no such row. */
export function mapDelete(fd: number, key: Uint8Array, name: string): boolean {
  const result = bpfRaw(command.mapDelete, attributes([[0, 4, fd], [8, 8, key]]));
  if (result >= 0) return true;
  if (result === -errno.ENOENT) return false;
  throw new KernelError(`map ${name}`, 'bpf(BPF_MAP_DELETE_ELEM)', -result);
}

/** All keys, each in an array of its own; a table that changes meanwhile may repeat or miss some, but it ends. */
export function mapKeys(fd: number, keySize: number, limit: number, name: string): Uint8Array[] {
  const keys: Uint8Array[] = [];
  let previous: Uint8Array | undefined;
  while (keys.length < limit) {
    const next = new Uint8Array(keySize);
    const key = previous ?? 0;
    const result = bpfRaw(command.mapNextKey, attributes([[0, 4, fd], [8, 8, key], [16, 8, next]]));
    if (result === -errno.ENOENT) break;
    if (result < 0) throw new KernelError(`map ${name}`, 'bpf(BPF_MAP_GET_NEXT_KEY)', -result);
    keys.push(next);
    previous = next;
  }
  return keys;
}

export interface Batch { readonly keys: Uint8Array; readonly values: Uint8Array; readonly count: number; readonly next: Uint8Array | undefined }

/**
 * At most `count` rows of a hash map from where the batch before ended, read on a worker thread; the kernel holds the lock of one bucket at a time.
 * `into`: the memory of a batch that is not needed any more. A table that changes meanwhile may repeat or miss some.
 */
export async function mapBatch(map: Pick<LoadedMap, 'fd' | 'keySize' | 'valueSize' | 'maxEntries' | 'name'>, count: number, from?: Uint8Array, into?: Batch): Promise<Batch> {
  const keys = into?.keys ?? new Uint8Array(count * map.keySize);
  const values = into?.values ?? new Uint8Array(count * map.valueSize);
  const next = new Uint8Array(4);
  const request = attributes([[0, 8, from ?? 0], [8, 8, next], [16, 8, keys], [24, 8, values],
    [32, 4, count], [36, 4, map.fd]]);
  const found = (): number => new DataView(request.buffer).getUint32(32, true);
  try {
    await bpfAsync(command.mapLookupBatch, request, `map ${map.name}`, 'BPF_MAP_LOOKUP_BATCH');
    return { keys, values, count: found(), next };
  } catch (error) {
    // The end of the table is ENOENT, which stays on the worker thread: it is known by the bucket that would come next (kernel/bpf/hashtab.c).
    if (new DataView(next.buffer).getUint32(0, true) !== 2 ** Math.ceil(Math.log2(map.maxEntries))) throw error;
    return { keys, values, count: found(), next: undefined };
  }
}

/** `count` rows, one behind another, in one call: hash and array maps. */
export function mapUpdateBatch(fd: number, keys: Uint8Array, values: Uint8Array, count: number, name: string): void {
  if (count > 0) bpf(command.mapUpdateBatch, attributes([[16, 8, keys], [24, 8, values], [32, 4, count], [36, 4, fd]]), `map ${name}`, 'BPF_MAP_UPDATE_BATCH');
}

/** Ends with ENOENT at the first key that is not there. */
export function mapDeleteBatch(fd: number, keys: Uint8Array, count: number, name: string): void {
  bpf(command.mapDeleteBatch, attributes([[16, 8, keys], [32, 4, count], [36, 4, fd]]), `map ${name}`, 'BPF_MAP_DELETE_BATCH');
}

export interface MapInfo { readonly keySize: number; readonly valueSize: number; readonly maxEntries: number; readonly btfId: number }

function objectInfo(fd: number, length: number, name: string, into = new Uint8Array(length)): DataView {
  bpf(command.objectInfo, attributes([[0, 4, fd], [4, 4, length], [8, 8, into]]), name, 'BPF_OBJ_GET_INFO_BY_FD');
  return new DataView(into.buffer);
}

/** struct bpf_map_info. */
export function mapInfo(fd: number, name: string): MapInfo {
  const info = objectInfo(fd, 80, `map ${name}`);
  return { keySize: info.getUint32(8, true), valueSize: info.getUint32(12, true), maxEntries: info.getUint32(16, true), btfId: info.getUint32(64, true) };
}

/** What a map of maps says of a row: a file descriptor for that number. */
export const mapById = (id: number, name: string): number => bpf(command.mapById, attributes([[0, 4, id]]), name, 'BPF_MAP_GET_FD_BY_ID');

/** The BTF that the kernel keeps with a map: the layouts that it was made with. struct bpf_btf_info. */
export function readBtf(id: number, name: string): Uint8Array {
  const fd = bpf(command.btfById, attributes([[0, 4, id]]), name, 'BPF_BTF_GET_FD_BY_ID');
  try {
    const bytes = new Uint8Array(objectInfo(fd, 16, name).getUint32(8, true));
    const info = new DataView(new ArrayBuffer(16));
    info.setBigUint64(0, addressOf(bytes), true);
    info.setUint32(8, bytes.length, true);
    objectInfo(fd, 16, name, new Uint8Array(info.buffer));
    return bytes;
  } finally {
    closeSync(fd);
  }
}

/** BPF_F_INNER_MAP: of an array, that its size may be another than that of the map it stands for. */
export const innerMapFlag = 0x1000;

export function mapCreate(type: number, keySize: number, valueSize: number, entries: number, innerFd = 0, flags = 0): number {
  return bpf(command.mapCreate, attributes([[0, 4, type], [4, 4, keySize], [8, 4, valueSize], [12, 4, entries], [16, 4, flags], [20, 4, innerFd]]), 'new map', 'BPF_MAP_CREATE');
}

/**
 * Waits until every BPF program that runs now has ended. The kernel does that after an update of a map of maps
 * (maybe_wait_bpf_programs, kernel/bpf/syscall.c), so one is kept for the purpose.
 */
export function gracePeriod(): () => Promise<void> {
  const inner = mapCreate(mapType.array, 4, 4, 1);
  const outer = mapCreate(mapType.arrayOfMaps, 4, 4, 1, inner);
  const key = new Uint8Array(4);
  const value = new Uint8Array(new Uint32Array([inner]).buffer);
  return async () => {
    await bpfAsync(command.mapUpdate, attributes([[0, 4, outer], [8, 8, key], [16, 8, value]]), 'grace period', 'BPF_MAP_UPDATE_ELEM');
  };
}

export function pin(fd: number, path: string): void {
  const name = pathBytes(path);
  bpf(command.objectPin, attributes([[0, 8, name], [8, 4, fd]]), path, 'BPF_OBJ_PIN');
}

export function openPin(path: string): number {
  const name = pathBytes(path);
  return bpf(command.objectGet, attributes([[0, 8, name]]), path, 'BPF_OBJ_GET');
}

/** Attaches a program to an interface (TCX, kernel 6.6) or to a cgroup, by its fd; the attachment lives as long as the link's fd or pin. */
export function linkCreate(programFd: number, target: number, type: number, object: string, flags = 0): number {
  return bpf(command.linkCreate, attributes([[0, 4, programFd], [4, 4, target], [8, 4, type], [12, 4, flags]]), object, 'BPF_LINK_CREATE');
}

/** Replaces the program behind a link at one instant. */
export function linkUpdate(linkFd: number, programFd: number, object: string): void {
  bpf(command.linkUpdate, attributes([[0, 4, linkFd], [4, 4, programFd]]), object, 'BPF_LINK_UPDATE');
}

/** To a map of sockets: for those that come into it from now on. What was attached there is replaced. */
export function attachToMap(programFd: number, mapFd: number, type: number, object: string): void {
  bpf(command.progAttach, attributes([[0, 4, mapFd], [4, 4, programFd], [8, 4, type]]), object, 'BPF_PROG_ATTACH');
}

export interface ProgramSize { readonly instructions: number; readonly machineBytes: number }

/** Of a loaded program, with all its subprograms (struct bpf_prog_info). */
export function programSize(programFd: number, object: string): ProgramSize {
  const info = new Uint8Array(24);
  bpf(command.objectInfo, attributes([[0, 4, programFd], [4, 4, info.length], [8, 8, addressOf(info)]]), object, 'BPF_OBJ_GET_INFO_BY_FD');
  const view = new DataView(info.buffer);
  return { instructions: view.getUint32(20, true) / 8, machineBytes: view.getUint32(16, true) };
}

const programInfo = { length: 152, translatedBytes: 20, translated: 32, functionRow: 132, functions: 136, functionCount: 144 } as const;

export interface ProgramCode { /** Of 8 bytes each; a call of a subprogram bears its number (kernel/bpf/verifier.c, jit_subprogs). */ readonly instructions: Uint8Array; /** First instruction of each subprogram. */ readonly starts: readonly number[] }

/** What the verifier made of a loaded program (struct bpf_prog_info). */
export function programCode(programFd: number, object: string): ProgramCode {
  const ask = (info: Uint8Array): DataView => {
    bpf(command.objectInfo, attributes([[0, 4, programFd], [4, 4, info.length], [8, 8, addressOf(info)]]), object, 'BPF_OBJ_GET_INFO_BY_FD');
    return new DataView(info.buffer);
  };
  const sizes = ask(new Uint8Array(programInfo.length));
  const row = sizes.getUint32(programInfo.functionRow, true);
  const count = sizes.getUint32(programInfo.functionCount, true);
  const instructions = new Uint8Array(sizes.getUint32(programInfo.translatedBytes, true));
  const functions = new Uint8Array(row * count);
  ask(attributes([[programInfo.translatedBytes, 4, instructions.length], [programInfo.translated, 8, instructions], [programInfo.functionRow, 4, row], [programInfo.functions, 8, functions], [programInfo.functionCount, 4, count]], programInfo.length));
  const rows = new DataView(functions.buffer);
  return { instructions, starts: Array.from({ length: count }, (_, index) => rows.getUint32(index * row, true)) };
}

export interface TestRun { readonly result: number; readonly packet: Uint8Array; readonly durationNs: number }
/** `mark`: the packet's. */
export interface TestRunTc extends TestRun { readonly mark: number }

/** Offsets in struct __sk_buff. */
const skbMark = 8;
const skbIfindex = 40;
const skbLength = 192;

/** What an XDP program does with a frame that comes in on `lo`. */
export function testRunXdp(programFd: number, frame: Uint8Array, repeat = 1): TestRun {
  const packet = new Uint8Array(frame.length + 256);
  const run = attributes([[0, 4, programFd], [8, 4, frame.length], [12, 4, packet.length], [16, 8, frame], [24, 8, packet], [32, 4, repeat]], 80);
  bpf(command.progTestRun, run, 'test run', 'BPF_PROG_TEST_RUN');
  const view = new DataView(run.buffer);
  return { result: view.getInt32(4, true), packet: packet.subarray(0, view.getUint32(12, true)), durationNs: view.getUint32(36, true) };
}

/** BPF_F_TEST_XDP_LIVE_FRAMES. */
const liveFrames = 2;
const liveBatch = 64;

/** As if `count` such frames came in on `ifindex`: what the program sends on, or passes, goes its way. Kernel 5.18; returns when all are on it, or throws EINTR at a signal. */
export function runXdpLive(programFd: number, frame: Uint8Array, ifindex: number, count: number): void {
  const context = new Uint8Array(24);
  const view = new DataView(context.buffer);
  view.setUint32(4, frame.length, true); // data_end
  view.setUint32(12, ifindex, true); // ingress_ifindex
  const run = attributes([
    [0, 4, programFd], [8, 4, frame.length], [16, 8, frame], [32, 4, count], [40, 4, context.length], [48, 8, context], [64, 4, liveFrames], [72, 4, liveBatch],
  ], 80);
  bpf(command.progTestRun, run, 'live frames', 'BPF_PROG_TEST_RUN');
}

/** Runs a tc program on one frame, as if it came in (or went out) on `ifindex`; `repeat` for timing. */
export function testRun(programFd: number, frame: Uint8Array, ifindex: number, repeat = 1, mark = 0): TestRunTc {
  const packet = new Uint8Array(frame.length + 256);
  const context = new Uint8Array(skbLength);
  const after = new Uint8Array(skbLength);
  new DataView(context.buffer).setUint32(skbIfindex, ifindex, true);
  new DataView(context.buffer).setUint32(skbMark, mark, true);
  const run = attributes([
    [0, 4, programFd], [8, 4, frame.length], [12, 4, packet.length], [16, 8, frame], [24, 8, packet],
    [32, 4, repeat], [40, 4, context.length], [44, 4, after.length], [48, 8, context], [56, 8, after],
  ], 80);
  bpf(command.progTestRun, run, 'test run', 'BPF_PROG_TEST_RUN');
  const view = new DataView(run.buffer);
  return { result: view.getInt32(4, true), packet: packet.subarray(0, view.getUint32(12, true)), durationNs: view.getUint32(36, true), mark: new DataView(after.buffer).getUint32(skbMark, true) };
}
