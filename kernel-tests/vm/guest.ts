// What runs the tests: the same jest on the same files, in a VM or on this machine; `weir check` first, for the feature matrix.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { checkout, guestCheckout } from './machine.ts';
import type { End } from './qemu.ts';

/** Emulated machines are up to ten times slower: no test fails there for jest's default time. */
const testTimeoutMs = 300_000;
const jest = (files: readonly string[]): string[] => ['--experimental-vm-modules', '--disable-warning=ExperimentalWarning', 'node_modules/jest/bin/jest.js', '--runInBand', '--ci', '--silent',
  `--testTimeout=${testTimeoutMs}`, '--reporters=./kernel-tests/vm/reporter.ts', '--runTestsByPath', ...files];

export const guestScript = (files: readonly string[]): string => `#!/bin/sh
cd ${guestCheckout} && PATH=$PWD/node_modules/.bin:$PATH
echo "CHECK $(./weir check -o json | tr -d '\\n')"
node ${jest(files).join(' ')}
`;

export async function runOnHost(files: readonly string[], line: (text: string) => void): Promise<End> {
  const child = spawn('node_modules/.bin/node', jest(files), { cwd: checkout, stdio: ['ignore', 'pipe', 'inherit'], env: { ...process.env, PATH: `${checkout}node_modules/.bin:${process.env['PATH']}` } });
  createInterface({ input: child.stdout }).on('line', line);
  const [status] = await once(child, 'close') as [number | null];
  return { status: status ?? undefined, tail: [] };
}
