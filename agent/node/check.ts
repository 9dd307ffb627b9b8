// What weir needs of a machine, each with the sentence that mends it. `weir check` prints it; the agent refuses to start
// while something required is missing, so nobody meets it as a crash.
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { release } from 'node:os';
import { join } from 'node:path';
import { loading } from '../datapath/maps.ts';
import { whyNoSockmap } from '../datapath/sockmap.ts';
import { ConfigError, messageOf } from '../errors.ts';
import { mount } from '../kernel/libc.ts';
import { loadObject } from '../kernel/object.ts';
import { detectAttachMode } from '../kernel/attach.ts';

export interface CheckRow { readonly name: string; readonly ok: boolean; readonly required: boolean; readonly found: string; readonly mend?: string }

/** The network and the kernel's programs need the first two; the shim that makes a workload out of a process needs the rest. */
const capabilities = { CAP_NET_ADMIN: 12, CAP_SYS_ADMIN: 21, CAP_SETUID: 7, CAP_SETGID: 6, CAP_SETPCAP: 8, CAP_MKNOD: 27, CAP_KILL: 5 } as const;
/** On arm64 a program with functions may have tail calls (bpf/dns.c) since 6.0. */
const floor: readonly [number, number] = process.arch === 'arm64' ? [6, 0] : [5, 10];
const bpffsPath = '/sys/fs/bpf';

function hasCapability(bit: number): boolean {
  const effective = /^CapEff:\s*([0-9a-f]+)/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? '0';
  return ((BigInt(`0x${effective}`) >> BigInt(bit)) & 1n) === 1n;
}

const mountsOf = (type: string): string[] => readFileSync('/proc/self/mountinfo', 'utf8').split('\n')
  .filter((line) => line.split(' - ')[1]?.startsWith(`${type} `)).map((line) => line.split(' ')[4]!);

/** Where cgroup v2 is mounted; undefined when it is not. */
export const cgroupRoot = (): string | undefined => mountsOf('cgroup2')[0];

/** Mounts what the machine has not mounted itself; throws ConfigError when it may not. */
export function ensureMounts(): void {
  if (!mountsOf('bpf').includes(bpffsPath)) tryMount('bpf', bpffsPath, 'bpf');
  if (cgroupRoot() === undefined) {
    const target = existsSync('/sys/fs/cgroup/unified') ? '/sys/fs/cgroup/unified' : '/run/weir-cgroup2';
    mkdirSync(target, { recursive: true });
    tryMount('cgroup2', target, 'cgroup2');
  }
}

function tryMount(source: string, target: string, type: string): void {
  try {
    mount(source, target, type, 0, '');
  } catch (error) {
    throw new ConfigError(messageOf(error), `mount it by hand: mount -t ${type} ${source} ${target}`);
  }
}

/** Quick checks that touch nothing, in the order in which a user would mend them. */
export function checkMachine(objectPath: string): CheckRow[] {
  const root = process.getuid?.() === 0;
  const rows: CheckRow[] = [
    { name: 'root', ok: root, required: true, found: root ? 'uid 0' : `uid ${process.getuid?.()}`, mend: 'run it with sudo' },
    ...Object.entries(capabilities).map(([name, bit]): CheckRow => ({
      name, ok: hasCapability(bit), required: true, found: hasCapability(bit) ? 'effective' : 'missing', mend: root ? `give the container or service ${name}` : 'run it with sudo',
    })),
    checkKernel(),
    checkSockmap(),
    fileCheck('BTF of the kernel', '/sys/kernel/btf/vmlinux', 'use a kernel built with CONFIG_DEBUG_INFO_BTF', false),
    fileCheck('compiled programs', objectPath, 'build them: npm start, or node bpf/build.ts', true),
    { name: 'bpffs', ok: mountsOf('bpf').includes(bpffsPath), required: false, found: mountsOf('bpf').join(' ') || 'not mounted', mend: 'weir mounts it' },
    { name: 'cgroup2', ok: cgroupRoot() !== undefined, required: false, found: cgroupRoot() ?? 'not mounted', mend: 'weir mounts it' },
  ];
  return rows;
}

/** Loads the programs into the kernel for a moment: the one check that proves the rest. */
export function checkPrograms(objectPath: string): CheckRow[] {
  try {
    const object = loadObject(objectPath, loading);
    const mode = detectAttachMode(object.programs.get('from_workload')!);
    const count = object.programs.size;
    object.close();
    return [
      { name: 'programs load', ok: true, required: true, found: `${count} verified` },
      { name: 'TCX links', ok: mode === 'tcx', required: false, found: mode === 'tcx' ? 'yes' : 'no: clsact is used', mend: 'kernel 6.6 or newer' },
    ];
  } catch (error) {
    return [{ name: 'programs load', ok: false, required: true, found: messageOf(error), mend: 'see the lines of the verifier above' }];
  }
}

function checkKernel(): CheckRow {
  const [major = 0, minor = 0] = release().split('.').map(Number);
  const ok = major > floor[0] || (major === floor[0] && minor >= floor[1]);
  return { name: 'kernel', ok, required: true, found: release(), mend: `weir needs Linux ${floor.join('.')} or newer` };
}

function checkSockmap(): CheckRow {
  const why = whyNoSockmap();
  return { name: 'sockets to sockets', ok: why === undefined, required: false, found: why ?? 'yes, where --sockmap asks for it', mend: 'all goes as packets' };
}

const fileCheck = (name: string, path: string, mend: string, required: boolean): CheckRow =>
  ({ name, ok: existsSync(path), required, found: existsSync(path) ? path : 'missing', mend });

/** Throws ConfigError naming the first required thing that is missing. */
export function requireMachine(rows: readonly CheckRow[]): void {
  const missing = rows.find((row) => row.required && !row.ok);
  if (missing !== undefined) throw new ConfigError(`this machine cannot run weir: ${missing.name}: ${missing.found}`, missing.mend);
}

export const cgroupFolder = (cgroup: string): string => join(cgroupRoot() ?? '/sys/fs/cgroup', cgroup);
