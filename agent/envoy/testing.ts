// For tests: a proxy with the real Envoy on loopback, in front of a server of the test's own. No steering: clients dial its ports.
import { mkdtempSync, readFileSync, readlinkSync, rmSync } from 'node:fs';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ProxyAccess } from '../../hubble/access.ts';
import { messageOf } from '../errors.ts';
import { cgroupFolder } from '../node/check.ts';
import { buildKeeper } from './build.ts';
import { fetchBinary } from './binary.ts';
import { rangeOf } from './ports.ts';
import { startEnvoy, type EnvoyOptions, type L7Proxy } from './proxy.ts';

const listens = '0A';
const freshMs = 5;
/** `FAMILY:PORT` -> the inodes of the sockets. */
let looked = { atMs: -Infinity, ports: new Map<string, string>() };

/** All that is listened on, by /proc: good enough in place of steering's map. */
function listeners(): ReadonlyMap<string, string> {
  if (performance.now() - looked.atMs < freshMs) return looked.ports;
  const ports = new Map<string, string>();
  for (const [file, family] of [['/proc/net/tcp', '4'], ['/proc/net/tcp6', '6']] as const) {
    for (const line of readFileSync(file, 'utf8').split('\n').slice(1)) {
      const [, local, , state, , , , , , inode] = line.trim().split(/\s+/);
      const name = state === listens ? `${family}:${Number.parseInt(local!.split(':')[1]!, 16)}` : undefined;
      if (name !== undefined) ports.set(name, `${ports.get(name) ?? ''} ${inode}`);
    }
  }
  looked = { atMs: performance.now(), ports };
  return ports;
}

export const listening = (port: number): { ipv4: boolean; ipv6: boolean } => ({ ipv4: listeners().has(`4:${port}`), ipv6: listeners().has(`6:${port}`) });
const sockets = (port: number): string => (listening(port).ipv4 && listening(port).ipv6 ? `${listeners().get(`4:${port}`)} ${listeners().get(`6:${port}`)}` : '');

/** Behind the names of tests that are skipped where no Envoy can be had: why. */
export const lacking = await fetchBinary().then(() => '', (error: unknown) => ` (skipped: ${messageOf(error).split('\n')[0]})`);
export const haveEnvoy = lacking === '';

export interface Bench {
  proxy: L7Proxy;
  readonly seen: ProxyAccess[];
  readonly requests: http.IncomingMessage[];
  readonly upstreamPort: number;
  readonly stateDir: string;
  /** As an agent that dies and one that takes over. */
  readonly restart: (other?: Partial<EnvoyOptions>) => Promise<void>;
  readonly stop: () => Promise<void>;
}

export async function startBench(name: string, options: Partial<EnvoyOptions> = {}, answer: http.RequestListener = (_request, response) => { response.end('hello'); }): Promise<Bench> {
  buildKeeper();
  const requests: http.IncomingMessage[] = [];
  const server = http.createServer((request, response) => {
    requests.push(request);
    answer(request, response);
  });
  await new Promise<void>((resolve) => { server.listen(0, '127.0.0.1', resolve); });
  const { port } = server.address() as AddressInfo;
  const root = mkdtempSync(join(tmpdir(), 'weir-envoy-'));
  const seen: ProxyAccess[] = [];
  const make = async (other: Partial<EnvoyOptions> = {}): Promise<L7Proxy> => startEnvoy({
    instance: `test-${name}`, stateDir: join(root, `test-${name}`), cgroup: cgroupFolder(`weir/test-${name}-envoy`), ports: rangeOf(`test-${name}`, root, readlinkSync('/proc/self/ns/net')), steering: { listening, sockets, attachListenHook: () => undefined },
    secretOf: () => undefined, onAccess: (entry) => { seen.push(entry); }, log: () => undefined, ...options, changes: { upstream: { address: '127.0.0.1', port }, ...options.changes }, ...other,
  });
  const bench: Bench = {
    proxy: await make(), seen, requests, upstreamPort: port, stateDir: join(root, `test-${name}`),
    restart: async (other = {}) => {
      bench.proxy.leave();
      bench.proxy = await make(other);
    },
    stop: async () => {
      await bench.proxy.stop();
      server.closeAllConnections();
      await new Promise((resolve) => { server.close(resolve); });
      rmSync(root, { recursive: true, force: true });
    },
  };
  return bench;
}

export interface Answer { readonly code: number; readonly body: string; readonly headers: http.IncomingHttpHeaders }

export async function get(port: number, path: string, options: http.RequestOptions = {}): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const request = http.get({ host: '127.0.0.1', port, path, ...options }, (response) => {
      let body = '';
      response.on('data', (chunk) => { body += String(chunk); }).on('end', () => { resolve({ code: response.statusCode!, body, headers: response.headers }); });
    });
    request.on('error', reject);
  });
}

export async function until<T>(look: () => T | undefined | Promise<T | undefined>, timeoutMs = 5_000): Promise<T> {
  for (const end = performance.now() + timeoutMs; ;) {
    const found = await look();
    if (found !== undefined) return found;
    if (performance.now() > end) throw new Error('nothing came in time');
    await new Promise((resolve) => { setTimeout(resolve, 5); });
  }
}
