// services, part two: how fast Services get into the kernel, and what they take. Each world in a process of its own, so that memory is its own.
import { execFileSync } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { defaultSeed, maglevTable, seedOf } from '../agent/service/maglev.ts';
import { launched } from './policy.ts';
import { cpuMs, numberOf } from './proc.ts';
import { ServicesWorld, sliceRow } from './services-world.ts';
import { median, quantile } from './statistics.ts';
import { atMost, type Figure } from './table.ts';

const services = 10_000;
const backends = 10;
const changes = 500;
const pauseMs = 12; // past the pause that flapping backends meet
const rounds = 15;

interface Measured { readonly fillMs: number; readonly fillCpuMs: number; readonly rssMiB: number; readonly changeMs: readonly number[]; readonly flapCpuShare: number }

async function measure(): Promise<Measured> {
  const world = new ServicesWorld();
  const [start, cpu] = [performance.now(), cpuMs(process.pid)];
  world.fill(services, backends);
  const fillMs = performance.now() - start;
  const fillCpuMs = cpuMs(process.pid) - cpu;
  if (world.inKernel(0) !== backends || world.inKernel(services - 1) !== backends) throw new Error('not all Services are in the kernel');
  await world.reconciler.idle();
  const changeMs: number[] = [];
  for (let change = 0; change < changes; change += 1) {
    const index = (change * 7_919) % services;
    await sleep(pauseMs);
    const at = performance.now();
    world.slices.write([sliceRow(index, backends, change % backends)]);
    // As an agent has it: by the loop, not by a call.
    while (world.inKernel(index) !== backends - 1) await new Promise(setImmediate);
    changeMs.push(performance.now() - at);
  }
  (globalThis as { gc?: () => void }).gc?.();
  const rssMiB = numberOf('/proc/self/status', 'VmRSS') / 1024;
  const flapping = cpuMs(process.pid);
  const flapStart = performance.now();
  for (let flap = 0; flap < 200; flap += 1) {
    world.slices.write([sliceRow(0, backends, flap % 2 === 0 ? 3 : -1)]);
    await sleep(10);
  }
  const flapCpuShare = (cpuMs(process.pid) - flapping) / (performance.now() - flapStart) * 100;
  await world.close();
  return { fillMs, fillCpuMs, rssMiB, changeMs, flapCpuShare };
}

function maglevMs(size: number, count: number): number {
  const seed = seedOf(defaultSeed);
  return median(Array.from({ length: rounds }, (_, round) => {
    const ends = Array.from({ length: count }, (__, index) => ({ hashString: `[10.${round}.${index >> 8}.${index & 255}:80/TCP,State:active]`, weight: 100 }));
    const start = performance.now();
    maglevTable(ends, size, seed);
    return performance.now() - start;
  }));
}

export async function servicesControl(): Promise<Figure[]> {
  const runs = [0, 1, 2].map(() => JSON.parse(execFileSync(process.execPath, [...launched.arguments, fileURLToPath(import.meta.url)], { encoding: 'utf8', env: { ...process.env, ...launched.env } })) as Measured);
  // Of the CPU, all threads together: other work on this machine is not in it.
  const seconds = median(runs.map(({ fillCpuMs }) => fillCpuMs)) / 1000;
  const rss = Math.max(...runs.map(({ rssMiB }) => rssMiB));
  const all = runs.flatMap(({ changeMs }) => changeMs);
  const p99 = quantile(all, 0.99);
  const table = maglevMs(16_381, 100);
  return [
    { name: `${services} Services x ${backends} backends from nothing, CPU`, value: seconds, unit: 's', ...atMost(3, seconds, ' s') },
    { name: '  by the clock', value: median(runs.map(({ fillMs }) => fillMs)) / 1000, unit: 's' },
    { name: '  RSS after it and the changes', value: rss, unit: 'MiB', ...atMost(200, rss, ' MiB') },
    { name: 'one backend changed among them, in the kernel, P50', value: median(all), unit: 'ms' },
    { name: '  P99', value: p99, unit: 'ms', ...atMost(20, p99, ' ms') },
    { name: 'a backend that flaps 100 times a second', value: median(runs.map(({ flapCpuShare }) => flapCpuShare)), unit: '% of a core' },
    { name: 'a Maglev table of 16,381 slots for 100 backends', value: table, unit: 'ms', ...atMost(5, table, ' ms') },
    { name: '  of 131,071 slots for 1,000', value: maglevMs(131_071, 1_000), unit: 'ms' },
  ];
}

if (process.argv[1] === fileURLToPath(import.meta.url)) process.stdout.write(JSON.stringify(await measure()));
