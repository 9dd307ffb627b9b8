// Traffic between two network namespaces by build/weir-peer: the same program, started the same way, whatever lies between.
import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { peerPath } from './build.ts';
import { cpuNs } from './proc.ts';

export const port = 5400;
/** The server's ports, see peer.c. */
export const lastPort = port + 2;

export type Test = 'TCP_RR' | 'UDP_RR' | 'TCP_CRR' | 'TCP_STREAM';
export type Family = 'ipv4' | 'ipv6';

/** Two places with a way between them. `client`, `server`: paths of network namespaces. */
export interface Pair {
  readonly label: string;
  readonly client: string;
  readonly server: string;
  readonly to: Readonly<Record<Family, string>>;
}

export interface Result { readonly p50Ns: number; readonly p99Ns: number; readonly perSecond: number; readonly bytesPerSecond: number; readonly count: number; readonly cpuNs: number }

/** Where client and server run. `one`: both on the same core, so that no wake-up of another is in the figure; `two`: each on its own; `any`: as
 * the scheduler likes, which is one or two, another each time. */
export type Cores = 'one' | 'two' | 'any';

const coreOf = (cores: Cores, isClient: boolean): string[] => (cores === 'any' ? [] : ['taskset', '-c', cores === 'two' && isClient ? '1' : '0']);
/** Before whatever else runs on this machine, on both sides of a comparison: what is measured is the way, not the wait for a core. */
const first = ['nice', '-n', '-20'];
const words = (netns: string, cores: Cores, isClient: boolean): string[] => [`--net=${netns}`, ...first, ...coreOf(cores, isClient), peerPath];

/** A server at its place, until `kill`. */
export async function serve({ server }: Pair, cores: Cores): Promise<ChildProcess> {
  const child = spawn('nsenter', [...words(server, cores, false), 'server', String(port)], { stdio: ['ignore', 'pipe', 'inherit'] });
  const failed = once(child, 'exit').then(([code]) => { throw new Error(`the server in ${server} ended with ${String(code)}`); });
  await Promise.race([once(child.stdout, 'data'), failed]);
  return child;
}

export async function stop(server: ChildProcess): Promise<void> {
  const ended = once(server, 'exit');
  server.kill();
  await ended;
}

export function run({ client, to }: Pair, cores: Cores, test: Test, family: Family, forMs: number): Result {
  const out = execFileSync('nsenter', [...words(client, cores, true), test, to[family], String(port), String(forMs)], { encoding: 'utf8' });
  return JSON.parse(out) as Result;
}

/** What each transaction takes of the client's CPU time and of other processes': `pids` and their children. Others' work on the machine is not in it. */
export function cpuNsOf(pids: readonly number[], work: () => Result): number {
  const before = cpuNs(pids);
  const { cpuNs: client, count } = work();
  return (client + cpuNs(pids) - before) / count;
}
