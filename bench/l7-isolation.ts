// One workload that asks now and then through Envoy, beside one that takes all it can get: through the same Envoy, and past it, as the
// abuser's own processes cost the machine something too. With workers alone, and with each workload held to a share besides.
import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { workerOf } from '../agent/envoy/workers.ts';
import { limit } from '../bpf/types.gen.ts';
import { Cluster, pod, policy } from '../kernel-tests/cluster.ts';
import { idle } from '../kernel-tests/programs.ts';
import { abusePath, httpPath } from './build.ts';
import { median } from './statistics.ts';
import { atMost, type Figure } from './table.ts';

const ports = { direct: 5400, l7: 5401 } as const;
const kinds = ['connections', 'requests', 'headers', 'slow', 'resets'] as const;
type Kind = (typeof kinds)[number];
const said: Readonly<Record<Kind, string>> = {
  connections: 'a connection for each request, 64 at once', requests: '64 connections that ask without a pause', headers: '64 connections, headers of 58 KB',
  slow: '1,000 connections that drip', resets: 'HTTP/2 streams taken back at once',
};
const rounds = 3;
const roundMs = 1_500;
/** Until the abuser is at its worst. */
const leadMs = 500;
const gapUs = 2_000;
/** What P99 may be of what it is beside an abuser that does not go through Envoy. */
const target = 1.1;
/** The abuser and who answers it have one core, the other two the other; Envoy goes where it likes. */
const cores = { victim: 0, abuser: 1 } as const;

const onPort = (port: number, more: object = {}): object => ({ ports: [{ port: String(port), protocol: 'TCP' }], ...more });
const servers = ['server', 'other'] as const;
/** So many that one of them has the victim's worker of Envoy, as long as nobody is busy: that is the abuser. */
const candidates = Array.from({ length: 4 * limit.PROXY_WORKERS }, (_, index) => `abuser-${index}`);
const manifests = {
  'pods.yaml': ['victim', ...candidates, ...servers].map((name) => pod(name, idle)),
  'policy.yaml': servers.map((name) => policy(name, { endpointSelector: { matchLabels: { app: name } }, ingress: [{
    fromEndpoints: [{}], toPorts: [onPort(ports.direct), onPort(ports.l7, { rules: { http: [{ method: 'GET', path: '/ok.*' }] } })],
  }] })),
};

interface Suffered { readonly requests: number; readonly failed: number; readonly p50Us: number; readonly p99Us: number }
interface Abused { readonly answers: number; readonly opened: number; readonly failed: number }

class Place {
  readonly #cluster: Cluster;
  readonly #children: ChildProcess[] = [];
  readonly #pids: ReadonlyMap<string, number>;
  readonly #abuser: string;

  private constructor(cluster: Cluster) {
    this.#cluster = cluster;
    this.#pids = new Map(cluster.json<{ name: string; shimPid: number }[]>('db', 'show', 'workloads').map(({ name, shimPid }) => [name, shimPid]));
    const ids = new Map(cluster.json<{ key: string; id: number }[]>('db', 'show', 'endpoints').map(({ key, id }) => [key, id]));
    const worker = (name: string): number => workerOf(ids.get(`default/${name}`)!, 0);
    const found = candidates.find((name) => worker(name) === worker('victim'));
    if (found === undefined) throw new Error('no workload has the worker of the victim');
    this.#abuser = found;
  }

  static async make(words: readonly string[]): Promise<Place> {
    const cluster = await Cluster.start('bench-l7-isolation', manifests, words);
    const place = new Place(cluster);
    const envoy = (): { pid: number; listeners: number } => cluster.json<{ envoy: ReturnType<typeof envoy> }>('status').envoy;
    try {
      await cluster.until('Envoy runs', () => envoy().pid !== 0 && envoy().listeners > 0);
      for (const name of servers) for (const port of Object.values(ports)) await once(place.#start(name, cores[name === 'server' ? 'victim' : 'abuser'], [httpPath, 'server', String(port)]).stdout!, 'data');
    } catch (error) {
      await place.close();
      throw error;
    }
    return place;
  }

  #command(name: string, core: number, words: readonly string[]): string[] { return [`--net=/proc/${this.#pids.get(name)}/ns/net`, 'taskset', '-c', String(core), ...words]; }

  #start(name: string, core: number, words: readonly string[]): ChildProcess {
    const child = spawn('nsenter', this.#command(name, core, words), { stdio: ['ignore', 'pipe', 'inherit'] });
    this.#children.push(child);
    return child;
  }

  suffer(): Suffered {
    const address = this.#cluster.address('default/server').ipv4;
    return JSON.parse(execFileSync('nsenter', this.#command('victim', cores.victim, [abusePath, 'victim', address, String(ports.l7), String(gapUs), String(roundMs)]), { encoding: 'utf8' })) as Suffered;
  }

  /** No `Abused`: the signal came before it took signals. */
  async beside(kind: Kind, port: number): Promise<readonly [Suffered, Abused?]> {
    const abuser = this.#start(this.#abuser, cores.abuser, [abusePath, kind, this.#cluster.address('default/other').ipv4, String(port), String(leadMs + 2 * roundMs)]);
    let out = '';
    abuser.stdout!.on('data', (data: Buffer) => { out += data.toString(); });
    const ended = once(abuser, 'close');
    await sleep(leadMs);
    const found = this.suffer();
    abuser.kill('SIGTERM');
    const [, signal] = await ended as [number | null, NodeJS.Signals | null];
    if (out === '' && signal !== 'SIGTERM') throw new Error(`${this.#abuser} ended by itself, with nothing to tell`);
    return out === '' ? [found] : [found, JSON.parse(out) as Abused];
  }

  async close(): Promise<void> {
    for (const child of this.#children) child.kill('SIGKILL');
    await this.#cluster.close();
  }
}

interface Found { readonly alone: Suffered[]; readonly through: Record<Kind, Suffered[]>; readonly past: Record<Kind, Suffered[]>; readonly answers: Record<Kind, number[]> }

async function measure(words: readonly string[]): Promise<Found> {
  const place = await Place.make(words);
  const each = <Value>(): Record<Kind, Value[]> => Object.fromEntries(kinds.map((kind) => [kind, []])) as unknown as Record<Kind, Value[]>;
  const found: Found = { alone: [], through: each(), past: each(), answers: each() };
  try {
    place.suffer();
    for (let round = 0; round < rounds; round += 1) {
      found.alone.push(place.suffer());
      for (const kind of round % 2 === 0 ? kinds : [...kinds].reverse()) {
        found.past[kind].push((await place.beside(kind, ports.direct))[0]);
        const [suffered, abused] = await place.beside(kind, ports.l7);
        found.through[kind].push(suffered);
        if (abused !== undefined) found.answers[kind].push(abused.answers);
      }
    }
    return found;
  } finally {
    await place.close();
  }
}

const us = (results: readonly Suffered[], of: 'p50Us' | 'p99Us'): number => median(results.map((result) => result[of]));

function figuresOf(name: string, { alone, through, past, answers }: Found): Figure[] {
  return kinds.flatMap((kind): Figure[] => {
    const ratioTo = (base: readonly Suffered[]): number => median(through[kind].map(({ p99Us }, round) => p99Us / base[round]!.p99Us));
    const lost = through[kind].reduce((sum, { failed }) => sum + failed, 0);
    return [
      { name: `${said[kind]}${name}: P50, against alone`, value: us(through[kind], 'p50Us'), base: us(alone, 'p50Us'), unit: 'µs' },
      { name: `${said[kind]}${name}: P99, against alone`, value: us(through[kind], 'p99Us'), base: us(alone, 'p99Us'), unit: 'µs', ratio: ratioTo(alone) },
      { name: `${said[kind]}${name}: P99, against the same past Envoy`, value: us(through[kind], 'p99Us'), base: us(past[kind], 'p99Us'), unit: 'µs', ratio: ratioTo(past[kind]), ...atMost(target, ratioTo(past[kind]), 'x') },
      { name: `${said[kind]}${name}: answers that the abuser gets, requests of others that failed: ${lost}`, value: median(answers[kind]) * 1_000 / (leadMs + roundMs), unit: '/s' },
    ];
  });
}

export async function l7Isolation(): Promise<Figure[]> {
  const free = await measure([]);
  const limited = await measure(['--l7-share', '25']);
  return [...figuresOf('', free), ...figuresOf(', shares of 25 %', limited)];
}
