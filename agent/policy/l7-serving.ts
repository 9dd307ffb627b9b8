// Between compile and flip: the rule sets of an image are served by Envoy first; where it does, the kernel gets its port, and where it
// does not the connections are refused and the policies concerned say why.
import { messageOf } from '../errors.ts';
import type { PolicyImage, PolicyRef, RuleSet } from './image.ts';
import type { PortRow } from './proxy-ports.ts';
import { NOTHING, RuleSets, type Derived } from './rule-sets.ts';

/** agent/envoy, as policies see it. */
export interface L7Proxy {
  /** Before anything else is asked of it. Rejects with why there is none. */
  readonly start: () => Promise<void>;
  /** Allocates where the key has none; the same after a restart. Throws ConfigError when no port is free. */
  readonly portOf: (key: string) => number;
  /** Besides those before. Resolves when each is acknowledged and listening, refused, or late: key -> why. */
  readonly serve: (sets: ReadonlyMap<string, RuleSet>) => Promise<ReadonlyMap<string, string>>;
  /** After the flip: only these are needed any more. */
  readonly retire: (needed: ReadonlySet<string>) => void;
}

export interface Served {
  /** The same list as before where nothing changed. */
  readonly ports: readonly PortRow[];
  /** By `Kind/namespace/name`: why connections that its L7 rules are about are refused. */
  readonly problems: ReadonlyMap<string, readonly string[]>;
}

/** Rule sets that are remembered. */
const mostGone = 4_096;

export class L7Serving {
  readonly #proxy: L7Proxy | undefined;
  readonly #ruleSets = new RuleSets();
  #derived: Derived = NOTHING;
  readonly #gone = new Map<string, RuleSet>();
  #ports: ReadonlyMap<string, number> = new Map();
  #rows: readonly PortRow[] = [];
  #refused: ReadonlyMap<string, string> = new Map();

  constructor(proxy: L7Proxy | undefined) { this.#proxy = proxy; }

  /** Rule sets that are not served. */
  get refused(): ReadonlyMap<string, string> { return this.#refused; }

  /** Also for a while after it was retired: access logs come late. */
  ruleSet(key: string): RuleSet | undefined { return this.#derived.sets.get(key) ?? this.#gone.get(key); }

  async serve(image: PolicyImage): Promise<Served> {
    const [before, refusedBefore] = [this.#derived, this.#refused];
    this.#remember(before);
    this.#derived = this.#ruleSets.derive(image);
    const { sets, rows } = this.#derived;
    this.#refused = await this.#ask();
    if (this.#derived !== before || !sameKeys(this.#refused, refusedBefore)) {
      this.#rows = rows.flatMap(({ set, ...row }): PortRow[] => (this.#refused.has(set) ? [] : [{ ...row, port: this.#ports.get(set)! }]));
    }
    const problems = new Map<string, Set<string>>();
    const tell = (policies: readonly PolicyRef[], message: string): void => {
      for (const { kind, namespace, name } of policies) {
        const key = `${kind}/${namespace}/${name}`;
        problems.set(key, (problems.get(key) ?? new Set()).add(message));
      }
    };
    for (const { policies, message } of this.#derived.conflicts) tell(policies, message);
    for (const [key, message] of this.#refused) tell(sets.get(key)!.rules.flatMap(({ ref, l7 }) => (l7 === 'any' ? [] : [ref.policy])), message);
    return { ports: this.#rows, problems: new Map([...problems].map(([key, messages]) => [key, [...messages]])) };
  }

  /** Asks again for what was refused; true: the answer is another now. */
  async askAgain(): Promise<boolean> {
    const refused = await this.#ask();
    return !sameKeys(refused, this.#refused);
  }

  /** After the flip, when no packet is judged by the image before. */
  retire(): void { this.#proxy?.retire(new Set(this.#derived.sets.keys())); }

  /** The latest stand last. */
  #remember({ sets }: Derived): void {
    for (const [key, set] of sets) {
      this.#gone.delete(key);
      this.#gone.set(key, set);
    }
    for (const key of this.#gone.keys()) {
      if (this.#gone.size <= mostGone) break;
      this.#gone.delete(key);
    }
  }

  async #ask(): Promise<ReadonlyMap<string, string>> {
    const { sets } = this.#derived;
    if (sets.size === 0) return new Map();
    if (this.#proxy === undefined) return new Map([...sets.keys()].map((key) => [key, 'no Envoy runs beside this agent']));
    const ports = new Map<string, number>();
    const refused = new Map<string, string>();
    try {
      await this.#proxy.start();
    } catch (error) {
      return new Map([...sets.keys()].map((key) => [key, messageOf(error)]));
    }
    for (const key of sets.keys()) {
      try {
        ports.set(key, this.#proxy.portOf(key));
      } catch (error) {
        refused.set(key, messageOf(error));
      }
    }
    this.#ports = ports;
    const asked = new Map([...sets].filter(([key]) => ports.has(key)));
    try {
      return new Map([...refused, ...await this.#proxy.serve(asked)]);
    } catch (error) {
      // What is wrong with Envoy must not hold up what it has no part in.
      return new Map([...refused, ...[...asked.keys()].map((key) => [key, messageOf(error)] as const)]);
    }
  }
}

const sameKeys = (a: ReadonlyMap<string, unknown>, b: ReadonlyMap<string, unknown>): boolean => a.size === b.size && [...a.keys()].every((key) => b.has(key));
