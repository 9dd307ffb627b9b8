// What runs the tests: the same jest on the same files, in a VM or on this machine; `weir check` first, for the feature matrix.
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { checkout } from './machine.ts';
import type { Accelerator, End } from './qemu.ts';

/** How many times slower than a machine of its own an emulated one may be: limits of time in the tests grow by it. */
const slowness = 8;
const emulated = '--testEnvironment=./kernel-tests/vm/environment.ts';

const jest = (files: readonly string[], ...more: readonly string[]): string[] => ['--experimental-vm-modules', '--disable-warning=ExperimentalWarning', 'node_modules/jest/bin/jest.js', '--runInBand', '--ci', '--silent',
  '--reporters=./kernel-tests/vm/reporter.ts', ...more, '--runTestsByPath', ...files];

/** Before a command line. */
export const slownessOf = (accelerator: Accelerator): string => (accelerator === 'tcg' ? `WEIR_SLOWNESS=${slowness}` : '');

/** Before the answer of `weir check`. */
export const checkMark = 'CHECK ';

/** `root`: where the checkout lies in the VM. */
export const guestScript = (files: readonly string[], accelerator: Accelerator, root: string): string => `#!/bin/sh
cd ${root} && PATH=$PWD/node_modules/.bin:$PATH
echo "${checkMark}$(./weir check -o json | tr -d '\\n')"
${slownessOf(accelerator)} exec node ${(accelerator === 'tcg' ? jest(files, emulated) : jest(files)).join(' ')}
`;

export async function runOnHost(files: readonly string[], line: (text: string) => void): Promise<End> {
  line(`${checkMark}${spawnSync('./weir', ['check', '-o', 'json'], { cwd: checkout, encoding: 'utf8' }).stdout.replaceAll('\n', '')}`);
  const child = spawn('node_modules/.bin/node', jest(files), { cwd: checkout, stdio: ['ignore', 'pipe', 'inherit'], env: { ...process.env, PATH: `${checkout}node_modules/.bin:${process.env['PATH']}` } });
  createInterface({ input: child.stdout }).on('line', line);
  const [status] = await once(child, 'close') as [number | null];
  return { status: status ?? undefined, tail: [] };
}
