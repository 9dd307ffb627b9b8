// What --sockmap gives: two local workloads from socket to socket against two that send packets.
import { loadHttp, serveHttp, type HttpWay } from './http.ts';
import { compare, latency, rate, throughput, type Measure } from './local.ts';
import { port } from './peer.ts';
import { interleave, median, ratio } from './statistics.ts';
import { atLeast, type Figure } from './table.ts';
import { weirPair, type WeirPair } from './weir.ts';

const none = (): object => ({});
const measures: readonly Measure[] = [
  { name: 'TCP_RR P50, one core', test: 'TCP_RR', cores: 'one', unit: 'µs', of: latency, target: none },
  { name: 'TCP_RR P50', test: 'TCP_RR', cores: 'any', unit: 'µs', of: latency, target: none },
  { name: 'TCP_CRR, one core', test: 'TCP_CRR', cores: 'one', unit: '/s', of: rate, target: (found) => atLeast(0.97, found, 'x') },
  { name: 'TCP_CRR', test: 'TCP_CRR', cores: 'any', unit: '/s', of: rate, target: (found) => atLeast(0.97, found, 'x') },
  { name: 'TCP_STREAM', test: 'TCP_STREAM', cores: 'any', unit: 'Gbit/s', of: throughput, target: (found) => atLeast(1, found, 'x') },
];
const rounds = 11;
const roundMs = 500;
const targets: readonly (readonly [connections: number, target?: number])[] = [[1], [32, 1.4]];

async function http(joined: WeirPair, packets: WeirPair): Promise<Figure[]> {
  const wayOf = ({ label, client, server, to }: WeirPair): HttpWay => ({ label, client, server, address: to.ipv4, port });
  const ways = [wayOf(joined), wayOf(packets)] as const;
  const servers = [await serveHttp(ways[0]), await serveHttp(ways[1])];
  try {
    return targets.map(([connections, target]): Figure => {
      const found = interleave(ways, rounds, (way) => loadHttp(way, connections, roundMs).perSecond);
      const [own, base] = [found.get(ways[0])!, found.get(ways[1])!];
      const against = ratio(own, base);
      return { name: `HTTP, ${connections} connections`, value: median(own), unit: 'req/s', base: median(base), ratio: against, ...(target === undefined ? {} : atLeast(target, against, 'x')) };
    });
  } finally {
    for (const server of servers) server.kill();
  }
}

export async function sockmap(): Promise<Figure[]> {
  const packets = await weirPair('bench-packets', 10);
  const joined = await weirPair('bench-sockets', 10, ['--sockmap', 'all']);
  try {
    return [...await compare(joined, packets, measures, rounds), ...await http(joined, packets)];
  } finally {
    await joined.close();
    await packets.close();
  }
}
