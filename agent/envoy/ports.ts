// The ports of listeners: one for each rule set, the same for as long as the set lives, also for the next agent. They are kept on disk.
import { createHash } from 'node:crypto';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { ConfigError } from '../errors.ts';
import { readJson, writeJson } from '../store/file.ts';

export const portsPerInstance = 1_024;
const firstPort = 10_000;
/** Up to 31,503: below the ports that kernels give out to those who ask for any (32,768). */
const slots = 21;

/** The last one is that of DNS by TCP (agent/dns/proxy). */
const portsForRuleSets = portsPerInstance - 1;

export const firstPortOf = (instance: string): number => firstPort + (createHash('sha256').update(instance).digest().readUInt16BE() % slots) * portsPerInstance;
export const dnsPortOf = (instance: string): number => firstPortOf(instance) + portsForRuleSets;

interface Kept { readonly first: number; readonly ports: Readonly<Record<string, number>> }

export class Ports {
  readonly #path: string;
  readonly #first: number;
  readonly #byKey = new Map<string, number>();
  readonly #byPort = new Map<number, string>();
  #next = 0;

  constructor(path: string, first: number) {
    this.#path = path;
    this.#first = first;
    const kept = readJson(path) as Kept | undefined;
    if (kept?.first === first) for (const [key, port] of Object.entries(kept.ports)) if (port < first + portsForRuleSets) this.#put(key, port);
  }

  #put(key: string, port: number): void {
    this.#byKey.set(key, port);
    this.#byPort.set(port, key);
  }

  /** Throws ConfigError when none is free. */
  of(key: string): number {
    const had = this.#byKey.get(key);
    if (had !== undefined) return had;
    for (let tried = 0; tried < portsForRuleSets; tried += 1) {
      // The next one each time: a port that was just given back is the last to be given out.
      const port = this.#first + this.#next;
      this.#next = (this.#next + 1) % portsForRuleSets;
      if (this.#byPort.has(port)) continue;
      this.#put(key, port);
      this.#save();
      return port;
    }
    throw new ConfigError(`all ${portsForRuleSets} ports for L7 rule sets are in use`, 'fewer different sets of L7 rules');
  }

  keyOf(port: number): string | undefined { return this.#byPort.get(port); }

  get keys(): readonly string[] { return [...this.#byKey.keys()]; }

  giveBack(key: string): void {
    const port = this.#byKey.get(key);
    if (port === undefined) return;
    this.#byKey.delete(key);
    this.#byPort.delete(port);
    this.#save();
  }

  #save(): void { writeJson(this.#path, { first: this.#first, ports: Object.fromEntries(this.#byKey) } satisfies Kept); }
}

/** The instance of this machine whose ports are the same; names are many, ranges few. */
export function sharedWith(instance: string, root: string): string | undefined {
  const others = existsSync(root) ? readdirSync(root).filter((name) => name !== instance) : [];
  return others.find((name) => firstPortOf(name) === firstPortOf(instance) && existsSync(join(root, name, 'envoy', 'ports.json')));
}
