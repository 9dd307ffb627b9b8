// The initramfs of a kernel: busybox, init.sh and the modules that reach the disks, as one newc archive (Documentation/driver-api/early-userspace/buffer-format.rst).
import { execFileSync, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ConfigError } from '../../agent/errors.ts';
import type { Kernel } from './kernels.ts';

const busyboxPath = '/usr/bin/busybox';
const wanted = ['virtio_pci', 'virtio_blk', 'ext4', 'overlay'];
const folder = 0o40755;
const file = 0o100755;
const characterDevice = 0o20600;

interface Device { readonly major: number; readonly minor: number }

/** One header and its data, both padded to words of four. */
function entry(name: string, mode: number, data: Uint8Array = new Uint8Array(0), device: Device = { major: 0, minor: 0 }, inode = 0): Buffer {
  const fields = [inode, mode, 0, 0, 1, 0, data.length, 0, 0, device.major, device.minor, name.length + 1, 0];
  const head = Buffer.from(`070701${fields.map((value) => value.toString(16).padStart(8, '0')).join('')}${name}\0`);
  const padded = (part: Uint8Array): Buffer => Buffer.concat([part, Buffer.alloc(-part.length & 3)]);
  return Buffer.concat([padded(head), padded(data)]);
}

/** Paths below lib/modules/<release>, what is depended on first; what the kernel has built in is left out. */
function closure(modules: string): string[] {
  const rows = new Map(readFileSync(join(modules, 'modules.dep'), 'utf8').split('\n').filter(Boolean).map((line) => {
    const [path, needs] = line.split(':') as [string, string];
    return [path, needs.split(' ').filter(Boolean)];
  }));
  const order = new Set<string>();
  const add = (path: string): void => {
    if (order.has(path)) return;
    for (const needed of rows.get(path) ?? []) add(needed);
    order.add(path);
  };
  for (const name of wanted) {
    const path = [...rows.keys()].find((one) => basename(one).replace(/\.ko.*/, '').replaceAll('-', '_') === name);
    if (path !== undefined) add(path);
  }
  return [...order];
}

const unpacked = (path: string): Buffer => (path.endsWith('.xz') ? execFileSync('xz', ['-dc', path], { maxBuffer: 64 << 20 }) : readFileSync(path));

export function initramfs(kernel: Kernel, unpackedKernel: string): Buffer {
  const modules = join(unpackedKernel, 'lib/modules', kernel.release);
  const order = closure(modules);
  const busybox = readFileSync(busyboxPath);
  if (/=> \//.test(spawnSync('ldd', [busyboxPath], { encoding: 'utf8' }).stdout)) throw new ConfigError('busybox is not a static one', 'apt-get install busybox-static');
  const parts = [
    ...['bin', 'dev', 'proc', 'sys', 'modules', 'layer', 'upper'].map((name) => entry(name, folder)),
    entry('dev/console', characterDevice, undefined, { major: 5, minor: 1 }),
    entry('dev/null', characterDevice, undefined, { major: 1, minor: 3 }),
    entry('bin/busybox', file, busybox),
    entry('init', file, readFileSync(fileURLToPath(new URL('init.sh', import.meta.url)))),
    ...order.map((path) => entry(`modules/${basename(path).replace(/\.xz$/, '')}`, file, unpacked(join(modules, path)))),
    entry('modules/order', file, Buffer.from(order.map((path) => `${basename(path).replace(/\.xz$/, '')}\n`).join(''))),
    entry('TRAILER!!!', 0),
  ];
  return Buffer.concat(parts);
}
