// npm run test:kernel [-- --kernel 6.1 --filter PATTERN --jobs N --matrix --whole --vng --two-nodes --shell]: the kernel tests on each kernel in a VM,
// judged by the floor table.
import { mkdirSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import { ConfigError, messageOf } from '../../agent/errors.ts';
import { chooseAccelerator } from './accelerator.ts';
import { whyNoKernels } from './apt.ts';
import { floors, groups, quick, testFiles } from './floor.ts';
import { kernels } from './kernels.ts';
import { writeMatrix } from './matrix.ts';
import { kernelOf, runFolder, testKernel, type Sums } from './one-kernel.ts';
import { shell } from './qemu.ts';
import { testTwoNodes } from './two-nodes.ts';

const { values } = parseArgs({ options: {
  kernel: { type: 'string', multiple: true }, filter: { type: 'string' }, jobs: { type: 'string' }, quick: { type: 'boolean', default: false }, matrix: { type: 'boolean', default: false },
  whole: { type: 'boolean', default: false }, vng: { type: 'boolean', default: false }, 'two-nodes': { type: 'boolean', default: false }, shell: { type: 'boolean', default: false }, verbose: { type: 'boolean', default: false },
} });

/** Those that must pass on the kernel; with `--whole` or a filter those that belong to other kernels as well. */
function chosenFiles(kernel: string): string[] {
  const { filter, whole } = values;
  const wanted = testFiles(filter === undefined && !whole ? kernel : undefined).filter((file) => (!values.quick || quick[kernel]?.test(file) === true) && (filter === undefined || new RegExp(filter).test(file)));
  if (wanted.length === 0) throw new ConfigError(`no test file matches ${filter ?? '--quick'}`, `there are: ${groups.map((group) => group.name).join(', ')}; see kernel-tests/vm/floor.ts`);
  return wanted;
}

/** The matrix is of kernels in a VM: this machine's own tests are `npm test`. */
function chosenKernels(): string[] {
  const known = floors.map((floor) => floor.kernel);
  const wanted = values.kernel ?? (values.quick ? Object.keys(quick) : known.filter((name) => !values.matrix || name !== 'host'));
  const unknown = wanted.find((name) => !known.includes(name));
  if (unknown !== undefined) throw new ConfigError(`no kernel ${unknown}`, `there are: ${known.join(', ')}`);
  return wanted;
}

/** Two VMs side by side do not slow each other on two cores. */
function chosenJobs(): number {
  const jobs = values.jobs === undefined ? Math.min(2, availableParallelism()) : Number(values.jobs);
  if (!Number.isInteger(jobs) || jobs < 1 || jobs > 16) throw new ConfigError(`--jobs ${values.jobs}: from 1 to 16`, 'for example --jobs 2');
  return jobs;
}

async function testAll(names: readonly string[], jobs: number): Promise<Sums> {
  const sums = [0, 0, 0];
  const one = async (name: string): Promise<void> => {
    const found = await testKernel(name, chosenFiles(name), { vng: values.vng, verbose: values.verbose });
    found.forEach((count, index) => { sums[index]! += count; });
  };
  const waiting = names.filter((name) => name !== 'host');
  const worker = async (): Promise<void> => { for (let name = waiting.shift(); name !== undefined; name = waiting.shift()) await one(name); };
  await Promise.all(Array.from({ length: jobs }, worker));
  // Its tests have limits of time that know of no emulated machine beside it.
  if (names.includes('host')) await one('host');
  return sums as unknown as Sums;
}

async function openShell(names: readonly string[]): Promise<void> {
  const kernel = kernelOf(names.find((name) => name !== 'host')!);
  mkdirSync(runFolder('shell'), { recursive: true });
  await shell({ kernel, accelerator: await chooseAccelerator(kernel), folder: runFolder('shell'), command: { script: '#!/bin/sh\ncd /weir && exec bash -i\n', shell: true } });
}

async function main(): Promise<void> {
  const names = chosenKernels();
  const jobs = chosenJobs();
  if (values.shell) {
    await openShell(names);
    return;
  }
  const lacking = names.some((name) => name !== 'host') ? whyNoKernels(kernels.filter((kernel) => names.includes(kernel.name))) : undefined;
  if (lacking !== undefined && !values.quick) throw new ConfigError(lacking, 'run it on an x86-64 Debian with its archives configured, or only here: --kernel host');
  if (lacking !== undefined) {
    process.stdout.write(`skipped: kernels in a VM: ${lacking}\nkernel: 0 passed, 0 failed, 1 skipped\n`);
    return;
  }
  const started = Date.now();
  const [passed, failed, skipped] = values['two-nodes'] ? await testTwoNodes(values.kernel === undefined ? ['6.12', '6.12'] : [names[0]!, names[1] ?? names[0]!], values.verbose) : await testAll(names, jobs);
  if (values.matrix) writeMatrix();
  const what = values['two-nodes'] ? 'two nodes' : names.join(', ');
  process.stdout.write(`${what}: ${((Date.now() - started) / 60_000).toFixed(1)} minutes\nkernel: ${passed} passed, ${failed} failed, ${skipped} skipped\n`);
  if (failed > 0 || passed === 0) process.exitCode = 1;
}

// A process that is told to go takes its VMs with it.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => { process.exit(1); });
main().catch((error: unknown) => {
  process.stderr.write(`test:kernel: ${messageOf(error)}\n${error instanceof ConfigError ? `  ${error.mend}\n` : ''}`);
  process.stdout.write('kernel: 0 passed, 1 failed, 0 skipped\n');
  process.exitCode = 1;
});
