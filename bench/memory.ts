// What the agent takes: memory and CPU with examples/shop and with nothing to do, and the kernel's memory of each map.
import { closeSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { openPin } from '../agent/kernel/bpf.ts';
import { limit } from '../bpf/types.gen.ts';
import { Cluster, pod } from '../kernel-tests/cluster.ts';
import { idle } from '../kernel-tests/programs.ts';
import { cpuMs, numberOf } from './proc.ts';
import { atMost, type Figure } from './table.ts';
import { World } from './world.ts';

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
  const maps = pins.map(({ name }): Figure => {
    const fd = openPin(join(pinDir, name));
    try {
      return { name: `map ${name}`, value: numberOf(`/proc/self/fdinfo/${fd}`, 'memlock') / 1024, unit: 'KiB' };
    } finally {
      closeSync(fd);
    }
  }).sort((a, b) => b.value - a.value);
  const all = maps.reduce((sum, map) => sum + map.value, 0) / 1024;
  return [{ name: 'all maps', value: all, unit: 'MiB', ...atMost(150, all, ' MiB') }, ...maps];
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

/** What one more endpoint, identity and policy takes of the kernel, between a smaller and a larger world. */
async function rowFigures(): Promise<Figure[]> {
  const measure = async (identities: number): Promise<{ identities: number; locals: number; policy: number; ipcache: number; endpoints: number }> => {
    const world = await World.make({ identities, policies: 500, subjects: 500, tiers: 10 });
    const memlock = (fd: number): number => numberOf(`/proc/self/fdinfo/${fd}`, 'memlock');
    try {
      return { identities, locals: world.locals, policy: world.policyBytes, ipcache: memlock(world.datapath.ipcache.fd), endpoints: memlock(world.datapath.endpoints.fd) };
    } finally {
      world.close();
    }
  };
  const [few, many] = [await measure(1_000), await measure(5_000)];
  return [
    { name: 'an address of an identity (ipcache, without the inner nodes of its trie)', value: (many.ipcache - few.ipcache) / (many.identities - few.identities), unit: 'bytes' },
    { name: 'a class of identities (its row, of those set aside)', value: limit.ROW_WORDS * 8, unit: 'bytes' },
    { name: 'an endpoint (its row)', value: (many.endpoints - few.endpoints) / (many.locals - few.locals), unit: 'bytes' },
    { name: 'a merged policy of 5 rules and 33 port intervals (its rows, of those set aside)', value: many.policy, unit: 'bytes' },
  ];
}

export async function memory(): Promise<Figure[]> {
  const rows = await rowFigures();
  const files = Object.fromEntries(readdirSync(shop).filter((name) => name.endsWith('.yaml')).map((name) => [name, readFileSync(join(shop, name), 'utf8')]));
  const quiet = await Cluster.start('bench-quiet', { 'one.yaml': pod('one', idle), 'two.yaml': pod('two', idle) });
  const quietFigures = await processFigures('two idle workloads', quiet).finally(async () => quiet.close());
  const busy = await Cluster.start('bench-shop', files);
  try {
    return [...await processFigures('examples/shop', busy), ...quietFigures, ...mapBytes(busy.instance.pinDir), ...rows];
  } finally {
    await busy.close();
  }
}
