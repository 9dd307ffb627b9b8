// HTTP through an L7 rule between two local workloads, against the same workloads without one, Envoy that only hands bytes on, and HAProxy.
import { join } from 'node:path';
import { Cluster, pod, policy } from '../kernel-tests/cluster.ts';
import { idle } from '../kernel-tests/programs.ts';
import { loadHttp, serveHttp, type HttpResult, type HttpWay } from './http.ts';
import { ProxyWay } from './l7-peers.ts';
import { numberOf } from './proc.ts';
import { interleave, median as middle } from './statistics.ts';
import { atLeast, atMost, type Figure } from './table.ts';

const ports = { direct: 5400, l7: 5401 } as const;
const rounds = 7;
const roundMs = 500;
/** Of direct, by connections: what a lean Envoy with sockmap reached before weir was begun. */
const targets: readonly (readonly [connections: number, target?: number])[] = [[1, 0.27], [32, 0.44], [256]];

const onPort = (port: number, more: object = {}): object => ({ ports: [{ port: String(port), protocol: 'TCP' }], ...more });
const manifests = {
  'client.yaml': pod('client', idle), 'server.yaml': pod('server', idle),
  'policy.yaml': policy('http', { endpointSelector: { matchLabels: { app: 'server' } }, ingress: [{
    fromEndpoints: [{ matchLabels: { app: 'client' } }], toPorts: [onPort(ports.direct), onPort(ports.l7, { rules: { http: [{ method: 'GET', path: '/ok.*' }] } })],
  }] }),
};

const median = (results: readonly HttpResult[], of: (result: HttpResult) => number): number => middle(results.map(of));

function figuresOf(connections: number, target: number | undefined, found: ReadonlyMap<HttpWay, readonly HttpResult[]>, [direct, ...others]: readonly HttpWay[]): Figure[] {
  const name = `${connections} connection${connections === 1 ? '' : 's'}`;
  const base = found.get(direct!)!;
  const ratioOf = (way: HttpWay): number => middle(found.get(way)!.map(({ perSecond }, round) => perSecond / base[round]!.perSecond));
  return others.flatMap((way): Figure[] => {
    const results = found.get(way)!;
    const ratio = ratioOf(way);
    const us = (of: (result: HttpResult) => number): Pick<Figure, 'value' | 'base' | 'unit'> => ({ value: median(results, of) / 1000, base: median(base, of) / 1000, unit: 'µs' });
    return [
      { name: `${name}: ${way.label}`, value: median(results, ({ perSecond }) => perSecond), base: median(base, ({ perSecond }) => perSecond), unit: 'req/s', ratio, ...(way === others[0] && target !== undefined ? atLeast(target, ratio, 'x') : {}) },
      { name: `${name}: ${way.label}, P50`, ...us(({ p50Ns }) => p50Ns) },
      { name: `${name}: ${way.label}, P99`, ...us(({ p99Ns }) => p99Ns) },
      { name: `${name}: ${way.label}, the proxy's CPU per request`, value: median(results, ({ proxyUs }) => proxyUs), unit: 'µs' },
      ...(way.agent === undefined ? [] : [{ name: `${name}: ${way.label}, the agent's CPU per request`, value: median(results, ({ agentUs }) => agentUs), unit: 'µs', ...atMost(8, median(results, ({ agentUs }) => agentUs), ' µs') }]),
    ];
  });
}

async function compare(ways: readonly HttpWay[]): Promise<Figure[]> {
  const servers = [];
  for (const way of ways) servers.push(await serveHttp(way));
  try {
    loadHttp(ways[1]!, 1, 100, '/secret', 403);
    return targets.flatMap(([connections, target]) => figuresOf(connections, target, interleave(ways, rounds, (way) => loadHttp(way, connections, roundMs)), ways));
  } finally {
    for (const server of servers) server.kill();
  }
}

export async function l7(): Promise<Figure[]> {
  const cluster = await Cluster.start('bench-l7', manifests);
  const others: ProxyWay[] = [];
  try {
    const rows = cluster.json<{ name: string; shimPid: number }[]>('db', 'show', 'workloads');
    const netns = (workload: string): string => `/proc/${rows.find(({ name }) => name === workload)!.shimPid}/ns/net`;
    const envoy = (): { pid: number; path: string; listeners: number } => cluster.json<{ envoy: ReturnType<typeof envoy> }>('status').envoy;
    await cluster.until('Envoy runs', () => envoy().pid !== 0 && envoy().listeners > 0);
    const { pid, path: binary } = envoy();
    const weir = (label: string, port: number): HttpWay => ({ label, client: netns('client'), server: netns('server'), address: cluster.address('default/server').ipv4, port });
    const ways: HttpWay[] = [weir('direct', ports.direct), { ...weir('weir', ports.l7), proxy: () => pid, agent: () => cluster.pid }];
    for (const kind of ['Envoy tcp_proxy', 'HAProxy'] as const) {
      const other = await ProxyWay.make(kind, ports.l7, binary);
      others.push(other);
      ways.push(other);
    }
    const figures = await compare(ways);
    return [...figures, { name: 'Envoy, RSS', value: numberOf(join('/proc', String(pid), 'status'), 'VmRSS') / 1024, unit: 'MiB', ...atMost(160, numberOf(join('/proc', String(pid), 'status'), 'VmRSS') / 1024) }];
  } finally {
    for (const other of others) await other.close();
    await cluster.close();
  }
}
