// How the reconcilers get on, for metrics: what each could not do (it tells a line and tries again), and what waits for it.

const reconcilers = ['conntrack', 'devices', 'dns', 'endpoints', 'envoy', 'policy', 'routes', 'rules', 'workloads'] as const;
export type Reconciler = typeof reconcilers[number];

export class Progress {
  readonly #log: (line: string) => void;
  readonly #errors = new Map<string, number>(reconcilers.map((name) => [name, 0]));
  readonly #queues = new Map<string, () => number>();

  constructor(log: (line: string) => void) { this.#log = log; }

  /** For a reconciler that tells nothing but failures. */
  log = (reconciler: Reconciler) => (line: string): void => {
    this.failed(reconciler);
    this.#log(line);
  };

  failed(reconciler: Reconciler): void { this.#errors.set(reconciler, this.#errors.get(reconciler)! + 1); }

  waits(queue: string, length: () => number): void { this.#queues.set(queue, length); }

  get errors(): Record<string, number> { return Object.fromEntries(this.#errors); }
  get queues(): Record<string, number> { return Object.fromEntries([...this.#queues].map(([name, length]) => [name, length()])); }
}
