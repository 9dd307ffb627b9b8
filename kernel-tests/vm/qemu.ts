// Boots a VM: its lines come by the second serial port, the console goes to a file. Its end is the line `DONE <status>`; without one, or with a
// complaint of the kernel on the console, it failed whatever QEMU says.
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { complaintOf } from './console.ts';
import { kernelFolder } from './apt.ts';
import { disks, type Command } from './image.ts';
import { initramfs } from './initramfs.ts';
import type { Kernel } from './kernels.ts';

export type Accelerator = 'kvm' | 'tcg';
const memoryMib = 2048;
const tailLines = 40;
/** Before AVX, which emulation takes in many steps: 15 % less time than with `max`. */
const emulatedCpu = 'Nehalem';

/** A network between two VMs: a unix socket at which one of them listens. */
export interface Cable { readonly path: string; readonly listens: boolean; readonly mac: string }
export interface Boot { readonly kernel: Kernel; readonly accelerator: Accelerator; readonly folder: string; readonly command: Command; /** To another VM. */ readonly cable?: Cable }
export interface End { readonly status: number | undefined; readonly failure?: string; readonly tail: readonly string[]; /** CPU time of the VM: what it takes on a core of its own, whoever uses the machine beside it. */ readonly cpuSeconds?: number }

const cableWords = ({ path, listens, mac }: Cable): string[] =>
  ['-netdev', `stream,id=cable,server=${listens ? 'on' : 'off'},addr.type=unix,addr.path=${path}`, '-device', `virtio-net-pci,netdev=cable,mac=${mac}`];

function words({ kernel, accelerator, folder, command, cable }: Boot): string[] {
  const unpacked = kernelFolder(kernel);
  const archive = join(folder, 'initramfs');
  writeFileSync(archive, initramfs(kernel, unpacked));
  const images = disks(kernel, unpacked, command, folder);
  const serial = command.shell ? ['-serial', 'stdio', '-serial', 'null'] : ['-serial', `file:${join(folder, 'console')}`, '-serial', 'stdio'];
  return [
    '-machine', 'q35', '-accel', accelerator === 'kvm' ? 'kvm' : 'tcg,thread=multi', '-cpu', accelerator === 'kvm' ? 'host' : emulatedCpu, '-smp', '1', '-m', `${memoryMib}M`,
    '-nodefaults', '-no-user-config', '-no-reboot', '-display', 'none', '-monitor', 'none', ...serial,
    '-kernel', join(unpacked, 'boot', `vmlinuz-${kernel.release}`), '-initrd', archive,
    ...images.flatMap((image, index) => ['-drive', `if=none,id=d${index},file=${image},format=raw,readonly=on`, '-device', `virtio-blk-pci,drive=d${index}`]),
    ...(cable === undefined ? [] : cableWords(cable)),
    // A machine that others use, too, gives no ticks in time for the check at boot.
    '-append', `console=ttyS0 loglevel=${command.shell ? 4 : 6} panic=-1 mitigations=off no_timer_check rcupdate.rcu_expedited=1`,
  ];
}

/** What else runs on this machine comes first. */
const polite = ['nice', '-n', '10', 'qemu-system-x86_64'];
const ticksPerSecond = 100; // sysconf(_SC_CLK_TCK) of Linux

/** utime and stime of the process that `timeout` runs (proc(5)); undefined when it is gone. */
function cpuSecondsOf(timeoutPid: number): number | undefined {
  try {
    const qemu = readFileSync(`/proc/${timeoutPid}/task/${timeoutPid}/children`, 'utf8').split(' ')[0];
    const fields = readFileSync(`/proc/${qemu}/stat`, 'utf8').replace(/^.*\) /, '').split(' ');
    return (Number(fields[11]) + Number(fields[12])) / ticksPerSecond;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/** `timeout` ends the VM also when nobody is left to do it. */
function start(boot: Boot, timeoutMs: number): ChildProcess {
  const log = openSync(join(boot.folder, 'qemu.log'), 'w');
  const qemu = spawn('timeout', ['-k', '5', String(timeoutMs / 1000 + 10), ...polite, ...words(boot)], { stdio: ['ignore', 'pipe', log] });
  closeSync(log);
  const end = (): void => { qemu.kill(); };
  process.once('exit', end);
  qemu.once('close', () => { process.off('exit', end); });
  return qemu;
}

/** Runs the command; each of its lines goes to `line`. Ends the VM when no end has come after `timeoutMs`. */
export async function run(boot: Boot, timeoutMs: number, line: (text: string) => void): Promise<End> {
  writeFileSync(join(boot.folder, 'console'), '');
  const qemu = start(boot, timeoutMs);
  let status: number | undefined;
  let cpuSeconds: number | undefined;
  let late = false;
  const deadline = setTimeout(() => { late = true; qemu.kill(); }, timeoutMs);
  createInterface({ input: qemu.stdout! }).on('line', (text) => {
    const done = /^DONE (\d+)/.exec(text);
    if (done !== null) {
      status = Number(done[1]);
      cpuSeconds = cpuSecondsOf(qemu.pid!);
    } else line(text.replace(/\r$/, ''));
  });
  await once(qemu, 'close');
  clearTimeout(deadline);
  const consoleLines = readFileSync(join(boot.folder, 'console'), 'utf8').split('\n').map((text) => text.trimEnd());
  const lines = [...readFileSync(join(boot.folder, 'qemu.log'), 'utf8').split('\n').filter(Boolean), ...consoleLines];
  const failure = late ? `no end after ${timeoutMs / 1000} s` : complaintOf(lines) ?? (status === undefined ? 'the VM ended without a result' : undefined);
  return { status, ...(failure === undefined ? {} : { failure }), tail: lines.slice(-tailLines), ...(cpuSeconds === undefined ? {} : { cpuSeconds }) };
}

/** A person's shell on the console. */
export async function shell(boot: Boot): Promise<void> { await once(spawn(polite[0]!, [...polite.slice(1), ...words(boot)], { stdio: 'inherit' }), 'close'); }
