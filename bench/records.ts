// What reading the flow records costs: new connections while the agent reads, and while it is stopped and the ring fills up.
// Each connection leaves two records or more.
import { interleave, median, ratio } from './statistics.ts';
import { run, serve, stop, type Cores } from './peer.ts';
import { PlainPair } from './plain.ts';
import { cpuMs, numberOf } from './proc.ts';
import type { Figure } from './table.ts';
import { weirPair, type WeirPair } from './weir.ts';

const rounds = 11;
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

export async function records(): Promise<Figure[]> {
  const plain = new PlainPair('bench-plain');
  const weir = await weirPair('bench-records', 10);
  const rss = (): number => numberOf(`/proc/${weir.cluster.pid}/status`, 'VmRSS') / 1024;
  try {
    const before = rss();
    const figures = [...await compare(weir, plain, 'one'), ...await compare(weir, plain, 'any')];
    return [...figures, { name: 'RSS before', value: before, unit: 'MiB' }, { name: 'RSS after', value: rss(), unit: 'MiB' }];
  } finally {
    await weir.close();
    plain.close();
  }
}
