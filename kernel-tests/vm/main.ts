// npm run test:kernel [-- --kernel 6.1 --filter PATTERN --shell --matrix]: the kernel tests on each kernel in a VM, one boot a kernel, judged by the floor table.
import { appendFileSync, mkdirSync, rmSync } from 'node:fs';
import { release } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { ConfigError, messageOf } from '../../agent/errors.ts';
import { chooseAccelerator } from './accelerator.ts';
import { whyNoKernels } from './apt.ts';
import { floors, groups, testFiles } from './floor.ts';
import { checkMark, guestScript, runOnHost } from './guest.ts';
import { judge, type Judged } from './judge.ts';
import { checksOf, keep, writeMatrix } from './matrix.ts';
import { kernels, type Kernel } from './kernels.ts';
import { checkout } from './machine.ts';
import { run, shell, type End } from './qemu.ts';
import { parseCount, parseLine, type TestLine } from './reporter.ts';

const { values } = parseArgs({ options: { kernel: { type: 'string', multiple: true }, filter: { type: 'string' }, shell: { type: 'boolean' }, verbose: { type: 'boolean' }, quick: { type: 'boolean' }, matrix: { type: 'boolean' } } });
const timeoutMs = 40 * 60_000;
const runFolder = (name: string): string => join(checkout, 'build/vm', name);

/** Those that the filter names. */
function chosenFiles(): string[] {
  const wanted = testFiles().filter((file) => (values.quick !== true || groups.some((group) => group.quick?.test(file) === true)) && (values.filter === undefined || new RegExp(values.filter).test(file)));
  if (wanted.length === 0) throw new ConfigError(`no test file matches ${values.filter}`, `there are: ${groups.map((group) => group.name).join(', ')}; see kernel-tests/vm/floor.ts`);
  return wanted;
}

function chosenKernels(): string[] {
  const known = floors.map((floor) => floor.kernel);
  const wanted = values.kernel ?? known;
  const unknown = wanted.find((name) => !known.includes(name));
  if (unknown !== undefined) throw new ConfigError(`no kernel ${unknown}`, `there are: ${known.join(', ')}`);
  return wanted;
}

const kernelOf = (name: string): Kernel => kernels.find((kernel) => kernel.name === name)!;

function report(name: string, { passed, failed, without }: Judged, end: End, seconds: number, how: string): void {
  for (const { line, why } of without) process.stdout.write(`  without: ${line.name} (${why})\n`);
  for (const line of failed) process.stdout.write(`  FAILED ${line.file}: ${line.name}\n${(line.why ?? '').split('\n').slice(0, 30).map((text) => `    ${text}\n`).join('')}`);
  if (end.failure !== undefined) process.stdout.write(`  FAILED ${end.failure}; the end of the console:\n${end.tail.map((text) => `    ${text}\n`).join('')}`);
  process.stdout.write(`${name} (${how}): ${passed.length} passed, ${failed.length + Number(end.failure !== undefined)} failed, ${without.length} without, ${seconds.toFixed(0)} s\n`);
}

/** One kernel, one boot. */
async function testKernel(name: string, files: readonly string[]): Promise<readonly [passed: number, failed: number, skipped: number]> {
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
    if (values.verbose === true) process.stdout.write(line === undefined ? `  | ${text}\n` : `  ${line.status} ${line.file}: ${line.name} ${line.ms} ms\n`);
  };
  const started = Date.now();
  const accelerator = name === 'host' ? undefined : await chooseAccelerator(kernelOf(name));
  const end = accelerator === undefined ? await runOnHost(files, take)
    : await run({ kernel: kernelOf(name), accelerator, folder, command: { script: guestScript(files, accelerator), shell: false } }, timeoutMs, take);
  const judged = judge(floors.find((floor) => floor.kernel === name)!, files, lines, count);
  keep(name, accelerator === undefined ? release() : kernelOf(name).release, checks, judged);
  report(name, judged, end, (Date.now() - started) / 1000, accelerator === undefined ? 'this machine' : `${kernelOf(name).release}, ${accelerator}`);
  return [judged.passed.length, judged.failed.length + Number(end.failure !== undefined), judged.without.length];
}

async function main(): Promise<void> {
  const names = chosenKernels();
  if (values.shell === true) {
    const kernel = kernelOf(names.find((name) => name !== 'host')!);
    mkdirSync(runFolder('shell'), { recursive: true });
    await shell({ kernel, accelerator: await chooseAccelerator(kernel), folder: runFolder('shell'), command: { script: '#!/bin/sh\ncd /weir && exec bash -i\n', shell: true } });
    return;
  }
  if (values.matrix === true) {
    writeMatrix();
    return;
  }
  const lacking = names.some((name) => name !== 'host') ? whyNoKernels(kernels.filter((kernel) => names.includes(kernel.name))) : undefined;
  if (lacking !== undefined && values.quick !== true) throw new ConfigError(lacking, 'run it on an x86-64 Debian with its archives configured, or only here: --kernel host');
  if (lacking !== undefined) {
    process.stdout.write(`skipped: kernels in a VM: ${lacking}\nkernel: 0 passed, 0 failed, 1 skipped\n`);
    return;
  }
  const files = chosenFiles();
  const sums = [0, 0, 0];
  for (const name of names) (await testKernel(name, files)).forEach((count, index) => { sums[index]! += count; });
  process.stdout.write(`kernel: ${sums[0]} passed, ${sums[1]} failed, ${sums[2]} skipped\n`);
  if (sums[1]! > 0 || sums[0] === 0) process.exitCode = 1;
}

// A process that is told to go takes its VM with it.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => { process.exit(1); });
main().catch((error: unknown) => {
  process.stderr.write(`test:kernel: ${messageOf(error)}\n${error instanceof ConfigError ? `  ${error.mend}\n` : ''}`);
  process.stdout.write('kernel: 0 passed, 1 failed, 0 skipped\n');
  process.exitCode = 1;
});
