// Other proxies in the same place: two namespaces and a router (plain.ts) that takes the connections to the server's port to a transparent
// proxy by nftables' tproxy, and sends those of the proxy on under the client's address.
import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { environment, fetchPeers, program } from './service-peers.ts';
import type { HttpWay } from './http.ts';
import { PlainPair } from './plain.ts';

export type ProxyKind = 'Envoy tcp_proxy' | 'HAProxy';
/** Where the proxies listen: haproxy-l7.cfg says the same. */
const proxyPort = 8080;
const readyMs = 10_000;

const steering = (port: number): string => ['table inet bench {', '  chain prerouting {', '    type filter hook prerouting priority mangle;',
  '    meta l4proto tcp socket transparent 1 meta mark set 1 accept',
  `    iifname "client" meta nfproto ipv4 tcp dport ${port} tproxy ip to :${proxyPort} meta mark set 1 accept`, '  }', '}', ''].join('\n');

/** The hop itself: bytes and nothing else. */
function tcpProxy(): object {
  const typed = (type: string, more: object = {}): object => ({ '@type': `type.googleapis.com/envoy.extensions.filters.${type}`, ...more });
  return {
    static_resources: {
      listeners: [{
        name: 'clients', address: { socket_address: { address: '0.0.0.0', port_value: proxyPort } }, transparent: true,
        listener_filters: [
          { name: 'envoy.filters.listener.original_dst', typed_config: typed('listener.original_dst.v3.OriginalDst') },
          { name: 'envoy.filters.listener.original_src', typed_config: typed('listener.original_src.v3.OriginalSrc') },
        ],
        filter_chains: [{ filters: [{ name: 'envoy.filters.network.tcp_proxy', typed_config: typed('network.tcp_proxy.v3.TcpProxy', { stat_prefix: 'hop', cluster: 'original' }) }] }],
      }],
      clusters: [{ name: 'original', type: 'ORIGINAL_DST', lb_policy: 'CLUSTER_PROVIDED', connect_timeout: '5s' }],
    },
  };
}

/** `envoy`: the binary. */
export class ProxyWay implements HttpWay {
  readonly label: ProxyKind;
  readonly client: string;
  readonly server: string;
  readonly address: string;
  readonly port: number;
  readonly #plain: PlainPair;
  readonly #folder = mkdtempSync(join(tmpdir(), 'weir-bench-'));
  #process: ChildProcess | undefined;

  private constructor(kind: ProxyKind, port: number) {
    this.#plain = new PlainPair(`bench-l7-${kind.split(' ')[0]!.toLowerCase()}`);
    this.label = kind;
    this.client = this.#plain.client;
    this.server = this.#plain.server;
    this.address = this.#plain.to.ipv4;
    this.port = port;
  }

  static async make(kind: ProxyKind, port: number, envoy: string): Promise<ProxyWay> {
    const way = new ProxyWay(kind, port);
    way.#inRouter(['nft', '-f', '-'], steering(port));
    way.#inRouter(['ip', 'link', 'set', 'lo', 'up']);
    way.#inRouter(['ip', 'rule', 'add', 'fwmark', '1', 'lookup', '100']);
    way.#inRouter(['ip', 'route', 'add', 'local', 'default', 'dev', 'lo', 'table', '100']);
    if (kind === 'HAProxy') fetchPeers();
    await way.#start(kind === 'HAProxy' ? [program('haproxy'), '-db', '-f', fileURLToPath(new URL('haproxy-l7.cfg', import.meta.url))] : [envoy, ...way.#envoyWords()]);
    return way;
  }

  readonly proxy = (): number => this.#process!.pid!;

  #envoyWords(): string[] {
    const config = join(this.#folder, 'envoy.json');
    writeFileSync(config, JSON.stringify(tcpProxy()));
    return ['-c', config, '--concurrency', '1', '--disable-hot-restart', '--log-level', 'error'];
  }

  #inRouter(command: readonly string[], input = ''): void {
    execFileSync('nsenter', [`--net=${this.#plain.router}`, ...command], { input, stdio: ['pipe', 'ignore', 'pipe'] });
  }

  async #start(command: readonly string[]): Promise<void> {
    const child = spawn('nsenter', [`--net=${this.#plain.router}`, ...command], { env: environment, stdio: 'ignore' });
    this.#process = child;
    const listens = (): boolean => execFileSync('nsenter', [`--net=${this.#plain.router}`, 'cat', '/proc/net/tcp'], { encoding: 'utf8' }).includes(`:${proxyPort.toString(16).toUpperCase()} 00000000:0000 0A`);
    for (const end = Date.now() + readyMs; !listens(); await sleep(50)) {
      if (child.exitCode !== null || Date.now() > end) throw new Error(`${this.label} does not listen`);
    }
  }

  async close(): Promise<void> {
    if (this.#process !== undefined && this.#process.exitCode === null) {
      const ended = once(this.#process, 'exit');
      this.#process.kill('SIGKILL');
      await ended;
    }
    this.#plain.close();
    rmSync(this.#folder, { recursive: true });
  }
}
