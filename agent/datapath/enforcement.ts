// The one loop from tables to the kernel: whenever policies, identities, endpoints or addresses change, what follows from them is compiled
// and flipped live as one generation. What cannot be programmed is refused with its reason; the rest goes on.
import { ConfigError, messageOf } from '../errors.ts';
import { cidrLabels } from '../identity/labels.ts';
import type { IdentityAllocator } from '../identity/allocator.ts';
import { reservedIdentities } from '../identity/reserved.ts';
import type { IdentityRow } from '../identity/tables.ts';
import { deriveIpcache } from '../ipcache/derive.ts';
import type { IpcacheRow } from '../ipcache/tables.ts';
import type { EndpointRow } from '../endpoint/tables.ts';
import type { NodeAddressRow, NodeRow, RemoteEndpointRow } from '../node/tables.ts';
import { Compiler } from '../policy/compile.ts';
import type { PolicyImage, RuleSet } from '../policy/image.ts';
import { policiesOfDnsByTcp } from '../policy/dns-by-tcp.ts';
import { L7Serving, type L7Proxy, type Served } from '../policy/l7-serving.ts';
import type { PolicyReconciler } from '../policy/reconciler.ts';
import type { PolicySet } from '../policy/reflector.ts';
import type { Table } from '../store/table.ts';

export interface EnforcementOptions {
  readonly policies: PolicySet;
  readonly endpoints: Table<EndpointRow>;
  readonly identities: Table<IdentityRow>;
  readonly allocator: IdentityAllocator;
  readonly nodeAddresses: Table<NodeAddressRow>;
  readonly nodes: Table<NodeRow>;
  readonly remoteEndpoints: Table<RemoteEndpointRow>;
  readonly ipcache: Table<IpcacheRow>;
  readonly reconciler: PolicyReconciler;
  /** Serves L7 rules; absent: connections that they are about are refused. */
  readonly proxy?: L7Proxy;
  /** Serves DNS rules for TCP; resolves with why it does not. */
  readonly dnsByTcp?: () => Promise<string | undefined>;
  /** The prefixes with an identity from before a restart; absent: the kernel enforces nothing yet. */
  readonly adopted?: readonly string[];
  /** Called after each flip, before what it allows is opened. */
  readonly applied: () => Promise<void>;
  /** An endpoint whose policy is in the kernel now and that has not been opened yet. */
  readonly open: (row: EndpointRow) => void;
  readonly log: (line: string) => void;
}

const retryMs = 1_000;
/** Between two questions for rule sets that are not served: twice as long each time, up to the last. */
const askAgainMs = { first: 1_000, last: 30_000 };

export class Enforcement {
  readonly #options: EnforcementOptions;
  readonly #unsubscribe: (() => void)[];
  readonly #compiler = new Compiler(true);
  #image: PolicyImage | undefined;
  #dirty = false;
  #waiting = 0;
  #running = false;
  #stopped = false;
  #idle: (() => void)[] = [];
  #retry: NodeJS.Timeout | undefined;
  readonly #serving: L7Serving;
  #asking = false;
  #askAgain: NodeJS.Timeout | undefined;
  #askMs = askAgainMs.first;
  readonly #cidrUsers = new Set<string>();

  constructor(options: EnforcementOptions) {
    this.#options = options;
    this.#serving = new L7Serving(options.proxy);
    for (const prefix of options.adopted ?? []) this.#cidrUsers.add(prefix);
    const mark = (): void => { this.mark(); };
    this.#unsubscribe = [options.policies.subscribe(mark), options.endpoints.subscribe(mark), options.nodeAddresses.subscribe(mark),
      options.nodes.subscribe(mark), options.remoteEndpoints.subscribe(mark)];
    this.mark();
  }

  /** What the kernel enforces now; absent before the first flip. */
  get image(): PolicyImage | undefined { return this.#image; }

  /** Of a key that an access log names. */
  ruleSet(key: string): RuleSet | undefined { return this.#serving.ruleSet(key); }

  /** Rule sets that Envoy does not serve, each with the reason. */
  get unserved(): ReadonlyMap<string, string> { return this.#serving.refused; }

  /** Changes that came since the last work began. */
  get waiting(): number { return this.#waiting; }

  mark(): void {
    this.#dirty = true;
    this.#waiting += 1;
    this.#start();
  }

  #start(): void {
    if (this.#running || this.#stopped) return;
    this.#running = true;
    // Changes of one turn of the event loop go together.
    setImmediate(() => { void this.#run(); });
  }

  /** Resolves when nothing is waiting to be applied. */
  settled(): Promise<void> {
    if (!this.#running) return Promise.resolve();
    return new Promise((resolve) => { this.#idle.push(resolve); });
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    for (const unsubscribe of this.#unsubscribe) unsubscribe();
    clearTimeout(this.#retry);
    clearTimeout(this.#askAgain);
    await this.settled();
  }

  async #run(): Promise<void> {
    while ((this.#dirty || this.#asking) && !this.#stopped) {
      const asking = this.#asking && !this.#dirty;
      this.#asking = false;
      this.#dirty = false;
      this.#waiting = 0;
      try {
        if (!asking || await this.#serving.askAgain()) await this.#applyOnce();
        this.#askLater();
      } catch (error) {
        this.#options.log(`policy: ${messageOf(error)}`);
        this.#retry = setTimeout(() => { this.mark(); }, retryMs);
      }
    }
    this.#running = false;
    for (const resolve of this.#idle.splice(0)) resolve();
  }

  /** Envoy may come, or be given what it lacked. */
  #askLater(): void {
    clearTimeout(this.#askAgain);
    if (this.#serving.refused.size === 0) {
      this.#askMs = askAgainMs.first;
      return;
    }
    this.#askAgain = setTimeout(() => {
      this.#asking = true;
      this.#start();
    }, this.#askMs);
    this.#askMs = Math.min(2 * this.#askMs, askAgainMs.last);
  }

  async #applyOnce(): Promise<void> {
    const { policies, endpoints, nodeAddresses, nodes, remoteEndpoints, ipcache, reconciler, open, allocator } = this.#options;
    // A restart must not judge by half of the policies.
    if (!policies.synced) return;
    const rows = endpoints.rows();
    const image = this.#compile(rows);
    const prefixes = deriveIpcache(rows, nodeAddresses.rows(), image.prefixes, { nodes: nodes.rows(), endpoints: remoteEndpoints.rows() });
    const { ports, problems } = await this.#serve(image);
    try {
      await reconciler.apply(image, prefixes, rows, ports);
    } catch (error) {
      // To this agent every policy is a late change; what the one before enforces is better than none of them.
      if (this.#image === undefined && this.#options.adopted !== undefined) throw error;
      // Too large: what changed last is refused, what was in force stays.
      if (!policies.refuseLatest(messageOf(error), error instanceof ConfigError ? error.mend : undefined)) throw error;
      this.#dirty = true;
      return;
    }
    await this.#options.applied();
    this.#image = image;
    this.#serving.retire();
    policies.unserved(problems);
    policies.accept(rows);
    ipcache.replace(prefixes);
    for (const user of this.#cidrUsers) if (!image.prefixes.has(user)) this.#dropCidr(user, allocator);
    for (const row of rows) if (row.state === 'waiting' && endpoints.get(row.key) === row) open(row);
  }

  /** What goes through proxies; by policy, why it does not. */
  async #serve(image: PolicyImage): Promise<Served> {
    const served = await this.#serving.serve(image);
    const byTcp = policiesOfDnsByTcp(image);
    const problem = byTcp.length === 0 ? undefined : await this.#options.dnsByTcp?.();
    if (problem === undefined) return served;
    const problems = new Map(served.problems);
    for (const { kind, namespace, name } of byTcp) problems.set(`${kind}/${namespace}/${name}`, [...problems.get(`${kind}/${namespace}/${name}`) ?? [], problem]);
    return { ports: served.ports, problems };
  }

  #compile(rows: readonly EndpointRow[]): PolicyImage {
    const { policies, identities, allocator } = this.#options;
    return this.#compiler.compile({
      rules: policies.groups(),
      identities: [...reservedIdentities(), ...identities.rows().filter((row) => row.kind === 'workload')],
      endpoints: rows,
      cidrIdentity: (prefix) => {
        this.#cidrUsers.add(prefix);
        const id = allocator.use(`cidr:${prefix}`, 'cidr', cidrLabels(prefix, true));
        if (id === undefined) throw new Error(`no identity number is free for ${prefix}`);
        return id;
      },
    });
  }

  #dropCidr(prefix: string, allocator: IdentityAllocator): void {
    this.#cidrUsers.delete(prefix);
    allocator.drop(`cidr:${prefix}`);
  }
}
