// Real sockets under the hooks: network namespaces of their own, a cgroup that the shipped programs are attached to, services written as the
// agent writes them, and Python processes that do what they are told.
import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, openSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface, type Interface } from 'node:readline';
import { ServiceClients } from '../../agent/datapath/clients.ts';
import { socketHooks } from '../../agent/datapath/hooks.ts';
import { loadDatapath, type Datapath } from '../../agent/datapath/maps.ts';
import { mappedBytes } from '../../agent/ipcache/address.ts';
import { linkCreate, mapDelete, mapUpdate } from '../../agent/kernel/bpf.ts';
import { codecOf } from '../../agent/kernel/codec.ts';
import { BpfMap } from '../../agent/kernel/map.ts';
import { cgroupRoot, ensureMounts } from '../../agent/node/check.ts';
import { buildBpf, objectPath } from '../build.ts';
import type { Backend, Frontend, FrontendKey } from '../types.gen.ts';

const ip = (...words: string[]): void => { execFileSync('ip', words, { stdio: ['ignore', 'pipe', 'pipe'] }); };
const word = (value: number): Uint8Array => new Uint8Array(new Uint32Array([value]).buffer);
const netnsPath = (name: string): string => `/run/netns/${name}`;

export const protocols = { TCP: 6, UDP: 17, SCTP: 132 } as const;
export interface End { readonly address: string; readonly port: number }
export interface TestService extends End {
  readonly protocol: keyof typeof protocols;
  /** Numbers of backends. */
  readonly backends: readonly number[];
  readonly affinitySeconds?: number;
  readonly flags?: number;
}

/** The maps of services, as `svc` writes them: backends, slots, frontends. */
export class Services {
  readonly frontends: BpfMap<FrontendKey, Frontend>;
  readonly backends: BpfMap<number, Backend>;
  readonly #datapath: Datapath;
  #service = 0;
  #slot = 0;

  constructor(datapath: Datapath) {
    this.#datapath = datapath;
    const { maps, btf } = datapath.object;
    this.frontends = new BpfMap(maps.get('frontends')!, codecOf<FrontendKey>(btf.struct('frontend_key')), codecOf<Frontend>(btf.struct('frontend')));
    this.backends = new BpfMap(maps.get('backends')!, { size: 4, encode: word, decode: (view, at) => view.getUint32(at, true) }, codecOf<Backend>(btf.struct('backend')));
  }

  backend(number: number, { address, port }: End, protocol: keyof typeof protocols, state = 0): void {
    this.backends.set(number, { addr: { word: mappedBytes(address) }, port, protocol: protocols[protocol], state, connections: 0 });
  }

  /** Replaces a frontend that is there. */
  write({ backends, affinitySeconds = 0, flags = 0, ...end }: TestService): void {
    const first = this.#slot;
    for (const number of backends) {
      mapUpdate(this.#datapath.object.maps.get('service_slots')!.fd, word(this.#slot), word(number), 'service_slots');
      this.#slot += 1;
    }
    const before = this.frontends.get(this.key(end));
    this.#service += 1;
    this.frontends.set(this.key(end), { service: before?.service ?? this.#service, first, count: backends.length, maglev: 0, affinity_seconds: affinitySeconds, flags });
  }

  key({ address, port, protocol }: End & { readonly protocol: keyof typeof protocols }): FrontendKey {
    return { addr: { word: mappedBytes(address) }, port, protocol: protocols[protocol], scope: 0 };
  }
}

/** Runs Python as it is told, in a network namespace and a cgroup; what a line leaves in `result` is its answer. */
export class Python {
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;
  readonly #reader: Interface;

  /** `netns`: path of the network namespace. */
  constructor(netns: string, cgroup: string, prelude: string) {
    const loop = 'import errno,json,sys\nscope={}\nfor line in sys.stdin:\n  scope["result"]=None\n  try: exec(json.loads(line),scope)\n  except OSError as e: scope["result"]="errno %d" % (e.errno or errno.ETIMEDOUT)\n  print(json.dumps(scope["result"]),flush=True)\n';
    this.#child = spawn('sh', ['-c', 'echo $$ > "$1/cgroup.procs" && exec nsenter --net="$2" python3 -c "$3"', 'sh', cgroup, netns, loop], { stdio: ['pipe', 'pipe', 'inherit'] });
    this.#reader = createInterface({ input: this.#child.stdout! });
    this.#lines = this.#reader[Symbol.asyncIterator]();
    this.#child.stdin!.write(`${JSON.stringify(prelude)}\n`);
  }

  async ready(): Promise<void> { await this.#lines.next(); }

  async run(code: string): Promise<unknown> {
    this.#child.stdin!.write(`${JSON.stringify(code)}\n`);
    const { value, done } = await this.#lines.next();
    if (done === true) throw new Error(`python ended at: ${code}`);
    return JSON.parse(value) as unknown;
  }

  async close(): Promise<void> {
    // One that a failed test has ended is gone already.
    if (this.#child.exitCode === null && this.#child.signalCode === null) {
      const ended = new Promise((resolve) => { this.#child.once('exit', resolve); });
      this.#child.stdin!.end();
      await ended;
    }
    this.#reader.close();
  }
}

/** `names`: network namespaces to be made, with these addresses on their loopback device. */
export class SocketWorld {
  readonly datapath: Datapath;
  readonly services: Services;
  readonly clients: ServiceClients;
  readonly cgroup: string;
  readonly #names: readonly string[];
  readonly #links: number[] = [];
  readonly #pythons: Python[] = [];

  constructor(name: string, namespaces: Readonly<Record<string, readonly string[]>>) {
    buildBpf();
    ensureMounts();
    this.cgroup = join(cgroupRoot()!, `weir-test-${name}`);
    this.#names = Object.keys(namespaces);
    this.#removeNamespaces();
    mkdirSync(this.cgroup, { recursive: true });
    for (const [netns, addresses] of Object.entries(namespaces)) {
      ip('netns', 'add', netns);
      ip('-n', netns, 'link', 'set', 'lo', 'up');
      for (const address of addresses) ip('-n', netns, 'address', 'add', `${address}/${address.includes(':') ? 128 : 32}`, 'dev', 'lo', ...(address.includes(':') ? ['nodad'] : []));
    }
    this.datapath = loadDatapath(objectPath);
    this.services = new Services(this.datapath);
    const folder = openSync(this.cgroup, 'r');
    for (const [program, type] of Object.entries(socketHooks)) this.#links.push(linkCreate(this.datapath.object.programs.get(program)!, folder, type, program));
    closeSync(folder);
    // Bound by this process, which is not in the cgroup.
    this.clients = new ServiceClients(this.datapath, cgroupRoot()!);
  }

  client(netns: string, ifindex: number): void { this.clients.add(netnsPath(netns), ifindex); }

  async python(netns: string, prelude: string): Promise<Python> {
    const python = new Python(netnsPath(netns), this.cgroup, prelude);
    this.#pythons.push(python);
    await python.ready();
    return python;
  }

  /** Rows of `sock_peers`. */
  get remembered(): number { return this.datapath.sockPeers.entries().length; }

  removeBackend(number: number): void { mapDelete(this.services.backends.fd, word(number), 'backends'); }

  async close(): Promise<void> {
    for (const python of this.#pythons) await python.close();
    for (const link of this.#links) closeSync(link);
    this.clients.close();
    this.datapath.object.close();
    this.#removeNamespaces();
    rmdirSync(this.cgroup);
  }

  #removeNamespaces(): void { for (const name of this.#names) if (existsSync(netnsPath(name))) ip('netns', 'delete', name); }
}
