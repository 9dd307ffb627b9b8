// resolv.conf: of the machine, where questions about the outside go; and of each namespace, or of its pods with a dnsPolicy or dnsConfig of
// their own, bound into workloads. It is written in place when the name server gets another address: resolvers read it again.
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { join } from 'node:path';
import { writeInPlace } from '../workload/hosts.ts';
import { mostServers } from '../workload/pods-names.ts';
import type { PodDns, PodRow } from '../workload/tables.ts';

/** systemd's file with the real servers first: its stub answers only in the machine's own network. */
const machineFiles = ['/run/systemd/resolve/resolv.conf', '/etc/resolv.conf'];

export interface MachineResolv { readonly servers: readonly string[]; readonly search: readonly string[]; readonly options: readonly string[] }

/** A server on the machine's own loopback cannot be reached from a workload. */
export function readResolv(text: string): MachineResolv {
  const lines = text.split('\n').map((line) => line.trim().split(/\s+/));
  const servers = lines.filter(([word]) => word === 'nameserver').map(([, address = '']) => address).filter((address) => isIP(address) !== 0 && !/^127\.|^::1$/.test(address));
  const search = lines.filter(([word]) => word === 'search' || word === 'domain').at(-1)?.slice(1).filter((domain) => domain !== '.') ?? [];
  const options = lines.filter(([word]) => word === 'options').flatMap(([, ...words]) => words);
  return { servers: servers.slice(0, mostServers), search, options };
}

export function machineResolv(): MachineResolv {
  for (const path of machineFiles) {
    try {
      return readResolv(readFileSync(path, 'utf8'));
    } catch (error) {
      if (!['ENOENT', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
    }
  }
  return { servers: [], search: [], options: [] };
}

export interface ClusterResolv { readonly domain: string; /** Absent: not known yet. */ readonly server: string | undefined; readonly machine: MachineResolv }

const unique = (words: readonly string[]): string[] => [...new Set(words)];

/** `ndots:2` in place of another `ndots`. */
function withOptions(base: readonly string[], more: PodDns['options']): string[] {
  const byName = new Map(base.map((word) => [word.split(':')[0]!, word]));
  for (const { name, value } of more) byName.set(name, value === undefined ? name : `${name}:${value}`);
  return [...byName.values()];
}

/** What the policy gives; dnsConfig comes behind it. */
function baseOf(policy: PodDns['policy'], namespace: string, { domain, server, machine }: ClusterResolv): MachineResolv {
  if (policy === 'None') return { servers: [], search: [], options: [] };
  if (policy === 'Default') return machine;
  return { servers: server === undefined ? [] : [server], search: [`${namespace}.svc.${domain}`, `svc.${domain}`, domain, ...machine.search], options: ['ndots:5'] };
}

/** As kubelet writes it (pkg/kubelet/network/dns): servers beyond those that are asked are left out. */
export function resolvText(namespace: string, cluster: ClusterResolv, dns: PodDns = { policy: 'ClusterFirst', servers: [], searches: [], options: [] }): string {
  const base = baseOf(dns.policy, namespace, cluster);
  const servers = unique([...base.servers, ...dns.servers]).slice(0, mostServers);
  const search = unique([...base.search, ...dns.searches]);
  const options = withOptions(base.options, dns.options);
  return [...servers.map((one) => `nameserver ${one}`), ...(search.length === 0 ? [] : [`search ${search.join(' ')}`]), ...(options.length === 0 ? [] : [`options ${options.join(' ')}`]), ''].join('\n');
}

type Asking = Pick<PodRow, 'namespace' | 'dns'>;

/** No name of a namespace has the sign between. */
const fileOf = ({ namespace, dns }: Asking): string =>
  (dns === undefined ? namespace : `${namespace}+${createHash('sha256').update(JSON.stringify(dns)).digest('hex').slice(0, 16)}`);

export class ResolvFiles {
  readonly #folder: string;
  readonly #domain: string;
  readonly #machine: MachineResolv;
  readonly #written = new Map<string, { readonly asking: Asking; readonly text: string }>();
  #server: string | undefined;

  constructor(folder: string, domain: string, machine: MachineResolv) {
    this.#folder = folder;
    this.#domain = domain;
    this.#machine = machine;
    mkdirSync(folder, { recursive: true, mode: 0o700 });
  }

  /** It exists from then on. */
  path(asking: Asking): string {
    this.#write(asking);
    return join(this.#folder, fileOf(asking));
  }

  use(server: string | undefined): void {
    if (server === this.#server) return;
    this.#server = server;
    for (const { asking } of [...this.#written.values()]) this.#write(asking);
  }

  #write({ namespace, dns }: Asking): void {
    const asking = { namespace, ...(dns === undefined ? {} : { dns }) };
    const file = fileOf(asking);
    const text = resolvText(namespace, { domain: this.#domain, server: this.#server, machine: this.#machine }, dns);
    if (this.#written.get(file)?.text === text) return;
    writeInPlace(join(this.#folder, file), text);
    this.#written.set(file, { asking, text });
  }
}
