// What visibility costs: the reader at 1 M records/s (drain.ts); TCP_RR and new connections while the agent reads, and while it is
// stopped and the ring fills up. A connection leaves two records or more, one that goes on one every few seconds.
import { drain } from './drain.ts';
import { interleave, median, ratio } from './statistics.ts';
import { run, serve, stop, type Cores } from './peer.ts';
import { PlainPair } from './plain.ts';
import { cpuMs, numberOf } from './proc.ts';
import { atMost, type Figure } from './table.ts';
import { weirPair, type WeirPair } from './weir.ts';

const rounds = 11;
const rrRounds = 41;
/** So short that the ring holds what a stopped agent does not read. */
const roundMs = 200;
/** A stopped agent has all of a round to read when it goes on. */
const catchUp = (): void => { Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, roundMs); };
const subjects = ['plain', 'reading', 'stopped'] as const;

async function compare(weir: WeirPair, plain: PlainPair, cores: Cores): Promise<Figure[]> {
  const { pid } = weir.cluster;
  const servers = [await serve(weir, cores), await serve(plain, cores)];
  let [spentMs, connections] = [0, 0];
  const found = interleave(subjects, rounds, (subject) => {
    if (subject === 'stopped') process.kill(pid, 'SIGSTOP');
    const before = cpuMs(pid);
    const { perSecond } = run(subject === 'plain' ? plain : weir, cores, 'TCP_CRR', 'ipv4', roundMs);
    if (subject === 'stopped') process.kill(pid, 'SIGCONT');
    if (subject === 'reading') {
      spentMs += cpuMs(pid) - before;
      connections += perSecond * roundMs / 1000;
    }
    return perSecond;
  }, catchUp);
  for (const server of servers) await stop(server);
  const base = found.get('plain')!;
  const where = cores === 'one' ? ', peers on one core' : '';
  return [
    ...(['reading', 'stopped'] as const).map((subject): Figure => ({
      name: `TCP_CRR, agent ${subject}${where}`, value: median(found.get(subject)!), unit: '/s', base: median(base), ratio: ratio(found.get(subject)!, base),
    })),
    { name: `agent's CPU for a connection${where}`, value: spentMs * 1000 / connections, unit: 'µs' },
  ];
}

/** TCP_RR with visibility against TCP_RR with nobody reading. */
async function visibility(weir: WeirPair, cores: Cores): Promise<Figure> {
  const { pid } = weir.cluster;
  const server = await serve(weir, cores);
  const found = interleave(['reading', 'stopped'] as const, rrRounds, (subject) => {
    if (subject === 'stopped') process.kill(pid, 'SIGSTOP');
    try {
      return run(weir, cores, 'TCP_RR', 'ipv4', roundMs).perSecond;
    } finally {
      if (subject === 'stopped') process.kill(pid, 'SIGCONT');
    }
  });
  await stop(server);
  const [on, off] = [found.get('reading')!, found.get('stopped')!];
  const less = (1 - ratio(on, off)) * 100;
  return { name: `TCP_RR lost to visibility${cores === 'one' ? ', peers on one core' : ''}`, value: less, unit: '%', ...atMost(2, less, ' %') };
}

export async function records(): Promise<Figure[]> {
  const drained = await drain();
  const plain = new PlainPair('bench-plain');
  const weir = await weirPair('bench-records', 10);
  const rss = (): number => numberOf(`/proc/${weir.cluster.pid}/status`, 'VmRSS') / 1024;
  try {
    const before = rss();
    const figures = [await visibility(weir, 'one'), await visibility(weir, 'any'), ...await compare(weir, plain, 'one'), ...await compare(weir, plain, 'any')];
    return [...drained, ...figures, { name: 'RSS before', value: before, unit: 'MiB' }, { name: 'RSS after', value: rss(), unit: 'MiB' }];
  } finally {
    await weir.close();
    plain.close();
  }
}
