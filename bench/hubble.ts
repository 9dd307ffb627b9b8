// What the Hubble API costs: flows to gRPC clients in processes of their own, ten clients with filters, readers inside the process, a relay of
// ten agents. Records are made here, without a kernel; only the CPU of this thread counts, which is the agent's or the relay's.
import { fork, type ChildProcess } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { follow } from '../hubble/follow.ts';
import { toJson } from '../hubble/json.ts';
import { listenUnix } from '../hubble/listen.ts';
import { countFlows, defaultMetrics } from '../hubble/metrics/flows.ts';
import { Registry } from '../hubble/metrics/registry.ts';
import { Observer } from '../hubble/observer.ts';
import { getFlowsResponseMessage } from '../hubble/proto.ts';
import { defaultRelayOptions } from '../hubble/relay/flows.ts';
import { Nodes } from '../hubble/relay/nodes.ts';
import { relayServer } from '../hubble/relay/serve.ts';
import { serveHubble } from '../hubble/serve.ts';
import { servedOf } from '../hubble/testing.ts';
import type { FlowFilter } from '../hubble/types.ts';
import { Feed, lookups, onePercent, type Task, type Told } from './hubble-peer.ts';
import { steps } from './hubble-steps.ts';
import { atLeast, atMost, type Figure } from './table.ts';

const warmMs = 1_500;
const watchMs = 4_000;
const capacity = 65_535;
const peer = new URL('./hubble-peer.ts', import.meta.url);

interface Clients { readonly totals: () => Promise<Told>; readonly stop: () => void }

async function start(tasks: readonly Task[]): Promise<Clients> {
  const children = tasks.map((task): ChildProcess => fork(peer, [JSON.stringify(task)], { execArgv: process.execArgv }));
  const next = async (child: ChildProcess): Promise<Told> => new Promise((resolve) => { child.once('message', (told) => { resolve(told as Told); }); });
  await Promise.all(children.map(next));
  return {
    totals: async () => {
      const told = await Promise.all(children.map(async (child) => { const answer = next(child); child.send('tell'); return answer; }));
      return told.reduce((sum, one) => ({ flows: sum.flows + one.flows, lost: sum.lost + one.lost, disordered: sum.disordered + one.disordered }), { flows: 0, lost: 0, disordered: 0 });
    },
    stop: () => { for (const child of children) child.kill(); },
  };
}

interface Spent { readonly cpuUs: number; readonly ms: number; readonly told: Told }

async function watch(clients: Clients): Promise<Spent> {
  await sleep(warmMs);
  const before = await clients.totals();
  const [cpu, at] = [process.threadCpuUsage(), performance.now()];
  await sleep(watchMs);
  const [spent, ms] = [process.threadCpuUsage(cpu), performance.now() - at];
  const after = await clients.totals();
  return { cpuUs: spent.user + spent.system, ms, told: { flows: after.flows - before.flows, lost: after.lost - before.lost, disordered: after.disordered - before.disordered } };
}

/** An agent that `perSecond` records come to, and its clients, each with filters. */
async function serve(folder: string, perSecond: number, filters: readonly FlowFilter[][]): Promise<Spent> {
  const observer = new Observer({ capacity, nodeName: 'bench', version: '0', lookups: lookups('bench') });
  const socketPath = join(folder, 'hubble.sock');
  const { close } = await serveHubble(servedOf(observer), { socketPath, log: () => undefined });
  const clients = await start(filters.map((whitelist) => ({ kind: 'client', address: `unix://${socketPath}`, whitelist })));
  const feed = new Feed(observer, perSecond);
  try {
    return await watch(clients);
  } finally {
    feed.stop();
    clients.stop();
    close();
  }
}

/** Everything that was offered in all, and everything that came or was told as lost. */
async function account(folder: string): Promise<Figure[]> {
  const observer = new Observer({ capacity: 4_095, nodeName: 'bench', version: '0', lookups: lookups('bench') });
  const socketPath = join(folder, 'account.sock');
  const { close } = await serveHubble(servedOf(observer), { socketPath, log: () => undefined });
  const clients = await start([{ kind: 'client', address: `unix://${socketPath}`, whitelist: [] }]);
  const first = new Feed(observer, 100);
  while ((await clients.totals()).flows === 0) await sleep(20);
  first.stop();
  await sleep(200);
  const early = observer.stats.seen - (await clients.totals()).flows; // before the client followed
  const feed = new Feed(observer, 1_000_000);
  await sleep(3_000);
  feed.stop();
  let told = await clients.totals();
  for (let turn = 0; turn < 100 && told.flows + told.lost < observer.stats.seen - early; turn += 1) {
    await sleep(100);
    told = await clients.totals();
  }
  clients.stop();
  close();
  const offered = observer.stats.seen - early;
  return [
    { name: 'offered more than can be taken', value: offered, unit: 'flows' }, { name: '  delivered', value: told.flows, unit: 'flows' },
    { name: '  told as lost', value: told.lost, unit: 'flows' }, { name: '  of neither kind', value: offered - told.flows - told.lost, unit: 'flows', ...atMost(0, Math.abs(offered - told.flows - told.lost)) },
  ];
}

/** What 1 M flows/s cost when a client takes 1 % of them; making them costs too, and is taken off. */
async function selective(folder: string): Promise<Figure[]> {
  const perSecond = 1_000_000;
  const [alone, served] = [await serve(folder, perSecond, []), await serve(folder, perSecond, [onePercent])];
  const share = (served.cpuUs / served.ms - alone.cpuUs / alone.ms) / 10;
  return [
    { name: 'a client that takes 1 % of 1 M flows/s: CPU of filter and delivery', value: share, unit: '% of a core', ...atMost(7, share, ' %') },
    { name: '  delivered', value: served.told.flows / served.ms * 1_000, unit: '/s' }, { name: '  told as lost', value: served.told.lost, unit: 'flows' },
  ];
}

/** A thousand clients that take one flow and read no more. */
async function crowd(folder: string): Promise<Figure[]> {
  const count = 1_000;
  const observer = new Observer({ capacity, nodeName: 'bench', version: '0', lookups: lookups('bench') });
  const socketPath = join(folder, 'crowd.sock');
  const { close } = await serveHubble(servedOf(observer), { socketPath, log: () => undefined });
  const mebibytes = (): number => process.memoryUsage().rss / 2 ** 20;
  const before = mebibytes();
  const clients = await start([{ kind: 'slow clients', address: `unix://${socketPath}`, count }]);
  const feed = new Feed(observer, 20_000);
  for (let turn = 0; turn < 200 && (await clients.totals()).flows < count; turn += 1) await sleep(100);
  const { cpuUs, ms } = await watch(clients);
  const { flows } = await clients.totals();
  feed.stop();
  clients.stop();
  close();
  return [
    { name: 'clients that follow and do not read, of 1,000', value: flows, unit: 'clients' }, { name: '  memory for all of them, 20,000 flows/s', value: mebibytes() - before, unit: 'MiB' },
    { name: '  CPU', value: cpuUs / ms / 10, unit: '% of a core' },
  ];
}

const port = (n: number): FlowFilter[] => [{ destination_port: [String(n)] }];

const against = (name: string, value: number, base: number): Figure => ({ name, value, unit: 'µs', base, ratio: value / base, target: 'at most 1.5x', held: value <= 1.5 * base });

async function delivery(folder: string): Promise<Figure[]> {
  const tenth = Array.from({ length: 10 }, (_, index) => port(80 + index));
  const alike = Array.from({ length: 10 }, () => []);
  /** CPU for a delivered flow, beyond what making the records takes. */
  const measured = async (perSecond: number, ...clients: FlowFilter[][][]): Promise<{ readonly spent: Spent; readonly us: number }[]> => {
    const making = await serve(folder, perSecond, []);
    const results = [];
    for (const filters of clients) {
      const spent = await serve(folder, perSecond, filters);
      results.push({ spent, us: (spent.cpuUs - making.cpuUs / making.ms * spent.ms) / spent.told.flows });
    }
    return results;
  };
  const [full] = await measured(300_000, [[]]);
  const [few, fewTen, fewAlike] = await measured(20_000, [[]], tenth, alike);
  const [many, manyTen] = await measured(100_000, [[]], tenth);
  const delivered = full!.spent.told.flows / full!.spent.ms * 1_000;
  return [
    { name: 'flows/s to one gRPC client, 300,000/s offered', value: delivered, unit: '/s', ...atLeast(150_000, delivered) },
    { name: '  agent\'s CPU for each', value: full!.us, unit: 'µs', ...atMost(2, full!.us, ' µs') },
    { name: '  told as lost', value: full!.spent.told.lost / full!.spent.ms * 1_000, unit: '/s' },
    { name: 'agent\'s CPU for a flow at 20,000/s', value: few!.us, unit: 'µs', ...atMost(2, few!.us, ' µs') },
    against('the same for ten clients that take another tenth each', fewTen!.us, few!.us),
    against('the same at 100,000/s', manyTen!.us, many!.us),
    { name: '  of which the ten were delivered', value: manyTen!.spent.told.flows / manyTen!.spent.ms * 1_000, unit: '/s' },
    { name: 'ten clients that take all at 20,000/s, for each flow to all of them', value: fewAlike!.us * 10, unit: 'µs', base: few!.us, ratio: fewAlike!.us * 10 / few!.us },
  ];
}

/** CPU of a reader inside the process for each flow, at a rate that it can take. */
async function inside(name: string, begin: (observer: Observer) => () => void): Promise<Figure> {
  const perSecond = 20_000;
  const observer = new Observer({ capacity, nodeName: 'bench', version: '0', lookups: lookups('bench') });
  const stop = begin(observer);
  const feed = new Feed(observer, perSecond);
  await sleep(warmMs);
  const [cpu, seen] = [process.threadCpuUsage(), observer.stats.seen];
  await sleep(watchMs);
  const { user, system } = process.threadCpuUsage(cpu);
  feed.stop();
  stop();
  return { name, value: (user + system) / (observer.stats.seen - seen), unit: 'µs' };
}

async function relay(folder: string): Promise<Figure[]> {
  const [count, perSecond] = [10, 5_000];
  const agents = await start([{ kind: 'agents', folder, count, perSecond }]);
  const nodes = new Nodes({ retryMs: 500, log: () => undefined });
  for (let index = 0; index < count; index += 1) nodes.set({ name: `n${index}`, address: `unix://${join(folder, `n${index}.sock`)}` });
  const { server, close } = relayServer(nodes, '0', defaultRelayOptions);
  const path = join(folder, 'relay.sock');
  const remove = await listenUnix(server, path);
  while (nodes.list().some(({ connected }) => !connected)) await sleep(50);
  const clients = await start([{ kind: 'client', address: `unix://${path}`, whitelist: [] }]);
  try {
    const { cpuUs, ms, told } = await watch(clients);
    const rate = told.flows / ms * 1_000;
    return [
      { name: 'relay of 10 nodes with 5,000 flows/s each: merged', value: rate, unit: '/s', ...atLeast(50_000 * 0.98, rate) },
      { name: '  its CPU', value: cpuUs / ms / 10, unit: '% of a core', ...atMost(100, cpuUs / ms / 10, ' %') },
      { name: '  out of order / lost', value: told.disordered, unit: 'flows' }, { name: '  told as lost', value: told.lost, unit: 'flows' },
    ];
  } finally {
    clients.stop();
    agents.stop();
    nodes.close();
    close();
    remove();
  }
}

function ringMemory(): Figure {
  const before = process.memoryUsage().arrayBuffers;
  const observer = new Observer({ capacity, nodeName: 'bench', version: '0', lookups: lookups('bench') });
  const mebibytes = (process.memoryUsage().arrayBuffers - before) / 2 ** 20;
  if (observer.ring.capacity !== capacity) throw new Error('another ring');
  return { name: 'ring of 65,535 flows', value: mebibytes, unit: 'MiB', ...atMost(16, mebibytes, ' MiB') };
}

export async function hubble(): Promise<Figure[]> {
  const folder = mkdtempSync(join(tmpdir(), 'bench-hubble-'));
  try {
    const registry = new Registry();
    return [
      ringMemory(), ...steps(), ...await delivery(folder), ...await selective(folder), ...await account(folder), ...await crowd(folder),
      await inside('metrics, all of them without contexts, for a flow', (observer) => countFlows(observer, defaultMetrics, registry)),
      await inside('exporter, a whole flow as a line of JSON', (observer) => follow(observer, {}, (response) => { JSON.stringify(toJson(getFlowsResponseMessage, response)); })),
      ...await relay(folder),
    ];
  } finally {
    rmSync(folder, { recursive: true });
  }
}
