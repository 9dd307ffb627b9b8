// Two local workloads under policy with flow export on, against plain veth pairs with host routing, and against nftables.
import { interleave, median, ratio } from './statistics.ts';
import { run, serve, stop, type Cores, type Family, type Pair, type Result, type Test } from './peer.ts';
import { hasNft, PlainPair } from './plain.ts';
import { atLeast, atMost, type Figure } from './table.ts';
import { weirPair } from './weir.ts';

type Target = Pick<Figure, 'target' | 'held'>;
export interface Measure {
  readonly name: string;
  readonly test: Test;
  readonly cores: Cores;
  readonly unit: string;
  readonly of: (result: Result) => number;
  readonly target: (ratio: number) => Target;
}

const none = (): Target => ({});
export const latency = ({ p50Ns }: Result): number => p50Ns / 1000;
export const rate = ({ perSecond }: Result): number => perSecond;
export const throughput = ({ bytesPerSecond }: Result): number => bytesPerSecond * 8e-9;
const tail = ({ p99Ns }: Result): number => p99Ns / 1000;

const measures: readonly Measure[] = [
  { name: 'TCP_RR P50, one core', test: 'TCP_RR', cores: 'one', unit: 'µs', of: latency, target: (found) => atMost(0.85, found, 'x') },
  { name: 'TCP_RR P50', test: 'TCP_RR', cores: 'any', unit: 'µs', of: latency, target: none },
  { name: 'TCP_RR P99, one core', test: 'TCP_RR', cores: 'one', unit: 'µs', of: tail, target: none },
  { name: 'UDP_RR P50, one core', test: 'UDP_RR', cores: 'one', unit: 'µs', of: latency, target: none },
  { name: 'TCP_CRR, one core', test: 'TCP_CRR', cores: 'one', unit: '/s', of: rate, target: none },
  { name: 'TCP_CRR', test: 'TCP_CRR', cores: 'any', unit: '/s', of: rate, target: (found) => atLeast(0.9, found, 'x') },
  { name: 'TCP_STREAM', test: 'TCP_STREAM', cores: 'any', unit: 'Gbit/s', of: throughput, target: (found) => atLeast(1, found, 'x') },
];
const againstRules: readonly Measure[] = [
  { name: 'TCP_RR P50, one core', test: 'TCP_RR', cores: 'one', unit: 'µs', of: latency, target: (found) => atMost(1, found, 'x') },
  { name: 'TCP_CRR', test: 'TCP_CRR', cores: 'any', unit: '/s', of: rate, target: (found) => atLeast(1, found, 'x') },
];
const families: readonly Family[] = ['ipv4', 'ipv6'];
const roundMs = 200;

async function compareOne(weir: Pair, other: Pair, { name, test, cores, unit, of, target }: Measure, rounds: number): Promise<Figure[]> {
  const servers = [await serve(weir, cores), await serve(other, cores)];
  try {
    return families.map((family): Figure => {
      const found = interleave([weir, other], rounds, (pair) => of(run(pair, cores, test, family, roundMs)));
      const [own, base] = [found.get(weir)!, found.get(other)!];
      const against = ratio(own, base);
      return { name: `${name}, ${family}`, value: median(own), unit, base: median(base), ratio: against, ...target(against) };
    });
  } finally {
    for (const server of servers) await stop(server);
  }
}

export async function compare(weir: Pair, other: Pair, measured: readonly Measure[], rounds: number): Promise<Figure[]> {
  const figures: Figure[] = [];
  for (const measure of measured) figures.push(...await compareOne(weir, other, measure, rounds));
  return figures;
}

export async function local(): Promise<Figure[]> {
  const plain = new PlainPair('bench-plain');
  const weir = await weirPair('bench-local', 10);
  try {
    return await compare(weir, plain, measures, 11);
  } finally {
    await weir.close();
    plain.close();
  }
}

/** The same policy at growing sizes; both sides have as many rules. */
export async function rules(): Promise<Figure[]> {
  if (!hasNft()) throw new Error('no nft on the PATH: apt-get install nftables');
  const figures: Figure[] = [];
  for (const count of [10, 1_000, 10_000]) {
    const other = new PlainPair('bench-nft', count);
    const weir = await weirPair('bench-rules', count);
    try {
      figures.push(...(await compare(weir, other, againstRules, 7)).map((figure) => ({ ...figure, name: `${figure.name}, ${count} rules` })));
    } finally {
      await weir.close();
      other.close();
    }
  }
  return figures;
}
