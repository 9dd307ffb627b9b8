// What a packet costs in the programs, by bpf_prog_test_run: the steps of a verdict alone (judge.c), hot and over random
// pairs, in a small and in a large world, one policy's verdict also between them; and whole packets through the shipped from_workload.
import { testRun } from '../agent/kernel/bpf.ts';
import { counter } from '../bpf/types.gen.ts';
import { frame } from '../bpf/testing/packet.ts';
import { interleave, median } from './statistics.ts';
import { atMost, type Figure } from './table.ts';
import { address, mostPairs, World, type Size } from './world.ts';

export const small: Size = { identities: 10, policies: 10, subjects: 10, tiers: 2 };
export const large: Size = { identities: 10_000, policies: 1_000, subjects: 1_000, tiers: 10 };
/** Between them: the points of a plot. */
const between: readonly Size[] = [{ identities: 100, policies: 100, subjects: 100, tiers: 10 }, { identities: 1_000, policies: 1_000, subjects: 1_000, tiers: 10 }];

const here = 1;
const rounds = 15;
const repeat = 50_000;
/** from_workload takes one from the TTL each time it runs on the same frame. */
const wholeRepeat = 250;
const wholeBatches = 40;

const steps = ['address', 'both_ends', 'opened', 'established'] as const;
type Times = Readonly<Record<(typeof steps)[number], number>>;
type Step = 'pick' | 'one_policy' | (typeof steps)[number];

const nothing = new Uint8Array(64);

/** Each step's time without that of picking its pair. */
function timesOver<One extends Step>(world: World, pairs: number, timed: readonly One[]): Record<One, number> {
  world.choosePairs(pairs);
  const found = interleave<Step>(['pick', ...timed], rounds, (step) => testRun(world.program(step), nothing, here, repeat).durationNs, () => {});
  const base = found.get('pick')!;
  return Object.fromEntries(timed.map((step) => [step, median(found.get(step)!.map((time, round) => time - base[round]!))])) as Record<One, number>;
}

function stepTimes(world: World, pairs: number): Times {
  world.choosePairs(pairs);
  // Opens every connection, so that none is new while it is timed.
  for (let turn = 0; turn < 8; turn += 1) testRun(world.program('established'), nothing, here, repeat);
  world.drain();
  return timesOver(world, pairs, steps);
}

async function inWorld<Result>(size: Size, work: (world: World) => Result): Promise<Result> {
  const world = await World.make(size);
  try {
    return work(world);
  } finally {
    world.close();
  }
}

/** One policy's verdict, from the smallest world to the largest. */
async function plot(): Promise<Figure[]> {
  const figures: Figure[] = [];
  for (const size of [small, ...between, large]) {
    const [hot, random, merged, classes] = await inWorld(size, (world) =>
      [timesOver(world, 1, ['one_policy']).one_policy, timesOver(world, mostPairs, ['one_policy']).one_policy, world.merged, world.classes] as const);
    const name = (how: string): string => `one policy, ${how}, ${size.identities} identities, ${merged} policies, ${classes} classes`;
    figures.push({ name: name('hot'), value: hot, unit: 'ns', ...atMost(15, hot, ' ns') }, { name: name('random'), value: random, unit: 'ns', ...atMost(60, random, ' ns') });
  }
  return figures;
}

interface Whole { readonly arp: number; readonly established: number; readonly deniedTold: number; readonly deniedUntold: number }

/** Whole packets of one flow, hot. */
function wholeTimes(world: World): Whole {
  const mac = '02:00:00:00:00:01';
  const [to, port] = world.peerOfFirst();
  const tcp = (destination: number, flags: string): Uint8Array => frame().mac(mac).ipv4(address(0), address(to), { ttl: 255 }).tcp(40_000, destination, flags).bytes();
  world.sendAs(here);
  const time = (program: 'from_workload' | 'to_workload', bytes: Uint8Array, between: () => void): number =>
    median(Array.from({ length: wholeBatches }, () => { between(); return testRun(world.program(program), bytes, here, wholeRepeat).durationNs; }));
  const keep = (): void => {};
  const drain = (): void => { world.drain(); };
  testRun(world.program('from_workload'), tcp(port, 'S'), here);
  const arp = time('to_workload', frame().arp(1, mac, address(1), address(0)).bytes(), keep);
  const established = time('from_workload', tcp(port, 'A'), keep);
  const deniedTold = time('from_workload', tcp(9, 'S'), drain);
  const lost = world.datapath.counter(counter.COUNTER_RECORDS_LOST);
  while (world.datapath.counter(counter.COUNTER_RECORDS_LOST) === lost) testRun(world.program('from_workload'), tcp(9, 'S'), here, wholeRepeat);
  return { arp, established, deniedTold, deniedUntold: time('from_workload', tcp(9, 'S'), keep) };
}

export async function verdict(): Promise<Figure[]> {
  const measured: { size: Size; hot: Times; random: Times; whole: Whole }[] = [];
  for (const size of [small, large]) {
    measured.push(await inWorld(size, (world) => ({ size, hot: stepTimes(world, 1), random: stepTimes(world, mostPairs), whole: wholeTimes(world) })));
  }
  const figures: Figure[] = measured.flatMap(({ size, hot, random, whole }) => {
    const of = (name: string, value: number, more: Partial<Figure> = {}): Figure => ({ name: `${name}, ${size.identities} identities`, value, unit: 'ns', ...more });
    return [
      of('ipcache, hot', hot.address), of('ipcache, random', random.address),
      of('both ends, hot', hot.both_ends), of('both ends, random', random.both_ends),
      of('opened and taken away, hot', hot.opened), of('opened and taken away, random', random.opened),
      of('established, hot', hot.established), of('established, random', random.established),
      of('from_workload, established, hot', whole.established), of('from_workload, denied, with its record', whole.deniedTold),
      of('from_workload, denied, ring full', whole.deniedUntold), of('to_workload, ARP (the floor)', whole.arp),
    ];
  });
  const [few, many] = measured.map(({ random }) => random.established);
  const growth = many! / few!;
  return [...await plot(), ...figures, { name: 'established, random: 10,000 against 10 identities', value: many!, unit: 'ns', base: few!, ratio: growth, ...atMost(1.3, growth, 'x') }];
}
