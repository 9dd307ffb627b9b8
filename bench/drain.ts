// What the agent's reader takes at 1 M records/s: the kernel's ring filled by another thread, drained by the agent's own source
// into the observer, filtered by streams that pass nothing. Only the reading thread's CPU counts.
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { loadDatapath } from '../agent/datapath/maps.ts';
import { readFlows } from '../agent/flow/source.ts';
import { objectPath } from '../bpf/build.ts';
import { frame } from '../bpf/testing/packet.ts';
import { counter } from '../bpf/types.gen.ts';
import type { Lookups } from '../hubble/flow.ts';
import { compileEntryFilters } from '../hubble/filters/raw.ts';
import { Observer } from '../hubble/observer.ts';
import { compileQuery } from '../hubble/query.ts';
import { FlowStream } from '../hubble/stream.ts';
import type { FlowFilter } from '../hubble/types.ts';
import { atMost, type Figure } from './table.ts';

export interface Shared { readonly program: number; readonly perSecond: number; readonly words: SharedArrayBuffer }

/** Of an interface without an endpoint: dropped, with a record. */
export const packet = frame().mac('02:00:00:00:00:01').ipv4('10.0.0.1', '10.0.0.2').tcp(40_000, 80, 'S').bytes();

const perSecond = 1_000_000;
const warmMs = 1_500;
const watchMs = 4_000;

const lookups: Lookups = {
  endpoint: (address) => ({ id: 1, identity: 0, namespace: 'default', podName: address, labels: ['k8s:app=a'], workloads: [], clusterName: 'default' }),
  identityLabels: () => [], policies: () => [], changedNs: () => 0, forgotten: () => 0, toUnixNs: (ns) => ns, nodeName: 'bench',
};

interface Subject { readonly name: string; readonly filters: readonly FlowFilter[]; readonly screen: boolean }
const subjects: readonly Subject[] = [
  { name: 'drained', filters: [], screen: false },
  { name: 'drained and filtered by verdict', filters: [{ verdict: [1] }], screen: false },
  { name: 'drained and filtered by address, port and pod', filters: [{ source_ip: ['10.0.0.0/8'], destination_port: ['80'], destination_pod: ['default/other'] }], screen: false },
  { name: 'drained, and folded for the screen', filters: [], screen: true },
];

async function measure({ name, filters, screen }: Subject, target: boolean): Promise<Figure[]> {
  const datapath = loadDatapath(objectPath);
  const observer = new Observer({ nodeName: 'bench', version: '0', lookups });
  if (screen) observer.subscribe(() => {});
  if (filters.length > 0) {
    const sink = { entry: () => true, tell: () => true, flush: () => true, whenDrained: () => {}, end: () => {} };
    new FlowStream(observer.entries, compileQuery({ follow: true }), compileEntryFilters(observer.entries, filters), sink, 'bench', Date.now).run();
  }
  const stop = readFlows(datapath, {
    before: () => {}, upkeep: () => {}, lost: (count) => { observer.lost('PERF_EVENT_RING_BUFFER', count); }, records: (slots) => { observer.records(slots); },
  });
  const shared: Shared = { program: datapath.object.programs.get('from_workload')!, perSecond, words: new SharedArrayBuffer(8) };
  const producer = new Worker(new URL('./producer.ts', import.meta.url), { workerData: shared });
  await sleep(warmMs);
  const [cpu, seen, at] = [process.threadCpuUsage(), observer.stats.seen, performance.now()];
  await sleep(watchMs);
  const [spent, records, ms] = [process.threadCpuUsage(cpu), observer.stats.seen - seen, performance.now() - at];
  const ended = new Promise((resolve) => { producer.once('exit', resolve); });
  Atomics.store(new Int32Array(shared.words), 0, 1);
  await ended;
  await sleep(200);
  const lost = Number(datapath.counter(counter.COUNTER_RECORDS_LOST));
  stop();
  datapath.object.close();
  if (records === 0) throw new Error(`${name}: no record was read`);
  const share = (spent.user + spent.system) / 1000 / ms / (records / ms * 1000) * 1e6 * 100;
  return [
    { name: `CPU for 1 M records/s, ${name}`, value: share, unit: '% of a core', ...(target ? atMost(3, share, ' %') : {}) },
    { name: `  at records`, value: records / ms * 1000, unit: '/s' }, { name: `  of them lost in the kernel's ring`, value: lost / Atomics.load(new Int32Array(shared.words), 1) * 100, unit: '%' },
  ];
}

export async function drain(): Promise<Figure[]> {
  const figures: Figure[] = [];
  for (const subject of subjects) figures.push(...await measure(subject, subject.filters.length > 0));
  return figures;
}
