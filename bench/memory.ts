// What the agent takes: memory and CPU with examples/shop and with nothing to do, and the kernel's memory of each map.
import { closeSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { openPin } from '../agent/kernel/bpf.ts';
import { Cluster, pod } from '../kernel-tests/cluster.ts';
import { idle } from '../kernel-tests/programs.ts';
import { cpuMs, numberOf } from './proc.ts';
import { atMost, type Figure } from './table.ts';

const shop = fileURLToPath(new URL('../examples/shop/', import.meta.url));
const settleMs = 5_000;
const watchMs = 10_000;
async function cpuShare(pid: number): Promise<number> {
  const [before, start] = [cpuMs(pid), performance.now()];
  await sleep(watchMs);
  return ((cpuMs(pid) - before) / (performance.now() - start)) * 100;
}

function mapBytes(pinDir: string): Figure[] {
  const pins = readdirSync(pinDir, { withFileTypes: true }).filter((entry) => !entry.isDirectory());
  return pins.map(({ name }): Figure => {
    const fd = openPin(join(pinDir, name));
    try {
      return { name: `map ${name}`, value: numberOf(`/proc/self/fdinfo/${fd}`, 'memlock') / 1024, unit: 'KiB' };
    } finally {
      closeSync(fd);
    }
  }).sort((a, b) => b.value - a.value);
}

async function processFigures(title: string, cluster: Cluster): Promise<Figure[]> {
  await sleep(settleMs);
  const file = `/proc/${cluster.pid}/status`;
  const cpu = await cpuShare(cluster.pid);
  const mib = (name: string): number => numberOf(file, name) / 1024;
  const rss = mib('VmRSS');
  return [
    { name: `RSS, ${title}`, value: rss, unit: 'MiB', ...atMost(100, rss, ' MiB') },
    { name: `  of it anonymous`, value: mib('RssAnon'), unit: 'MiB' }, { name: `  of it files`, value: mib('RssFile'), unit: 'MiB' },
    { name: `  of it shared (maps, ring)`, value: mib('RssShmem'), unit: 'MiB' },
    { name: `CPU, ${title}`, value: cpu, unit: '% of a core' },
  ];
}

export async function memory(): Promise<Figure[]> {
  const files = Object.fromEntries(readdirSync(shop).filter((name) => name.endsWith('.yaml')).map((name) => [name, readFileSync(join(shop, name), 'utf8')]));
  const quiet = await Cluster.start('bench-quiet', { 'one.yaml': pod('one', idle), 'two.yaml': pod('two', idle) });
  const quietFigures = await processFigures('two idle workloads', quiet).finally(async () => quiet.close());
  const busy = await Cluster.start('bench-shop', files);
  try {
    return [...await processFigures('examples/shop', busy), ...quietFigures, ...mapBytes(busy.instance.pinDir)];
  } finally {
    await busy.close();
  }
}
