// Other ways from a client to a service: two namespaces and a router, as in plain.ts, whose router has rules or a proxy for all services.
import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readdirSync, existsSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { peerFolder } from './build.ts';
import { PlainPair } from './plain.ts';
import type { Pair } from './peer.ts';
import { haproxy, iptables, nftables, type BenchService } from './service-rules.ts';

export type ServiceWay = 'nftables' | 'iptables' | 'HAProxy';
export const serviceWays: readonly ServiceWay[] = ['nftables', 'iptables', 'HAProxy'];

/** Debian's own, unpacked below build/ and never installed. */
const packages = ['haproxy', 'iptables', 'liblua5.3-0', 'libip4tc2', 'libip6tc2', 'libxtables12', 'libopentracing-c-wrapper0', 'libopentracing1'];
const root = join(peerFolder, 'root');
const libraries = ['usr/lib/x86_64-linux-gnu', 'usr/lib/aarch64-linux-gnu'].map((folder) => join(root, folder)).join(':');
export const environment = { ...process.env, LD_LIBRARY_PATH: libraries, XTABLES_LIBDIR: ['x86_64', 'aarch64'].map((machine) => join(root, `usr/lib/${machine}-linux-gnu/xtables`)).find(existsSync) ?? '' };
export const program = (name: string): string => join(root, 'usr/sbin', name);
const readyMs = 30_000;

export function fetchPeers(): void {
  if (existsSync(program('haproxy')) && existsSync(program('iptables-legacy-restore'))) return;
  mkdirSync(root, { recursive: true });
  execFileSync('apt-get', ['download', '-q', ...packages], { cwd: peerFolder, stdio: ['ignore', 'ignore', 'pipe'] });
  for (const file of readdirSync(peerFolder).filter((name) => name.endsWith('.deb'))) execFileSync('dpkg', ['-x', join(peerFolder, file), root]);
}

export class ServicePair implements Pair {
  readonly label: string;
  readonly client: string;
  readonly server: string;
  readonly to: Pair['to'];
  readonly #plain: PlainPair;
  readonly #folder = mkdtempSync(join(tmpdir(), 'weir-bench-'));
  #proxy: ChildProcess | undefined;

  private constructor(way: ServiceWay, own: BenchService) {
    this.#plain = new PlainPair(`bench-${way.toLowerCase()}`);
    this.label = way;
    this.client = this.#plain.client;
    this.server = this.#plain.server;
    this.to = { ...this.#plain.to, ipv4: own.address };
  }

  /** `own`: the one that is asked for, with the server of the pair behind it. */
  static async make(way: ServiceWay, own: (server: string) => readonly BenchService[], others: readonly BenchService[]): Promise<ServicePair> {
    const server = new ServicePair(way, own('')[0]!);
    const mine = own(server.#plain.to.ipv4);
    const middle = Math.floor(others.length / 2);
    await server.#program(way, [...others.slice(0, middle), ...mine, ...others.slice(middle)], mine[0]!);
    return server;
  }

  async #program(way: ServiceWay, services: readonly BenchService[], own: BenchService): Promise<void> {
    if (way === 'nftables') this.#inRouter(['nft', '-f', '-'], nftables(services));
    else if (way === 'iptables') this.#inRouter([program('iptables-legacy-restore')], iptables(services));
    else await this.#startProxy(services, own);
  }

  #inRouter(command: readonly string[], input: string): void {
    execFileSync('nsenter', [`--net=${this.#plain.router}`, ...command], { input, env: environment, stdio: ['pipe', 'ignore', 'pipe'] });
  }

  /** All addresses are the router's own, so that the proxy can listen there. */
  async #startProxy(services: readonly BenchService[], own: BenchService): Promise<void> {
    this.#inRouter(['ip', 'route', 'add', 'local', '10.96.0.0/15', 'dev', 'lo'], '');
    const config = join(this.#folder, 'haproxy.cfg');
    writeFileSync(config, haproxy(services));
    const child = spawn('nsenter', [`--net=${this.#plain.router}`, 'sh', '-c', 'ulimit -n 65536; exec "$0" -db -f "$1"', program('haproxy'), config], { env: environment, stdio: 'ignore' });
    this.#proxy = child;
    const listens = (): boolean => execFileSync('nsenter', [`--net=${this.#plain.router}`, 'cat', '/proc/net/tcp'], { encoding: 'utf8', maxBuffer: 64 << 20 }).includes(`:${own.port.toString(16).toUpperCase().padStart(4, '0')} 00000000:0000 0A`);
    for (const end = Date.now() + readyMs; !listens(); await sleep(50)) {
      if (child.exitCode !== null || Date.now() > end) throw new Error(`haproxy does not listen at ${own.address}:${own.port}`);
    }
  }

  async close(): Promise<void> {
    if (this.#proxy !== undefined && this.#proxy.exitCode === null) {
      const ended = once(this.#proxy, 'exit');
      this.#proxy.kill('SIGKILL');
      await ended;
    }
    this.#plain.close();
    rmSync(this.#folder, { recursive: true });
  }
}
