// A service's ClusterIP against its backend's own address, between the same workloads, with more and more other services; and against the
// other ways of getting there.
import type { ChildProcess } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { mappedBytes } from '../agent/ipcache/address.ts';
import { mapInfo, mapUpdate, openPin } from '../agent/kernel/bpf.ts';
import { Btf, elfSection } from '../agent/kernel/btf.ts';
import { codecOf } from '../agent/kernel/codec.ts';
import { objectPath } from '../bpf/build.ts';
import type { Backend, Frontend, FrontendKey } from '../bpf/types.gen.ts';
import { latency, rate, type Measure } from './local.ts';
import { cpuNsOf, lastPort, port, run, serve, stop, type Pair, type Result } from './peer.ts';
import { fetchPeers, ServicePair, serviceWays } from './service-peers.ts';
import type { BenchService } from './service-rules.ts';
import { interleave, median, ratio } from './statistics.ts';
import { atLeast, atMost, type Figure } from './table.ts';
import { weirPair } from './weir.ts';

const allSizes = [10, 1_000, 10_000];
const allRounds = 11;
const roundMs = 200;
/** Of a service against its backend, which differ by little: many short rounds, for others' work comes and goes. */
const closeRounds = 41;
const closeMs = 100;
const clusterIp = '10.96.255.1';
const tcp = 6;

/** CPU time of both ends, and of a proxy between them; without `of`. */
type CpuMeasure = Omit<Measure, 'of'> & { readonly of?: Measure['of'] };

/** `target`: against the direct way. */
const measures: readonly CpuMeasure[] = [
  { name: 'TCP_CRR CPU, one core', test: 'TCP_CRR', cores: 'one', unit: 'µs', target: (found) => atMost(1.05, found, 'x') },
  { name: 'TCP_RR CPU, one core', test: 'TCP_RR', cores: 'one', unit: 'µs', target: (found) => atMost(1.05, found, 'x') },
  { name: 'TCP_CRR P50, one core', test: 'TCP_CRR', cores: 'one', unit: 'µs', of: latency, target: (found) => atMost(1.05, found, 'x') },
  { name: 'TCP_CRR, one core', test: 'TCP_CRR', cores: 'one', unit: '/s', of: rate, target: (found) => atLeast(0.95, found, 'x') },
  { name: 'TCP_CRR, two cores', test: 'TCP_CRR', cores: 'two', unit: '/s', of: rate, target: (found) => atLeast(0.95, found, 'x') },
  { name: 'TCP_RR P50, one core', test: 'TCP_RR', cores: 'one', unit: 'µs', of: latency, target: (found) => atMost(1.05, found, 'x') },
  { name: 'TCP_RR, one core', test: 'TCP_RR', cores: 'one', unit: '/s', of: rate, target: (found) => atLeast(0.95, found, 'x') },
  { name: 'TCP_RR, two cores', test: 'TCP_RR', cores: 'two', unit: '/s', of: rate, target: (found) => atLeast(0.95, found, 'x') },
];

/** The server's ports, each a port of one service. */
const own = (server: string): BenchService[] => Array.from({ length: lastPort - port + 1 }, (_, index) => ({ address: clusterIp, port: port + index, backend: server, backendPort: port + index }));
const others = (count: number): BenchService[] => Array.from({ length: count - 1 }, (_, index) =>
  ({ address: `10.96.${index >> 8}.${index & 255}`, port: 80, backend: `10.98.${index >> 8}.${index & 255}`, backendPort: 8080 }));

/** Writes them beside what the agent has: backends, slots, frontends. Its own numbers begin at 1, its slots at 0. */
export function writeServices(pinDir: string, services: readonly BenchService[], first: number): void {
  const btf = new Btf(elfSection(readFileSync(objectPath), '.BTF'));
  const word = (value: number): Uint8Array => new Uint8Array(new Uint32Array([value]).buffer);
  const [key, row, backend] = [codecOf<FrontendKey>(btf.struct('frontend_key')), codecOf<Frontend>(btf.struct('frontend')), codecOf<Backend>(btf.struct('backend'))];
  const pin = (name: string): { name: string; fd: number } => ({ name, fd: openPin(join(pinDir, name)) });
  const [frontends, slots, backends] = [pin('frontends'), pin('service_slots'), pin('backends')];
  const slotCount = mapInfo(slots.fd, slots.name).maxEntries;
  services.forEach((service, index) => {
    const number = first + index;
    const slot = slotCount - 1 - number;
    mapUpdate(backends.fd, word(number), backend.encode({ addr: { word: mappedBytes(service.backend) }, port: service.backendPort, protocol: tcp, state: 0, connections: 0 }), backends.name);
    mapUpdate(slots.fd, word(slot), word(number), slots.name);
    mapUpdate(frontends.fd, key.encode({ addr: { word: mappedBytes(service.address) }, port: service.port, protocol: tcp, scope: 0 }),
      row.encode({ service: number, first: slot, count: 1, maglev: 0, affinity_seconds: 0, flags: 0 }), frontends.name);
  });
}

/** `direct` and `service`: of weir, the same two workloads and server. */
async function compareAll(service: Pair, direct: Pair, peers: readonly ServicePair[], size: number, rounds: number): Promise<Figure[]> {
  const figures: Figure[] = [];
  for (const { name, test, cores, unit, of, target } of measures) {
    const servers = new Map<Pair, ChildProcess>();
    for (const pair of [direct, ...peers]) servers.set(pair, await serve(pair, cores));
    servers.set(service, servers.get(direct)!);
    try {
      const once = (forMs: number) => (pair: Pair): number => {
        const work = (): Result => run(pair, cores, test, 'ipv4', forMs);
        const between = pair instanceof ServicePair ? pair.between : [];
        return of === undefined ? cpuNsOf([servers.get(pair)!.pid!, ...between], work) / 1000 : of(work());
      };
      const close = interleave([service, direct], closeRounds, once(closeMs));
      const found = peers.length === 0 ? close : interleave([service, ...peers], rounds, once(roundMs));
      const against = (pair: Pair, from: ReadonlyMap<Pair, number[]>, wanted: (ratio: number) => Pick<Figure, 'target' | 'held'>): Figure => {
        const [mine, base] = [from.get(service)!, from.get(pair)!];
        const between = ratio(mine, base);
        return { name: `${name}, ${size} services, against ${pair.label}`, value: median(mine), unit, base: median(base), ratio: between, ...wanted(between) };
      };
      const ahead = (between: number): Pick<Figure, 'target' | 'held'> => (of === rate ? atLeast(1, between, 'x') : atMost(1, between, 'x'));
      figures.push(against(direct, close, target), ...peers.map((peer) => against(peer, found, ahead)));
    } finally {
      for (const server of new Set(servers.values())) await stop(server);
    }
  }
  return figures;
}

export async function services(sizes = allSizes, rounds = allRounds, ways = serviceWays): Promise<Figure[]> {
  if (ways.length > 0) fetchPeers();
  const figures: Figure[] = [];
  for (const size of sizes) {
    const weir = await weirPair('bench-services', 10);
    const peers: ServicePair[] = [];
    try {
      const server = weir.to.ipv4;
      writeServices(weir.cluster.instance.pinDir, [...others(size), ...own(server)], 1_000);
      for (const way of ways) peers.push(await ServicePair.make(way, own, others(size)));
      const direct: Pair = { label: 'direct', client: weir.client, server: weir.server, to: weir.to };
      const service: Pair = { ...direct, label: 'service', to: { ...weir.to, ipv4: clusterIp } };
      figures.push(...await compareAll(service, direct, peers, size, rounds));
    } finally {
      for (const peer of peers) await peer.close();
      await weir.close();
    }
  }
  return figures;
}
