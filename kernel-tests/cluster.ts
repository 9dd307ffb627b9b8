// A whole weir on this machine for a test: a network namespace as the node, one behind it as the outside, a folder of
// manifests, the real command line. Named after the test; everything goes with `close`.
import { execFileSync, spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { chmodSync, existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { setTimeout as sleep } from 'node:timers/promises';
import { stringify } from 'yaml';
import { instanceOf, type Instance } from '../agent/instance.ts';
import { prober, slowness, type Answer, type Probe } from './programs.ts';

const launcher = fileURLToPath(new URL('../weir', import.meta.url));
const startTimeoutMs = 60_000;

export const outside = { ipv4: '198.51.100.1', ipv6: '2001:db8:51::1' };
export const node = { ipv4: '198.51.100.2', ipv6: '2001:db8:51::2' };

const ip = (...words: string[]): void => { execFileSync('ip', words, { stdio: ['ignore', 'pipe', 'pipe'] }); };

/** Among the arguments of a cluster: with a name server. Most tests are about something else, and count workloads. */
export const withNames = 'with-names';

export interface Run { readonly code: number | null; readonly out: string; readonly error: string }

export class Cluster {
  readonly instance: Instance;
  readonly dir: string;
  protected readonly netns: string;
  readonly #arguments: readonly string[];
  #agent: ChildProcess | undefined;
  #log = '';
  readonly #background: ChildProcess[] = [];
  readonly #ends = new Map<string, { ipv4: string; ipv6: string }>();

  protected constructor(name: string, args: readonly string[]) {
    this.instance = instanceOf(`test-${name}`);
    this.dir = mkdtempSync(join(tmpdir(), `weir-${name}-`));
    chmodSync(this.dir, 0o755);
    this.netns = `weir-${name}`;
    this.#arguments = args;
  }

  /** Makes the namespaces and the folder; nothing runs yet. */
  static make(name: string, files: Readonly<Record<string, object | readonly object[] | string>>, args: readonly string[] = []): Cluster {
    return new Cluster(name, args).prepare(files);
  }

  protected prepare(files: Parameters<typeof Cluster.make>[1]): this {
    this.#makeNetwork();
    for (const [file, content] of Object.entries(files)) this.write(file, content);
    return this;
  }

  static async start(name: string, files: Parameters<typeof Cluster.make>[1], args: readonly string[] = []): Promise<Cluster> {
    const cluster = Cluster.make(name, files, args);
    await cluster.up();
    return cluster;
  }

  #makeNetwork(): void {
    const out = `${this.netns}-out`;
    this.#removeNetwork();
    for (const name of [this.netns, out]) {
      ip('netns', 'add', name);
      ip('-n', name, 'link', 'set', 'lo', 'up');
    }
    ip('link', 'add', 'uplink', 'netns', this.netns, 'type', 'veth', 'peer', 'name', 'downlink', 'netns', out);
    for (const [name, device, own] of [[this.netns, 'uplink', node], [out, 'downlink', outside]] as const) {
      ip('-n', name, 'address', 'add', `${own.ipv4}/24`, 'dev', device);
      ip('-n', name, 'address', 'add', `${own.ipv6}/64`, 'dev', device, 'nodad');
      ip('-n', name, 'link', 'set', 'dev', device, 'up');
    }
    ip('-n', this.netns, 'route', 'add', 'default', 'via', outside.ipv4);
    ip('-n', this.netns, 'route', 'add', 'default', 'via', outside.ipv6);
  }

  #removeNetwork(): void {
    for (const name of [this.netns, `${this.netns}-out`]) if (existsSync(`/run/netns/${name}`)) ip('netns', 'delete', name);
  }

  /** An object or several become YAML; text is written as it is. */
  write(file: string, content: object | readonly object[] | string): void {
    const documents = Array.isArray(content) ? content : [content];
    writeFileSync(join(this.dir, file), typeof content === 'string' ? content : documents.map((one) => stringify(one)).join('---\n'));
  }

  remove(file: string): void { rmSync(join(this.dir, file)); }

  /** Starts the agent and waits until every workload of the folder has left Pending. `args`: instead of those it was made with. */
  async up(args: readonly string[] = this.#arguments): Promise<void> {
    this.#log = '';
    const named = args.includes(withNames) ? args.filter((word) => word !== withNames) : ['--no-names', ...args];
    const agent = spawn('nsenter', [`--net=/run/netns/${this.netns}`, launcher, 'up', this.dir, '--instance', this.instance.name, ...named], { stdio: ['ignore', 'pipe', 'pipe'] });
    for (const stream of [agent.stdout, agent.stderr]) stream.on('data', (data: Buffer) => { this.#log += data.toString(); });
    this.#agent = agent;
    await this.until('the agent answers', () => { if (agent.exitCode !== null || agent.signalCode !== null) throw new Error(this.#log); return this.answers(); });
    await this.settled();
  }

  protected answers(): boolean { return existsSync(this.instance.apiSocket) && this.weir('status').code === 0; }

  get log(): string { return this.#log; }
  get pid(): number { return this.#agent!.pid!; }
  /** Of an agent that ended by itself; null while it runs and after a kill. */
  get exitCode(): number | null { return this.#agent!.exitCode; }

  /** Every workload runs or has come to its end. */
  async settled(): Promise<void> {
    await this.until('workloads run', () => {
      const rows = this.json<{ phase: string }[]>('db', 'show', 'workloads');
      const pods = this.json<object[]>('db', 'show', 'pods');
      return rows.length === pods.length && rows.every(({ phase }) => phase !== 'Pending' && phase !== 'Terminating');
    });
  }

  /** `timeoutMs`: on a machine of its own. */
  async until(what: string, ready: () => boolean, timeoutMs = startTimeoutMs): Promise<void> {
    const end = Date.now() + timeoutMs * slowness;
    while (!ready()) {
      if (Date.now() > end) throw new Error(`not in time: ${what}\n${this.#log}`);
      await sleep(50);
    }
  }

  weir(...words: string[]): Run {
    const at = words.indexOf('--');
    const all = at < 0 ? [...words, '--instance', this.instance.name] : [...words.slice(0, at), '--instance', this.instance.name, ...words.slice(at)];
    const { status, stdout, stderr } = spawnSync(launcher, all, { encoding: 'utf8', maxBuffer: 64 << 20 });
    return { code: status, out: stdout, error: stderr };
  }

  json<Result>(...words: string[]): Result {
    const { out, error } = this.weir(...words, '-o', 'json');
    if (out === '') throw new Error(error);
    return JSON.parse(out) as Result;
  }

  /** Inside a workload. */
  exec(workload: string, ...command: string[]): Run { return this.weir('workload', 'exec', workload, '--', ...command); }

  /** On the node or outside of it. */
  on(place: 'node' | 'outside', ...command: string[]): Run {
    const { status, stdout, stderr } = spawnSync('nsenter', [`--net=/run/netns/${this.netns}${place === 'outside' ? '-out' : ''}`, ...command], { encoding: 'utf8' });
    return { code: status, out: stdout, error: stderr };
  }

  /** Ends with the cluster. */
  background(place: 'node' | 'outside', ...command: string[]): ChildProcess {
    const child = spawn('nsenter', [`--net=/run/netns/${this.netns}${place === 'outside' ? '-out' : ''}`, ...command], { stdio: ['ignore', 'pipe', 'inherit'] });
    return this.keep(child);
  }

  protected keep(child: ChildProcess): ChildProcess {
    this.#background.push(child);
    return child;
  }

  probe(from: string, probes: readonly Probe[]): Answer[] {
    const { out, error, code } = from === 'node' || from === 'outside' ? this.on(from, ...prober(probes)) : this.exec(from, ...prober(probes));
    if (code !== 0) throw new Error(`probe from ${from}: ${error}${out}`);
    return JSON.parse(out) as Answer[];
  }

  address(workload: string): { ipv4: string; ipv6: string } { return this.json('endpoint', 'get', workload); }

  /** As it was at the first look: for clusters whose endpoints stay. */
  end(workload: string): { ipv4: string; ipv6: string } {
    if (this.#ends.size === 0) for (const row of this.endpoints()) this.#ends.set(row.key, row);
    return this.#ends.get(workload)!;
  }

  protected endpoints(): { key: string; ipv4: string; ipv6: string }[] { return this.json('endpoint', 'list'); }

  /** Ends the agent by a signal and waits for it. */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    const agent = this.#agent;
    if (agent === undefined || agent.exitCode !== null || agent.signalCode !== null) return;
    const ended = new Promise((resolve) => { agent.once('exit', resolve); });
    agent.kill(signal);
    await ended;
  }

  async close(): Promise<void> {
    await this.stop();
    for (const child of this.#background) child.kill('SIGKILL');
    this.#removeNetwork();
    rmSync(this.dir, { recursive: true });
  }
}

/** What a machine holds that weir could leave behind. */
export function traces(instance: Instance): string[] {
  const found = [instance.stateDir, instance.pinDir].filter(existsSync);
  const cgroups = execFileSync('find', ['/sys/fs/cgroup', '-path', `*${instance.cgroup}*`], { encoding: 'utf8' }).trim();
  const processes = execFileSync('ps', ['-eo', 'args='], { encoding: 'utf8' }).split('\n').filter((line) => line.includes('weir-shim') && line.includes(instance.name));
  return [...found, ...(cgroups === '' ? [] : cgroups.split('\n')), ...processes];
}

export const pod = (name: string, command: readonly string[], labels: Record<string, string> = { app: name }, namespace = 'default', more: object = {}): object => ({
  apiVersion: 'v1', kind: 'Pod', metadata: { name, namespace, labels }, spec: { containers: [{ name: 'main', command }], terminationGracePeriodSeconds: 0, ...more },
});

export const policy = (name: string, spec: object, namespace = 'default'): object => ({ apiVersion: 'cilium.io/v2', kind: 'CiliumNetworkPolicy', metadata: { name, namespace }, spec });

/** An object of a policy kind, or a Namespace, with this mode. */
export function withMode(mode: string, object: object): object {
  const { metadata, ...rest } = object as { metadata: object };
  return { ...rest, metadata: { ...metadata, annotations: { 'policy.weir.io/mode': mode } } };
}
