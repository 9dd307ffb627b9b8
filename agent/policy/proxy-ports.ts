// Where the kernel sends what L7 rules are about: rows of the map proxy_ports. New ones stand before the flip, those that nobody reads any more
// go after it; what has no row is refused.
import { ConfigError } from '../errors.ts';
import type { Datapath } from '../datapath/maps.ts';
import { limit, type ProxyKey } from '../../bpf/types.gen.ts';
import type { KernelNumbers } from './kernel-numbers.ts';
import type { ProxyRow } from './rule-sets.ts';

/** A row and the port at which Envoy listens for its rule set. */
export interface PortRow extends Omit<ProxyRow, 'set'> { readonly port: number }

interface Written { readonly key: ProxyKey; readonly port: number }

export class ProxyPorts {
  readonly #map: Datapath['proxyPorts'];
  readonly #numbers: Pick<KernelNumbers, 'policyId' | 'classId'>;
  #written = new Map<string, Written>();
  #wanted = new Map<string, Written>();
  #rows: readonly PortRow[] | undefined;

  constructor(datapath: Pick<Datapath, 'proxyPorts'>, numbers: Pick<KernelNumbers, 'policyId' | 'classId'>) {
    this.#map = datapath.proxyPorts;
    this.#numbers = numbers;
  }

  /** Rows in the kernel. */
  get size(): number { return this.#written.size; }

  /** What an agent before left; the kernel reads it until the first flip. Rows of policies that are not `inForce` are of a flip that never came. */
  adopt(inForce: ReadonlySet<number>): void {
    for (const [key, port] of this.#map.entries(limit.MAX_PROXY_PORTS)) {
      if (inForce.has(key.policy)) this.#written.set(textOf(key), { key, port });
      else this.#map.delete(key);
    }
  }

  /** Throws ConfigError before anything is written. The rows before stand until `retire`, so that both have to fit. */
  checkRoom(rows: readonly PortRow[]): void {
    if (rows.length > limit.MAX_PROXY_PORTS / 2) {
      throw new ConfigError(`L7 rules hold for ${rows.length} pairs of a policy's port and a class of peers, at most ${limit.MAX_PROXY_PORTS / 2} fit`, 'select the same peers in more of the L7 rules, or let more endpoints share the same policies');
    }
  }

  /** Policies and classes have their numbers. The same list as before is passed over: a number lives as long as its key. */
  place(rows: readonly PortRow[]): void {
    if (rows === this.#rows) return;
    this.#rows = rows;
    this.#wanted = new Map(rows.map(({ policy, interval, class: peers, bits, port }) => {
      const key = { bits, policy: this.#numbers.policyId(policy), interval, class_id: this.#numbers.classId(peers) };
      return [textOf(key), { key, port }];
    }));
    for (const [text, row] of this.#wanted) {
      if (this.#written.get(text)?.port === row.port) continue;
      this.#map.set(row.key, row.port);
      this.#written.set(text, row);
    }
  }

  /** When no program reads the generation before any more, and before numbers are given back. */
  retire(): void {
    for (const [text, { key }] of this.#written) {
      if (this.#wanted.has(text)) continue;
      this.#map.delete(key);
      this.#written.delete(text);
    }
  }
}

const textOf = ({ policy, interval, class_id: peers, bits }: ProxyKey): string => `${policy} ${interval} ${peers} ${bits}`;
