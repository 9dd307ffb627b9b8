// Lookups at a rate from one workload to a name server beside it, by build/weir-dns: with DNS rules, and from a workload that no policy selects.
import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { Cluster, pod, policy } from '../kernel-tests/cluster.ts';
import { idle } from '../kernel-tests/programs.ts';
import { dnsPath } from './build.ts';
import { interleave, median, ratio } from './statistics.ts';
import { atLeast, atMost, type Figure } from './table.ts';

const port = 53;
const perSecond = 20_000;
/** Of four addresses each, which the first pass teaches. */
const names = 4_000;
const rounds = 15;
const roundMs = 1_000;
const families = ['ipv4', 'ipv6'] as const;
type Family = (typeof families)[number];

/** Above others' work on the machine: with that in the figure it says nothing of either. */
const first = ['chrt', '--fifo', '10'];

interface Result { readonly sent: number; readonly lost: number; readonly failed: number; readonly perSecond: number; readonly p50Ns: number; readonly p99Ns: number }

const manifests = {
  'pods.yaml': ['ruled', 'free', 'names'].map((name) => pod(name, idle)),
  'policy.yaml': policy('names', { endpointSelector: { matchLabels: { app: 'ruled' } }, egress: [
    { toEndpoints: [{ matchLabels: { app: 'names' } }], toPorts: [{ ports: [{ port: String(port), protocol: 'UDP' }], rules: { dns: [{ matchPattern: '*.example.test' }] } }] },
    { toFQDNs: [{ matchPattern: '*.example.test' }] },
  ] }),
};

async function serve(netns: string): Promise<ChildProcess> {
  const child = spawn('nsenter', [`--net=${netns}`, ...first, dnsPath, 'server', String(port)], { stdio: ['ignore', 'pipe', 'inherit'] });
  await once(child.stdout, 'data');
  return child;
}

const ask = (netns: string, to: string, forMs: number): Result =>
  JSON.parse(execFileSync('nsenter', [`--net=${netns}`, ...first, dnsPath, 'client', to, String(port), String(names), String(perSecond), String(forMs)], { encoding: 'utf8' })) as Result;

function figuresOf(family: Family, ruled: readonly Result[], free: readonly Result[]): Figure[] {
  const name = family === 'ipv4' ? 'IPv4' : 'IPv6';
  const sum = (of: keyof Result): number => ruled.reduce((all, one) => all + one[of], 0);
  const us = (of: 'p50Ns' | 'p99Ns'): Pick<Figure, 'value' | 'base' | 'ratio' | 'unit'> =>
    ({ value: median(ruled.map((one) => one[of])) / 1000, base: median(free.map((one) => one[of])) / 1000, ratio: ratio(ruled.map((one) => one[of]), free.map((one) => one[of])), unit: 'µs' });
  const [p50, rate] = [us('p50Ns'), median(ruled.map((one) => one.perSecond))];
  return [
    { name: `${name}: lookups by one workload`, value: rate, base: median(free.map((one) => one.perSecond)), unit: '/s', ...atLeast(0.99 * perSecond, rate, ' /s') },
    { name: `  lost or failed, of ${sum('sent')}`, value: sum('lost') + sum('failed'), base: free.reduce((all, { lost, failed }) => all + lost + failed, 0), unit: 'lookups', ...atMost(0, sum('lost') + sum('failed')) },
    { name: '  P50', ...p50, ...atMost(1.02, p50.ratio!, 'x') },
    { name: '  P99', ...us('p99Ns') },
  ];
}

export async function dnsLoad(): Promise<Figure[]> {
  const cluster = await Cluster.start('bench-dns', manifests);
  let server: ChildProcess | undefined;
  try {
    const rows = cluster.json<{ name: string; shimPid: number }[]>('db', 'show', 'workloads');
    const netns = (workload: string): string => `/proc/${rows.find((row) => row.name === workload)!.shimPid}/ns/net`;
    server = await serve(netns('names'));
    const to = cluster.address('default/names');
    const clients = [netns('ruled'), netns('free')] as const;
    const figures = families.flatMap((family) => {
      ask(clients[0], to[family], names / perSecond * 2_000);
      const found = interleave(clients, rounds, (client) => ask(client, to[family], roundMs));
      return figuresOf(family, found.get(clients[0])!, found.get(clients[1])!);
    });
    const { counters, endpoints } = cluster.json<{ counters: Record<string, number>; endpoints: { addresses: number }[] }>('dns', 'status');
    return [...figures, { name: 'addresses learned', value: endpoints.reduce((all, one) => all + one.addresses, 0), unit: 'rows' }, ...(['lost', 'unasked'] as const).map((name) => ({ name: { lost: 'DNS records that found the ring full', unasked: 'answers to no query that waits' }[name], value: counters[name]!, unit: '' }))];
  } finally {
    server?.kill();
    await cluster.close();
  }
}
