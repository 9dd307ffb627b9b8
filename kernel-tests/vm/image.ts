// The three disks of a VM: the machine, the kernel's modules, the checkout with the programs compiled for that kernel. The VM lays them over each other.
import { execFileSync } from 'node:child_process';
import { chmodSync, copyFileSync, existsSync, mkdirSync, utimesSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildShim, shimPath } from '../../agent/workload/build.ts';
import { compileBpf } from '../../bpf/build.ts';
import { cached } from './cache.ts';
import { makeDisk } from './disk.ts';
import type { Kernel } from './kernels.ts';
import { checkout, guestCheckout, machineDisk } from './machine.ts';

function modulesDisk(kernel: Kernel, unpackedKernel: string): string {
  return cached(`modules-${kernel.sha256.slice(0, 16)}.ext4`, (draft) => {
    mkdirSync(`${draft}.d/usr/lib/modules`, { recursive: true });
    execFileSync('cp', ['-a', join(unpackedKernel, 'lib/modules', kernel.release), `${draft}.d/usr/lib/modules`]);
    makeDisk(`${draft}.d`, draft);
  });
}

export interface Command { readonly script: string; readonly shell: boolean }

/** The checkout as it is now, what git knows or would add, with its programs compiled. Returns its folder; vm/command lies beside it. */
export function stageCheckout(kernel: Kernel, command: Command, folder: string): string {
  const stage = join(folder, 'checkout');
  const tree = join(stage, guestCheckout);
  for (const one of [join(tree, 'build'), join(stage, 'vm')]) mkdirSync(one, { recursive: true });
  const files = execFileSync('git', ['ls-files', '-co', '--exclude-standard', '-z'], { cwd: checkout, encoding: 'utf8' }).split('\0')
    .filter((file) => file !== '' && file !== 'node_modules' && existsSync(join(checkout, file)));
  execFileSync('cp', ['-a', '--parents', '-t', tree, ...files], { cwd: checkout });
  buildShim();
  copyFileSync(shimPath, join(tree, 'build/weir-shim'));
  compileBpf(join(tree, 'build/weir.o'), kernel.release);
  compileBpf(join(tree, 'build/sockmap.o'), kernel.release, 'sockmap.c');
  // Whole seconds only survive in the image: built files must not look older than their sources.
  const soon = Date.now() / 1000 + 2;
  for (const built of ['weir-shim', 'weir.o', 'sockmap.o']) utimesSync(join(tree, 'build', built), soon, soon);
  copyFileSync(fileURLToPath(new URL('stage.sh', import.meta.url)), join(stage, 'vm/stage.sh'));
  writeFileSync(join(stage, 'vm/command'), command.script);
  chmodSync(join(stage, 'vm/command'), 0o755);
  if (command.shell) writeFileSync(join(stage, 'vm/shell'), '');
  return tree;
}

function checkoutDisk(kernel: Kernel, command: Command, folder: string): string {
  const image = join(folder, 'checkout.ext4');
  makeDisk(dirname(stageCheckout(kernel, command, folder)), image);
  return image;
}

/** In the order of vda, vdb, vdc. */
export const disks = (kernel: Kernel, unpackedKernel: string, command: Command, folder: string): string[] =>
  [machineDisk(), modulesDisk(kernel, unpackedKernel), checkoutDisk(kernel, command, folder)];
