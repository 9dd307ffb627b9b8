// The same boot by virtme-ng (`--vng`): the machine's own root file system, read-only, in place of our disks. virtme-ng comes from PyPI into a
// venv, its virtiofsd (the Rust one) from crates.io by cargo, both below build/vng.
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { ConfigError } from '../../agent/errors.ts';
import { kernelFolder } from './apt.ts';
import { complaintOf } from './console.ts';
import { stageCheckout } from './image.ts';
import type { Kernel } from './kernels.ts';
import { checkout } from './machine.ts';
import type { Boot, End } from './qemu.ts';

const folder = join(checkout, 'build/vng');
const virtmeVersion = '1.42';
const virtiofsdVersion = '1.14.0';
const memoryMib = 2048;
const tailLines = 40;
const consoleMark = 'CONSOLE ';
/** Where the checkout lies in such a VM: a folder that Debian has, and that holds nothing. */
export const vngCheckout = '/mnt';

const has = (command: string): boolean => ['/usr/sbin', '/usr/bin', '/sbin', '/bin', ...(process.env['PATH'] ?? '').split(':')].some((path) => existsSync(join(path, command)));

/** The folders to look for commands in. */
function ensureVng(): string {
  const missing = Object.entries({ udevadm: 'udev', kmod: 'kmod', script: 'bsdutils', file: 'file' }).filter(([command]) => !has(command)).map(([, name]) => name);
  if (missing.length > 0) throw new ConfigError(`virtme-ng needs: ${missing.join(', ')}`, `apt-get install ${missing.join(' ')}`);
  const quiet = { stdio: ['ignore', 'ignore', 'pipe'] as ['ignore', 'ignore', 'pipe'] };
  if (!existsSync(join(folder, 'bin/vng'))) {
    execFileSync('python3', ['-m', 'venv', folder], quiet);
    execFileSync(join(folder, 'bin/pip'), ['install', '-q', `virtme-ng==${virtmeVersion}`], quiet);
  }
  if (!existsSync(join(folder, 'cargo/bin/virtiofsd'))) {
    if (!has('cargo')) throw new ConfigError('virtme-ng needs the Rust virtiofsd, and there is no cargo to build it', 'apt-get install cargo libcap-ng-dev libseccomp-dev');
    process.stdout.write('building virtiofsd, some minutes\n');
    execFileSync('cargo', ['install', 'virtiofsd', '--version', virtiofsdVersion, '--locked', '--root', join(folder, 'cargo'), '--target-dir', join(folder, 'target')], quiet);
  }
  return `${join(folder, 'cargo/bin')}:${join(folder, 'bin')}`;
}

/** What the kernel said comes at the end; a panic is the end without one. */
const wrapper = (staged: string): string => `#!/bin/sh
modprobe overlay || exit 1
ulimit -l unlimited
mkdir -p /run/weir-vng/rows /run/weir-vng/work
mount -t overlay -o lowerdir=${staged},upperdir=/run/weir-vng/rows,workdir=/run/weir-vng/work overlay ${vngCheckout} && mkdir ${vngCheckout}/node_modules && mount --bind ${join(checkout, 'node_modules')} ${vngCheckout}/node_modules || exit 1
mount -t bpf bpf /sys/fs/bpf 2>/dev/null
cp ${join(dirname(staged), 'vm/command')} /run/weir-vng/command
mount -t tmpfs -o mode=1777 tmpfs /tmp
ip link set lo up
export HOME=/root LANG=C.UTF-8 TERM=linux NO_COLOR=1
/run/weir-vng/command </dev/null
status=$?
dmesg | sed 's/^/${consoleMark}/'
echo "DONE $status"
`;

/** kmod reads its own index, which busybox did not write. */
function unpackedKernel(kernel: Kernel): string {
  const unpacked = kernelFolder(kernel);
  if (!existsSync(join(unpacked, 'lib/modules', kernel.release, 'modules.dep.bin'))) execFileSync('/sbin/depmod', ['-b', unpacked, kernel.release], { stdio: ['ignore', 'ignore', 'pipe'] });
  return unpacked;
}

export async function runByVng({ kernel, accelerator, folder: runs, command }: Boot, timeoutMs: number, line: (text: string) => void): Promise<End> {
  const path = ensureVng();
  const staged = stageCheckout(kernel, command, runs);
  const script = join(runs, 'vng.sh');
  mkdirSync(runs, { recursive: true });
  writeFileSync(script, wrapper(staged));
  chmodSync(script, 0o755);
  const words = ['vng', '--run', join(unpackedKernel(kernel), 'boot', `vmlinuz-${kernel.release}`), ...(accelerator === 'kvm' ? [] : ['--disable-kvm']), '--disable-microvm', '--cpus', '1', '--memory', `${memoryMib}M`,
    '--user', 'root', '--cwd', '/', '--exec', script];
  // virtme-ng wants a terminal.
  const vng = spawn('timeout', ['-k', '5', String(timeoutMs / 1000), 'nice', '-n', '10', 'script', '-qfec', words.join(' '), '/dev/null'],
    { stdio: ['ignore', 'pipe', 'inherit'], env: { ...process.env, PATH: `${path}:${process.env['PATH']}` } });
  const end = (): void => { vng.kill(); };
  process.once('exit', end);
  let status: number | undefined;
  const told: string[] = [];
  createInterface({ input: vng.stdout }).on('line', (raw) => {
    const text = raw.replace(/\r+$/, '');
    const done = /^DONE (\d+)/.exec(text);
    if (done !== null) status = Number(done[1]);
    else if (text.startsWith(consoleMark)) told.push(text.slice(consoleMark.length));
    else line(text);
  });
  const [code] = await once(vng, 'close') as [number | null];
  process.off('exit', end);
  const failure = complaintOf(told) ?? (status === undefined ? `the VM ended without a result (status ${code})` : undefined);
  return { status, ...(failure === undefined ? {} : { failure }), tail: told.slice(-tailLines) };
}
