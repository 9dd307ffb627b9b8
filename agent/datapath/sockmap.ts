// TCP between two workloads of this node from socket to socket (bpf/sockmap.c), where it is asked for: programs of their own on the
// datapath's maps, and the table of sockets, which outlives agents and upgrades: a socket that leaves it loses what nobody has read yet.
import { existsSync, mkdirSync } from 'node:fs';
import { release } from 'node:os';
import { join } from 'node:path';
import { sockmapPath } from '../../bpf/build.ts';
import { sockmap_counter, sockmap_mode } from '../../bpf/types.gen.ts';
import { ConfigError } from '../errors.ts';
import type { Instance } from '../instance.ts';
import { attachToMap, attachType, mapUpdate } from '../kernel/bpf.ts';
import { perCpuSums, possibleCpus } from '../kernel/map.ts';
import { loadObject } from '../kernel/object.ts';
import type { Hooks } from './hooks.ts';
import type { Datapath } from './maps.ts';

/** Where the kernel counts what waits in a receiver's queue (bpf_tcp_ingress, net/ipv4/tcp_bpf.c): before, nothing would bound it. */
const floor: readonly [number, number] = [6, 13];
const program = 'sockmap_join';

/** `marked`: between workloads that say by a label that their programs bear it; `all`: between all. */
export const sockmapModes = { off: sockmap_mode.SOCKMAP_OFF, marked: sockmap_mode.SOCKMAP_MARKED, all: sockmap_mode.SOCKMAP_ALL } as const;
export type SockmapMode = keyof typeof sockmapModes;

const label = 'sockmap.weir.io/join';
export const isMarked = (labels: Readonly<Record<string, string>>): boolean => labels[label] === 'true';

/** Undefined: this kernel can. */
export function whyNoSockmap(kernel = release(), hasBtf = existsSync('/sys/kernel/btf/vmlinux')): string | undefined {
  const [major = 0, minor = 0] = kernel.split('.').map(Number);
  if (major < floor[0] || (major === floor[0] && minor < floor[1])) return `Linux ${floor.join('.')} or newer is needed, this is ${kernel}`;
  return hasBtf ? undefined : 'the kernel has no BTF';
}

const folderOf = (instance: Instance): string => join(instance.pinDir, 'sockmap');

/** `off`: sockets that an agent before joined take packets from now on. The result closes what this process holds. */
export function startSockmap(instance: Instance, datapath: Datapath, hooks: Hooks, cgroup: string, mode: SockmapMode): () => void {
  const on = mode !== 'off';
  const why = on ? whyNoSockmap() : undefined;
  if (why !== undefined) throw new ConfigError(`--sockmap ${mode}: ${why}`, 'leave --sockmap away');
  const folder = folderOf(instance);
  if (!on) hooks.detachSocket(program);
  if (!on && !existsSync(folder)) return () => {};
  mkdirSync(folder, { recursive: true });
  const object = loadObject(sockmapPath, { pinDir: folder, share: datapath.object.maps });
  mapUpdate(object.maps.get('sockmap_controls')!.fd, new Uint8Array(4), new Uint8Array(new Uint32Array([sockmapModes[mode]]).buffer), 'sockmap_controls');
  if (on) {
    attachToMap(object.programs.get('sockmap_send')!, object.maps.get('sockets')!.fd, attachType.skMsgVerdict, 'sockmap_send on sockets');
    hooks.attachSocket(program, object.programs.get(program)!, attachType.sockOps, cgroup);
  }
  return () => { object.close(); };
}

export interface SockmapCounts { readonly messages: bigint; readonly bytes: bigint; readonly packets: bigint; readonly full: bigint }

/** `packets`: messages that went as packets all the same. */
export function sockmapCounts({ object }: Pick<Datapath, 'object'>): SockmapCounts {
  const cpus = possibleCpus();
  const read = (which: number): bigint => perCpuSums(object.maps.get('sockmap_counters')!, which, cpus)[0]!;
  const { SOCKMAP_MESSAGES: messages, SOCKMAP_BYTES: bytes, SOCKMAP_PACKETS: packets, SOCKMAP_FULL: full } = sockmap_counter;
  return { messages: read(messages), bytes: read(bytes), packets: read(packets), full: read(full) };
}
