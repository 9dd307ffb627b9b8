// As cluster.ts, with several nodes: workloads are addressed by the node that they run on, nodes by their name.
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import type { Instance } from '../agent/instance.ts';
import { nodeInstance } from '../agent/node/cluster.ts';
import { netnsOf } from '../agent/node/underlay.ts';
import { Cluster, traces, type Run } from './cluster.ts';
import { prober, type Answer, type Probe } from './programs.ts';

const nodes = ['node1', 'node2'] as const;

export type Node = (typeof nodes)[number];

export class NodesCluster extends Cluster {
  readonly #at: Readonly<Record<string, Node>>;

  private constructor(name: string, at: Readonly<Record<string, Node>>, args: readonly string[]) {
    super(name, ['--nodes', String(nodes.length), ...args]);
    this.#at = at;
  }

  /** `at`: which node each workload runs on. */
  static async startNodes(name: string, files: Parameters<typeof Cluster.make>[1], at: Readonly<Record<string, Node>>, args: readonly string[] = []): Promise<NodesCluster> {
    const cluster = new NodesCluster(name, at, args).prepare(files);
    await cluster.up();
    return cluster;
  }

  protected override answers(): boolean { return nodes.every((node) => existsSync(this.agentOf(node).apiSocket) && this.weir('--node', node, 'status').code === 0); }

  override async settled(): Promise<void> {
    await this.until('workloads of all nodes run and know each other', () => {
      const all = nodes.map((node) => this.json<{ key: string; phase: string }[]>('--node', node, 'db', 'show', 'workloads'));
      const found = new Set(all.flat().map(({ key }) => key));
      return Object.keys(this.#at).every((key) => found.has(key)) && all.flat().every(({ phase }) => phase === 'Running')
        && nodes.every((node, index) => this.json<{ origin: string; identity: number }[]>('--node', node, 'db', 'show', 'ipcache')
          .filter(({ origin, identity }) => origin === 'remote' && identity >= 256).length === all[1 - index]!.length * 2);
    });
  }

  agentOf(node: Node): Instance { return nodeInstance(this.instance.name, node); }

  override exec(workload: string, ...command: string[]): Run { return this.weir('--node', this.#at[workload]!, 'workload', 'exec', workload, '--', ...command); }

  override address(workload: string): { ipv4: string; ipv6: string; identity: number; interfaceName: string } { return this.json('--node', this.#at[workload]!, 'endpoint', 'get', workload); }

  protected override endpoints(): { key: string; ipv4: string; ipv6: string }[] { return nodes.flatMap((node) => this.json<{ key: string; ipv4: string; ipv6: string }[]>('--node', node, 'endpoint', 'list')); }

  onNode(node: Node, ...command: string[]): Run {
    const { status, stdout, stderr } = spawnSync('nsenter', [`--net=${netnsOf(this.instance, node)}`, ...command], { encoding: 'utf8' });
    return { code: status, out: stdout, error: stderr };
  }

  /** Ends with the cluster. */
  backgroundOn(node: Node, ...command: string[]): void { this.keep(spawn('nsenter', [`--net=${netnsOf(this.instance, node)}`, ...command], { stdio: ['ignore', 'ignore', 'inherit'] })); }

  override probe(from: string, probes: readonly Probe[]): Answer[] {
    if (!nodes.some((node) => node === from)) return super.probe(from, probes);
    return JSON.parse(this.onNode(from as Node, ...prober(probes)).out) as Answer[];
  }

  /** A machine on the network between the nodes that is none of them; returns the way to send frames from there. */
  stranger(): (frames: readonly Uint8Array[]) => void {
    const name = this.#stranger;
    execFileSync('ip', ['netns', 'add', name]);
    execFileSync('ip', ['link', 'add', 'strange', 'netns', this.netns, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', name]);
    execFileSync('ip', ['-n', this.netns, 'link', 'set', 'strange', 'master', `${this.instance.interfacePrefix}br`, 'up']);
    execFileSync('ip', ['-n', name, 'link', 'set', 'eth0', 'up']);
    return (frames) => {
      execFileSync('nsenter', [`--net=/run/netns/${name}`, 'python3', '-c', `
import socket, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); s.bind(('eth0', 0))
for line in sys.stdin: s.send(bytes.fromhex(line.strip()))`], { input: frames.map((bytes) => Buffer.from(bytes).toString('hex')).join('\n') });
    };
  }

  get #stranger(): string { return `${this.netns}-stranger`; }

  override async close(): Promise<void> {
    if (existsSync(`/run/netns/${this.#stranger}`)) execFileSync('ip', ['netns', 'delete', this.#stranger]);
    await super.close();
  }

  left(): string[] {
    const spaces = readdirSync('/run/netns').filter((name) => name.startsWith(`${this.netns}-node`) || name.startsWith(`weir-${this.instance.name}-`));
    return [...[this.instance, ...nodes.map((node) => this.agentOf(node))].flatMap(traces), ...spaces, ...(this.on('node', 'ip', '-o', 'link').out.includes(this.instance.interfacePrefix) ? ['interfaces'] : [])];
  }
}
