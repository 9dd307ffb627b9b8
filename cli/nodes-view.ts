// What the agents of all nodes show, in tables of this process, for the screen: rows are asked for, flows come by themselves.
import { callAgent } from '../agent/api/client.ts';
import { problemTable, type ProblemRow } from '../agent/directory/tables.ts';
import { ConfigError } from '../agent/errors.ts';
import type { Instance } from '../agent/instance.ts';
import { policyTable, type PolicyRow } from '../agent/policy/tables.ts';
import { workloadTable, type WorkloadRow } from '../agent/workload/tables.ts';
import type { Tell } from '../hubble/fold.ts';
import type { Flow } from '../hubble/types.ts';
import { observation_point } from '../bpf/types.gen.ts';
import { serverOfInstance } from './connection.ts';
import { HubbleClient } from './hubble-client.ts';
import type { Followed } from './screen.ts';

const askMs = 1_000;
const againMs = 1_000;

/** A flow to a workload of another node is that node's to tell: it has the last word. */
const isLastWord = (flow: Flow): boolean =>
  !(flow.destination?.pod_name && (flow.trace_observation_point === observation_point.TO_NETWORK || flow.trace_observation_point === observation_point.TO_OVERLAY));

export class NodesView implements Followed {
  readonly tables = { problems: problemTable(), workloads: workloadTable(), policies: policyTable() };
  readonly #listeners = new Set<Tell>();
  readonly #instances: readonly Instance[];
  readonly observer = {
    /** Every flow comes on its own here. */
    stats: { untold: 0 },
    subscribe: (listener: Tell): (() => void) => {
      this.#listeners.add(listener);
      return () => { this.#listeners.delete(listener); };
    },
  };
  #stopped = false;
  #timers = new Set<NodeJS.Timeout>();

  constructor(instances: readonly Instance[]) { this.#instances = instances; }

  async start(): Promise<void> {
    await Promise.all(this.#instances.map(async (instance) => this.#ask(instance)));
    for (const instance of this.#instances) void this.#follow(instance);
  }

  stop(): void {
    this.#stopped = true;
    for (const timer of this.#timers) clearTimeout(timer);
  }

  #later(work: () => Promise<void>, afterMs: number): void {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      if (!this.#stopped) void work();
    }, afterMs);
    this.#timers.add(timer);
  }

  /** An agent that does not answer keeps its rows: its kernel goes on. */
  async #ask(instance: Instance): Promise<void> {
    try {
      const [problems, workloads, policies] = await Promise.all(['problems', 'workloads', 'policies'].map(async (table) => callAgent<object[]>(instance, 'db show', { table })));
      this.#write(instance.name, problems as ProblemRow[], workloads as WorkloadRow[], policies as PolicyRow[]);
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
    }
    this.#later(async () => this.#ask(instance), askMs);
  }

  readonly #owner = new Map<string, string>();

  #write(owner: string, problems: readonly ProblemRow[], workloads: readonly WorkloadRow[], policies: readonly PolicyRow[]): void {
    const owned = new Set(workloads.map(({ key }) => key));
    this.tables.workloads.write(workloads, [...this.#owner].filter(([key, one]) => one === owner && !owned.has(key)).map(([key]) => key));
    for (const [key, one] of this.#owner) if (one === owner && !owned.has(key)) this.#owner.delete(key);
    for (const key of owned) this.#owner.set(key, owner);
    // All read the same files.
    if (owner !== this.#instances[0]!.name) return;
    this.tables.problems.replace(problems);
    this.tables.policies.replace(policies);
  }

  async #follow(instance: Instance): Promise<void> {
    try {
      const client = new HubbleClient(serverOfInstance(instance.name));
      await client.getFlows({ follow: true, number: 0 }, ({ flow }) => { if (flow && !this.#stopped && isLastWord(flow)) for (const listener of this.#listeners) listener(flow, 1); });
      client.close();
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
    }
    this.#later(async () => this.#follow(instance), againMs);
  }
}
