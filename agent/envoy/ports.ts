// The ports of listeners: one for each rule set, the same for as long as the set lives, also for the next agent. They are of a range that no other
// instance of the same network namespace has. Both are kept on disk.
import { createHash } from 'node:crypto';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { ConfigError } from '../errors.ts';
import { limit } from '../../bpf/types.gen.ts';
import { readJson, writeJson } from '../store/file.ts';

export const portsPerInstance = limit.PROXY_PORTS;
const firstPort = 10_000;
/** Up to 31,503: below the ports that kernels give out to those who ask for any (32,768). */
const slots = 21;

/** `netns`: the network namespace that it is of, as /proc says it. */
export interface Range { readonly first: number; readonly netns: string }
interface Kept extends Range { readonly ports: Readonly<Record<string, number>> }
/** The last one is that of DNS by TCP (agent/dns/proxy). */
const portsForRuleSets = portsPerInstance - 1;
export const dnsPortOf = ({ first }: Range): number => first + portsForRuleSets;

const keptPath = (stateDir: string): string => join(stateDir, 'proxy-ports.json');
const isRange = (first: number): boolean => first >= firstPort && first < firstPort + slots * portsPerInstance && (first - firstPort) % portsPerInstance === 0;

/**
 * The one it had, else by its name, so that it is the same on the next day, else the next that is free. `root`: where the state of all instances
 * is. Throws ConfigError when all are taken.
 */
export function rangeOf(instance: string, root: string, netns: string): Range {
  const others = (existsSync(root) ? readdirSync(root) : []).filter((name) => name !== instance).map((name) => readJson(keptPath(join(root, name))) as Kept | undefined);
  const taken = new Set(others.flatMap((kept) => (kept?.netns === netns ? [kept.first] : [])));
  const had = readJson(keptPath(join(root, instance))) as Kept | undefined;
  if (had?.netns === netns && isRange(had.first) && !taken.has(had.first)) return { first: had.first, netns };
  const byName = createHash('sha256').update(instance).digest().readUInt16BE();
  for (let tried = 0; tried < slots; tried += 1) {
    const first = firstPort + ((byName + tried) % slots) * portsPerInstance;
    if (!taken.has(first)) return { first, netns };
  }
  throw new ConfigError(`all ${slots} ranges of ports for L7 rules are taken by other instances of this network namespace`, 'end one of them');
}

export class Ports {
  readonly #path: string;
  readonly #range: Range;
  readonly #byKey = new Map<string, number>();
  readonly #byPort = new Map<number, string>();
  #next = 0;
  #isNew = false;

  constructor(stateDir: string, range: Range) {
    this.#path = keptPath(stateDir);
    this.#range = range;
    const kept = readJson(this.#path) as Kept | undefined;
    if (kept?.first === range.first) for (const [key, port] of Object.entries(kept.ports)) if (port < dnsPortOf(range)) this.#put(key, port);
    this.#save(); // from now on others see it
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
      const port = this.#range.first + this.#next;
      this.#next = (this.#next + 1) % portsForRuleSets;
      if (this.#byPort.has(port)) continue;
      this.#put(key, port);
      this.#isNew = true;
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

  /** On disk from now on what was given out since; to be called before anybody listens there. Once for all: 1,000 files one after another took two seconds. */
  keep(): void { if (this.#isNew) this.#save(); }

  #save(): void {
    writeJson(this.#path, { ...this.#range, ports: Object.fromEntries(this.#byKey) } satisfies Kept);
    this.#isNew = false;
  }
}
