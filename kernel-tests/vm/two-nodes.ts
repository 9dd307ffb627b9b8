// Two VMs as two nodes (`--two-nodes`): joined by a cable of QEMU's, each with an agent of one cluster, examples/two-nodes across them.
import { appendFileSync, existsSync, mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { chooseAccelerator } from './accelerator.ts';
import { slownessOf } from './guest.ts';
import { kernelOf, report, runFolder, type Sums } from './one-kernel.ts';
import { judge } from './judge.ts';
import { guestCheckout } from './machine.ts';
import { run, type End } from './qemu.ts';
import { parseCount, parseLine, type TestLine } from './reporter.ts';

const timeoutMs = 30 * 60_000;
const names = ['node1', 'node2'] as const;
const cableTimeoutMs = 120_000;
const identitiesMark = 'IDENTITIES ';

interface Side { readonly lines: TestLine[]; readonly identities: string[]; count: number | undefined }

/** `kernels`: of node1 and node2. */
export async function testTwoNodes(kernels: readonly [string, string], verbose: boolean): Promise<Sums> {
  const cable = join(runFolder('two-nodes'), 'cable');
  rmSync(runFolder('two-nodes'), { recursive: true, force: true });
  mkdirSync(runFolder('two-nodes'), { recursive: true });
  const started = Date.now();
  const all = await Promise.all(names.map(async (name, index) => {
    // The end that dials must find the one that listens.
    for (const end = Date.now() + cableTimeoutMs; index === 1 && !existsSync(cable); await sleep(100)) if (Date.now() > end) throw new Error(`${names[0]} has not come up`);
    return boot(name, kernels[index]!, { path: cable, listens: index === 0, mac: `02:77:00:00:00:0${index + 1}` }, verbose);
  }));
  const sides = all.map(({ side }) => side);
  const agree: TestLine = JSON.stringify(sides[0]!.identities) === JSON.stringify(sides[1]!.identities) && sides[0]!.identities.length > 0 ? { file: 'two-nodes', name: 'both know the same identities', status: 'passed', ms: 0 }
    : { file: 'two-nodes', name: 'both know the same identities', status: 'failed', ms: 0, why: JSON.stringify(sides.map(({ identities }) => identities)) };
  const sums = [0, 0, 0];
  all.forEach(({ side, end, how }, index) => {
    const judged = judge({ kernel: kernels[index]!, without: [] }, [`two-nodes ${names[index]}`], side.lines, side.count);
    const whole = index === 0 ? { ...judged, [agree.status]: [...judged[agree.status as 'passed' | 'failed'], agree] } : judged;
    report(names[index]!, whole, end, (Date.now() - started) / 1000, how);
    [whole.passed.length, whole.failed.length + Number(end.failure !== undefined), 0].forEach((value, at) => { sums[at]! += value; });
  });
  return sums as unknown as Sums;
}

async function boot(name: (typeof names)[number], kernelName: string, cable: { path: string; listens: boolean; mac: string }, verbose: boolean): Promise<{ side: Side; end: End; how: string }> {
  const kernel = kernelOf(kernelName);
  const accelerator = await chooseAccelerator(kernel);
  const folder = join(runFolder('two-nodes'), name);
  mkdirSync(folder, { recursive: true });
  const side: Side = { lines: [], identities: [], count: undefined };
  const script = `#!/bin/sh\ncd ${guestCheckout} && PATH=$PWD/node_modules/.bin:$PATH ${slownessOf(accelerator)} exec node --disable-warning=ExperimentalWarning kernel-tests/vm/two-nodes-guest.ts ${name}\n`;
  const end = await run({ kernel, accelerator, folder, command: { script, shell: false }, cable }, timeoutMs, (text) => {
    appendFileSync(join(folder, 'lines'), `${text}\n`);
    const line = parseLine(text);
    if (line !== undefined) side.lines.push(line);
    if (text.startsWith(identitiesMark)) side.identities.push(text.slice(identitiesMark.length));
    side.count ??= parseCount(text);
    if (verbose) process.stdout.write(line === undefined ? `${name} | ${text}\n` : `${name} ${line.status}: ${line.name} ${line.ms} ms\n`);
  });
  return { side, end, how: `${kernel.release}, ${accelerator}` };
}
