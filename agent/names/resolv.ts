// resolv.conf: of the machine, where questions about the outside go; and of each namespace, bound into its workloads. It is written
// in place when the name server gets another address: resolvers read it again.
import { mkdirSync, readFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { join } from 'node:path';
import { writeInPlace } from '../workload/hosts.ts';

/** systemd's file with the real servers first: its stub answers only in the machine's own network. */
const machineFiles = ['/run/systemd/resolve/resolv.conf', '/etc/resolv.conf'];
/** Of glibc: more are not read. */
const mostServers = 3;

export interface MachineResolv { readonly servers: readonly string[]; readonly search: readonly string[] }

/** A server on the machine's own loopback cannot be reached from a workload. */
export function readResolv(text: string): MachineResolv {
  const lines = text.split('\n').map((line) => line.trim().split(/\s+/));
  const servers = lines.filter(([word]) => word === 'nameserver').map(([, address = '']) => address).filter((address) => isIP(address) !== 0 && !/^127\.|^::1$/.test(address));
  const search = lines.filter(([word]) => word === 'search' || word === 'domain').at(-1)?.slice(1).filter((domain) => domain !== '.') ?? [];
  return { servers: servers.slice(0, mostServers), search };
}

export function machineResolv(): MachineResolv {
  for (const path of machineFiles) {
    try {
      return readResolv(readFileSync(path, 'utf8'));
    } catch (error) {
      if (!['ENOENT', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
    }
  }
  return { servers: [], search: [] };
}

export const resolvText = (namespace: string, domain: string, server: string | undefined, search: readonly string[]): string => [
  ...(server === undefined ? [] : [`nameserver ${server}`]),
  `search ${[`${namespace}.svc.${domain}`, `svc.${domain}`, domain, ...search].join(' ')}`, 'options ndots:5', '',
].join('\n');

export class ResolvFiles {
  readonly #folder: string;
  readonly #domain: string;
  readonly #search: readonly string[];
  readonly #written = new Map<string, string>();
  #server: string | undefined;

  constructor(folder: string, domain: string, search: readonly string[]) {
    this.#folder = folder;
    this.#domain = domain;
    this.#search = search;
    mkdirSync(folder, { recursive: true, mode: 0o700 });
  }

  /** It exists from then on. */
  path(namespace: string): string {
    this.#write(namespace);
    return join(this.#folder, namespace);
  }

  use(server: string | undefined): void {
    if (server === this.#server) return;
    this.#server = server;
    for (const namespace of this.#written.keys()) this.#write(namespace);
  }

  #write(namespace: string): void {
    const text = resolvText(namespace, this.#domain, this.#server, this.#search);
    if (this.#written.get(namespace) === text) return;
    writeInPlace(join(this.#folder, namespace), text);
    this.#written.set(namespace, text);
  }
}
