// Addresses and node ports of Services: who has what, in one file that outlives the agent and that all nodes of a cluster share, under a lock. A
// free number is looked for from a hash of the service's name on, so that a start from nothing gives the same ones.
import { createHash } from 'node:crypto';
import { closeSync, mkdirSync, openSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { lockFile } from '../kernel/libc.ts';
import { addressAt, covers, type Ranges } from '../node/addresses.ts';
import { readJson, writeJson } from '../store/file.ts';
import type { Family, ServiceDraft } from './draft.ts';
import { sizeOf, type ServiceRanges } from './ranges.ts';
import type { ServiceRow } from './tables.ts';

/** What one service has. */
interface Kept {
  readonly ips: Readonly<Partial<Record<Family, string>>>;
  readonly pool: Readonly<Partial<Record<Family, string>>>;
  /** By `port/PROTOCOL`. */
  readonly ports: Readonly<Record<string, number>>;
  readonly health?: number;
  /** `ADDRESS:PORT/PROTOCOL` of its external IPs. */
  readonly external: readonly string[];
  /** Nobody has had this service since: what it had rests before another service gets it, unless one asks for it by number. */
  readonly goneAtMs?: number;
}

export interface Refusal { readonly path: readonly (string | number)[]; readonly message: string; readonly mend?: string }
export type Allocated = { readonly row: ServiceRow } | { readonly refused: Refusal };

const restMs = 30_000;

class Refused extends Error {
  readonly refusal: Refusal;
  constructor(path: Refusal['path'], message: string, mend?: string) {
    super(message);
    this.refusal = { path, message, ...(mend === undefined ? {} : { mend }) };
  }
}

/** What a service asks for by number is looked for here first: others begin beyond, as Kubernetes does it (KEP-3070). */
const staticPart = (size: number): number => Math.min(Math.max(16, Math.floor(size / 16)), 256);
const staticPorts = 86;

const claimsOf = ({ ips, pool, ports, health, external }: Kept): string[] => [
  ...Object.values(ips), ...Object.values(pool), ...new Set([...Object.values(ports), ...(health === undefined ? [] : [health])].map((port) => `port ${port}`)), ...external,
];

export class Allocations {
  readonly #path: string;
  readonly #ranges: ServiceRanges;
  readonly #now: () => number;
  readonly #services = new Map<string, Kept>();
  readonly #owners = new Map<string, string>();
  #stamp = '';

  constructor(path: string, ranges: ServiceRanges, now: () => number = Date.now) {
    this.#path = path;
    this.#ranges = ranges;
    this.#now = now;
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  }

  /** In order, those that name their numbers first; what one is refused changes nothing of what it had. `present`: every service that there is; absent: not all are known yet. */
  allocate(drafts: readonly ServiceDraft[], present?: ReadonlySet<string>): Map<string, Allocated> {
    const lock = openSync(`${this.#path}.lock`, 'w', 0o600);
    try {
      lockFile(lock, this.#path);
      this.#read();
      let changed = this.#forget(present);
      const results = new Map<string, Allocated>();
      const named = ({ fixedIps, fixedPoolIp, fixedHealthPort, row }: ServiceDraft): boolean => fixedIps.length > 0 || fixedPoolIp !== undefined || fixedHealthPort !== undefined || row.ports.some(({ nodePort }) => nodePort !== undefined);
      for (const draft of [...drafts.filter(named), ...drafts.filter((one) => !named(one))]) {
        try {
          const kept = this.#choose(draft);
          changed = this.#settle(draft.row.key, kept) || changed;
          results.set(draft.row.key, { row: rowOf(draft, kept) });
        } catch (error) {
          if (!(error instanceof Refused)) throw error;
          results.set(draft.row.key, { refused: error.refusal });
        }
      }
      if (changed) {
        writeJson(this.#path, Object.fromEntries(this.#services));
        this.#stamp = this.#stampNow();
      }
      return results;
    } finally {
      closeSync(lock);
    }
  }

  #stampNow(): string {
    const file = statSync(this.#path, { throwIfNoEntry: false });
    return file === undefined ? '' : `${file.ino} ${file.mtimeMs} ${file.size}`;
  }

  #read(): void {
    const stamp = this.#stampNow();
    if (stamp === this.#stamp) return;
    this.#stamp = stamp;
    this.#services.clear();
    this.#owners.clear();
    for (const [key, kept] of Object.entries((readJson(this.#path) ?? {}) as Record<string, Kept>)) this.#settle(key, kept);
  }

  #settle(key: string, kept: Kept): boolean {
    const old = this.#services.get(key);
    if (old !== undefined && JSON.stringify(old) === JSON.stringify(kept)) return false;
    this.#drop(key);
    this.#services.set(key, kept);
    for (const claim of claimsOf(kept)) {
      const before = this.#owners.get(claim);
      // It rested: whoever asked for it by number has it now.
      if (before !== undefined && before !== key) this.#drop(before);
      this.#owners.set(claim, key);
    }
    return true;
  }

  #drop(key: string): void {
    for (const claim of claimsOf(this.#services.get(key) ?? { ips: {}, pool: {}, ports: {}, external: [] })) if (this.#owners.get(claim) === key) this.#owners.delete(claim);
    this.#services.delete(key);
  }

  #forget(present: ReadonlySet<string> | undefined): boolean {
    if (present === undefined) return false;
    const now = this.#now();
    let changed = false;
    for (const [key, kept] of this.#services) {
      if (present.has(key)) continue;
      if (kept.goneAtMs === undefined) this.#services.set(key, { ...kept, goneAtMs: now });
      else if (now - kept.goneAtMs < restMs) continue;
      else this.#drop(key);
      changed = true;
    }
    return changed;
  }

  #choose(draft: ServiceDraft): Kept {
    const { key, ports, externalIps } = draft.row;
    const before = this.#services.get(key);
    const taken = new Set<string>();
    const take = (claim: string): string => {
      taken.add(claim);
      return claim;
    };
    const ips = this.#addresses(draft.families, draft.fixedIps, before?.ips, { key, ranges: this.#ranges.clusterIps, field: 'clusterIP', what: 'ClusterIP', fixedPart: true }, take);
    const poolFamilies = draft.wantsPool ? draft.families : [];
    const pool = this.#addresses(poolFamilies, draft.fixedPoolIp === undefined ? [] : [draft.fixedPoolIp], before?.pool,
      { key, ranges: this.#ranges.pool, field: 'loadBalancerIP', what: 'address of the pool', fixedPart: false }, take);
    const external = externalIps.flatMap((address, index) => ports.map(({ port, protocol }) => this.#fixed(`${address}:${port}/${protocol}`, key, ['spec', 'externalIPs', index])));
    const nodePorts: Record<string, number> = {};
    if (draft.wantsNodePorts) {
      ports.forEach(({ port, protocol, nodePort }, index) => {
        const name = `${port}/${protocol}`;
        nodePorts[name] = nodePort === undefined ? this.#port(`${key} ${name}`, key, before?.ports[name], taken) : this.#fixedPort(nodePort, key, ['spec', 'ports', index, 'nodePort']);
        taken.add(`port ${nodePorts[name]}`);
      });
    }
    if (!draft.wantsHealthPort) return { ips, pool, ports: nodePorts, external };
    const health = draft.fixedHealthPort === undefined ? this.#port(`${key} health`, key, before?.health, taken) : this.#fixedPort(draft.fixedHealthPort, key, ['spec', 'healthCheckNodePort']);
    if (taken.has(`port ${health}`)) throw new Refused(['spec', 'healthCheckNodePort'], `healthCheckNodePort ${health} is a nodePort of the same Service`, 'choose another, or leave it out');
    return { ips, pool, ports: nodePorts, health, external };
  }

  #addresses(families: readonly Family[], fixed: readonly string[], before: Kept['ips'] | undefined,
    { key, ranges, field, what, fixedPart }: { key: string; ranges: Ranges; field: string; what: string; fixedPart: boolean }, take: (claim: string) => string): Partial<Record<Family, string>> {
    const found: Partial<Record<Family, string>> = {};
    for (const family of families) {
      const own = fixed.find((one) => one.includes(':') === (family === 'ipv6'));
      const range = ranges[family];
      if (own !== undefined) {
        if (!covers(range, own)) throw new Refused(['spec', field], `${own} is not in ${range}, where each ${what} is from`, `leave ${field} out: one is allocated`);
        found[family] = take(this.#fixed(own, key, ['spec', field]));
        continue;
      }
      const kept = before?.[family];
      found[family] = take(kept !== undefined && covers(range, kept) && this.#isFree(kept, key) ? kept : this.#address(range, key, what, fixedPart));
    }
    return found;
  }

  #isFree(claim: string, key: string): boolean { return (this.#owners.get(claim) ?? key) === key; }

  /** The first and the last address of a range are nobody's. */
  #address(range: string, key: string, what: string, fixedPart: boolean): string {
    const size = sizeOf(range);
    const low = fixedPart ? staticPart(size) : 1;
    const found = this.#search(`${key} ${range}`, low, size - 2, 1, (index) => addressAt(range, index), (address) => this.#isFree(address, key));
    if (found === undefined) throw new Refused(['spec'], `no ${what} of ${range} is free`, 'delete Services, or choose a larger range');
    return found;
  }

  #port(seed: string, key: string, before: number | undefined, taken: ReadonlySet<string>): number {
    const { first, last } = this.#ranges.nodePorts;
    const isFree = (port: number): boolean => !taken.has(`port ${port}`) && this.#isFree(`port ${port}`, key);
    if (before !== undefined && before >= first && before <= last && isFree(before)) return before;
    const found = this.#search(seed, Math.min(first + staticPorts, last), last, first, (port) => port, isFree);
    if (found === undefined) throw new Refused(['spec', 'ports'], `no node port from ${first} to ${last} is free`, 'delete Services of the types NodePort and LoadBalancer');
    return found;
  }

  /** From a number of the seed's hash on through [low, high], then through what lies below. */
  #search<Found>(seed: string, low: number, high: number, lowest: number, at: (index: number) => Found, isFree: (found: Found) => boolean): Found | undefined {
    const count = high - low + 1;
    const start = createHash('sha256').update(seed).digest().readUInt32BE() % count;
    for (let tried = 0; tried < count; tried += 1) {
      const found = at(low + ((start + tried) % count));
      if (isFree(found)) return found;
    }
    for (let index = low - 1; index >= lowest; index -= 1) {
      const found = at(index);
      if (isFree(found)) return found;
    }
    return undefined;
  }

  #fixedPort(port: number, key: string, path: Refusal['path']): number {
    const { first, last } = this.#ranges.nodePorts;
    if (port < first || port > last) throw new Refused(path, `node port ${port} is not from ${first} to ${last}`, `for example ${first}`);
    this.#fixed(`port ${port}`, key, path);
    return port;
  }

  #fixed(claim: string, key: string, path: Refusal['path']): string {
    const owner = this.#owners.get(claim);
    if (owner !== undefined && owner !== key && this.#services.get(owner)?.goneAtMs === undefined) {
      throw new Refused(path, `${claim.startsWith('port ') ? `node ${claim}` : claim} is that of Service ${owner}; that one stays`, 'choose another, or leave it out');
    }
    return claim;
  }
}

function rowOf({ row, families }: ServiceDraft, { ips, pool, ports, health }: Kept): ServiceRow {
  return {
    ...row, clusterIps: families.map((family) => ips[family]!), loadBalancerIps: families.flatMap((family) => pool[family] ?? []),
    ports: row.ports.map((port) => {
      const nodePort = ports[`${port.port}/${port.protocol}`];
      return nodePort === undefined ? port : { ...port, nodePort };
    }),
    ...(health === undefined ? {} : { healthCheckNodePort: health }),
  };
}
