// The tests on one kernel: all in one boot, or on this machine; judged by the floor table, reported in lines.
import { appendFileSync, mkdirSync, rmSync } from 'node:fs';
import { release } from 'node:os';
import { join } from 'node:path';
import { chooseAccelerator } from './accelerator.ts';
import { floors } from './floor.ts';
import { checkMark, guestScript, runOnHost } from './guest.ts';
import { judge, type Judged } from './judge.ts';
import { checksOf, keep } from './matrix.ts';
import { kernels, type Kernel } from './kernels.ts';
import { checkout, guestCheckout } from './machine.ts';
import { run, type End } from './qemu.ts';
import { parseCount, parseLine, type TestLine } from './reporter.ts';
import { runByVng, vngCheckout } from './vng.ts';

const timeoutMs = 60 * 60_000;

export const runFolder = (name: string): string => join(checkout, 'build/vm', name);
export const kernelOf = (name: string): Kernel => kernels.find((kernel) => kernel.name === name)!;

/** `vng`: virtme-ng boots it; `verbose`: each test as it ends. */
export interface How { readonly vng: boolean; readonly verbose: boolean }
export type Sums = readonly [passed: number, failed: number, skipped: number];

const write = (text: string): void => { process.stdout.write(text); };

export function report(name: string, { passed, failed, without }: Judged, end: End, seconds: number, how: string): void {
  for (const { line, why } of without) write(`  without: ${line.name} (${why})\n`);
  for (const line of failed) write(`  FAILED ${line.file}: ${line.name}\n${(line.why ?? '').split('\n').slice(0, 30).map((text) => `    ${text}\n`).join('')}`);
  if (end.failure !== undefined) write(`  FAILED ${end.failure}; the end of the console:\n${end.tail.map((text) => `    ${text}\n`).join('')}`);
  write(`${name} (${how}): ${passed.length} passed, ${failed.length + Number(end.failure !== undefined)} failed, ${without.length} without, ${seconds.toFixed(0)} s${end.cpuSeconds === undefined ? '' : `, of CPU ${end.cpuSeconds.toFixed(0)} s`}\n`);
}

async function boot(name: string, files: readonly string[], vng: boolean, take: (text: string) => void): Promise<readonly [End, how: string]> {
  if (name === 'host') return [await runOnHost(files, take), 'this machine'];
  const kernel = kernelOf(name);
  const accelerator = await chooseAccelerator(kernel);
  const command = { script: guestScript(files, accelerator, vng ? vngCheckout : guestCheckout), shell: false };
  const end = await (vng ? runByVng : run)({ kernel, accelerator, folder: runFolder(name), command }, timeoutMs, take);
  return [end, `${kernel.release}, ${accelerator}${vng ? ', virtme-ng' : ''}`];
}

export async function testKernel(name: string, files: readonly string[], { vng, verbose }: How): Promise<Sums> {
  const folder = runFolder(name);
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  const lines: TestLine[] = [];
  let checks: Record<string, string> = {};
  let count: number | undefined;
  const take = (text: string): void => {
    appendFileSync(join(folder, 'lines'), `${text}\n`);
    const line = parseLine(text);
    if (line !== undefined) lines.push(line);
    count ??= parseCount(text);
    if (text.startsWith(checkMark)) checks = checksOf(text.slice(checkMark.length));
    if (verbose) write(line === undefined ? `${name} | ${text}\n` : `${name} ${line.status} ${line.file}: ${line.name} ${line.ms} ms\n`);
  };
  const started = Date.now();
  const [end, how] = await boot(name, files, vng, take);
  const seconds = (Date.now() - started) / 1000;
  const judged = judge(floors.find((floor) => floor.kernel === name)!, files, lines, count);
  keep(name, { release: name === 'host' ? release() : kernelOf(name).release, checks }, judged);
  report(name, judged, end, seconds, how);
  return [judged.passed.length, judged.failed.length + Number(end.failure !== undefined), judged.without.length];
}
