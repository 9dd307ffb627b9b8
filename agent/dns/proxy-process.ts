// The proxy of DNS by TCP as a process (agent/dns/proxy): a copy of all that it runs on, where its own user may read it, and the keeper that outlives
// the agent. A restart by the keeper so runs the same code, whatever became of this checkout.
import { createHash } from 'node:crypto';
import { chmodSync, chownSync, cpSync, readdirSync, readFileSync, renameSync, rmSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join, relative, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { inside } from '../envoy/bootstrap.ts';
import { KeptProcess } from '../envoy/kept.ts';
import { makeCgroup } from '../workload/process.ts';
import { slotOf } from '../envoy/process.ts';

/** Below those of Envoy (agent/envoy/process.ts), one for each instance. */
const firstUser = 196_000;
const memoryBytes = 256 * 2 ** 20;
const flags = ['--max-old-space-size=96', '--max-semi-space-size=1', '--disable-warning=ExperimentalWarning'];

const root = fileURLToPath(new URL('../..', import.meta.url));
const require = createRequire(import.meta.url);
/** Files and folders of the checkout. */
const sources = ['agent/dns/proxy', 'agent/names/server', 'agent/kernel/libc.ts', 'agent/kernel/errors.ts', 'agent/kernel/bpf.ts', 'bpf/types.gen.ts'];
/** What a library ships beside what it runs on. */
const unneeded = /\.test\.ts$|[/\\](vendor|doc|musl_[^/\\]*)$|CHANGELOG|CMakeLists/;

/** The folder of a package, by any file of it. */
function folderOf(file: string): string {
  const at = file.lastIndexOf(`${sep}node_modules${sep}`);
  const [first, second] = file.slice(at + 14).split(sep) as [string, string];
  return join(file.slice(0, at + 14), first.startsWith('@') ? join(first, second) : first);
}

/** Folder of each package below node_modules. */
function packages(): ReadonlyMap<string, string> {
  const codec = require.resolve('dns-packet');
  const addresses = createRequire(codec).resolve('@leichtgewicht/ip-codec');
  const koffi = require.resolve('koffi');
  const native = createRequire(koffi).resolve(`@koromix/koffi-linux-${process.arch}`);
  return new Map([codec, addresses, koffi, native].map((file) => [folderOf(file).slice(file.lastIndexOf(`${sep}node_modules${sep}`) + 14), folderOf(file)]));
}

const needed = (path: string): boolean => !unneeded.test(path);

function* filesBelow(path: string): Generator<string> {
  if (!needed(path)) return;
  if (!statSync(path).isDirectory()) yield path;
  else for (const name of readdirSync(path).sort()) yield* filesBelow(join(path, name));
}

/** Changes with everything that the process runs on. */
export function versionOf(): string {
  const hash = createHash('sha256').update(process.version);
  for (const source of sources) for (const file of filesBelow(join(root, source))) hash.update(relative(root, file)).update(readFileSync(file));
  for (const [name, folder] of packages()) hash.update(name).update(readFileSync(join(folder, 'package.json')));
  return hash.digest('hex').slice(0, 16);
}

function give(path: string, user: number): void {
  const isFolder = statSync(path).isDirectory();
  chownSync(path, 0, user);
  chmodSync(path, isFolder ? 0o750 : 0o640);
  if (isFolder) for (const name of readdirSync(path)) give(join(path, name), user);
}

/** Copies all of it to `folder`, for `user` to read. */
function stage(folder: string, user: number): void {
  rmSync(folder, { recursive: true, force: true });
  const copy = (from: string, to: string): void => { cpSync(from, join(folder, to), { recursive: true, dereference: true, filter: needed }); };
  for (const source of sources) copy(join(root, source), source);
  for (const [name, from] of packages()) copy(from, join('node_modules', name));
  copy(join(root, 'agent/dns/proxy/package.json'), 'package.json');
  give(folder, user);
}

export interface ProxyProcessOptions {
  readonly instance: string;
  /** `/run/weir/NAME/dns`. */
  readonly folder: string;
  readonly cgroup: string;
  readonly attach: (cgroup: string) => void;
}

export interface Wanted {
  readonly port: number;
  readonly marks: { readonly downstream: number; readonly egressDone: number };
  /** bpf/dns_tcp.c. */
  readonly program: number;
  /** Of the programs and maps: one that was started on others is replaced. */
  readonly kernel: string;
}

export class ProxyProcess extends KeptProcess {
  readonly #version = versionOf();

  constructor({ instance, folder, cgroup, attach }: ProxyProcessOptions) {
    super({ folder, cgroup, attach: () => {
      makeCgroup(cgroup);
      attach(cgroup);
    }, user: firstUser + slotOf(instance), memoryBytes });
  }

  /** Takes the one that runs, or starts one. True: it was started. */
  async ensure({ port, marks, program, kernel }: Wanted): Promise<boolean> {
    const words = [...flags, `${inside}/code/agent/dns/proxy/main.ts`, String(port), String(marks.downstream), String(marks.egressDone)];
    const identity = createHash('sha256').update([this.#version, kernel, ...words].join(' ')).digest('hex').slice(0, 16);
    if (this.identity === identity) return false;
    const [code, next] = [join(this.runFolder, 'code'), join(this.runFolder, 'code.next')];
    stage(next, this.user);
    // Until now it serves.
    if (this.keeper !== undefined) await this.end();
    rmSync(code, { recursive: true, force: true });
    renameSync(next, code);
    this.start({ path: process.execPath, arguments: words, identity, descriptor: program });
    return true;
  }
}
