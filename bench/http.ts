// HTTP between two network namespaces by build/weir-http: the same program on both sides, whatever lies between.
import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { httpPath } from './build.ts';
import { cpuMs } from './proc.ts';

/** A way from a client to a server. `client`, `server`: paths of network namespaces. */
export interface HttpWay {
  readonly label: string;
  readonly client: string;
  readonly server: string;
  readonly address: string;
  readonly port: number;
  /** The process between them, if there is one. */
  readonly proxy?: () => number;
  /** Who reads its log. */
  readonly agent?: () => number;
}

export interface HttpResult { readonly perSecond: number; readonly p50Ns: number; readonly p99Ns: number; readonly proxyUs: number; readonly agentUs: number }

export async function serveHttp({ server, port }: HttpWay): Promise<ChildProcess> {
  const child = spawn('nsenter', [`--net=${server}`, httpPath, 'server', String(port)], { stdio: ['ignore', 'pipe', 'inherit'] });
  await once(child.stdout, 'data');
  return child;
}

/** Throws when the answer is not `status`. */
export function loadHttp({ label, client, address, port, proxy, agent }: HttpWay, connections: number, forMs: number, path = '/ok', status = 200): HttpResult {
  const spent = (): readonly number[] => [proxy, agent].map((pid) => (pid === undefined ? 0 : cpuMs(pid())));
  const before = spent();
  const out = execFileSync('nsenter', [`--net=${client}`, httpPath, 'client', address, String(port), path, String(connections), String(forMs)], { encoding: 'utf8' });
  const result = JSON.parse(out) as HttpResult & { status: number; requests: number };
  if (result.status !== status) throw new Error(`${label}: the answer to ${path} is ${result.status}, expected ${status}`);
  const [proxyUs = 0, agentUs = 0] = spent().map((ms, index) => (ms - before[index]!) * 1000 / result.requests);
  return { ...result, proxyUs, agentUs };
}
