// For the tests: an instance of its own with real shims, tables to write pods to, and ways to wait and to look.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { instanceOf } from '../instance.ts';
import type { Instance } from '../instance.ts';
import { cgroupRoot } from '../node/check.ts';
import type { Table } from '../store/table.ts';
import { buildShim, shimPath } from './build.ts';
import { writeInPlace } from './hosts.ts';
import { WorkloadReconciler } from './reconciler.ts';
import { podTable, workloadTable } from './tables.ts';
import type { ContainerSpec, PodRow, WorkloadRow } from './tables.ts';

const waitMs = 15_000;
const pollMs = 10;

export const container = (command: readonly string[], more: Partial<ContainerSpec> = {}): ContainerSpec =>
  ({ name: 'main', command, env: {}, workingDir: '/', ...more });

export const pod = (name: string, containers: readonly ContainerSpec[], more: Partial<PodRow> = {}): PodRow => ({
  key: `test/${name}`, namespace: 'test', name, labels: {}, serviceAccount: 'default', containers, restartPolicy: 'Never',
  terminationGracePeriodMs: 1_000, namedPorts: [], ...more,
});

export const shell = (script: string): readonly string[] => ['sh', '-c', script];

export class Fixture {
  readonly instance: Instance;
  readonly cgroupFolder: string;
  readonly pods: Table<PodRow> = podTable();
  readonly lines: string[] = [];
  /** Where probes go: there are no endpoints here. */
  readonly addresses = new Map<string, string>();
  workloads: Table<WorkloadRow> = workloadTable();
  reconciler: WorkloadReconciler;

  constructor(name: string) {
    buildShim();
    this.instance = instanceOf(`test-${name}-${process.pid}`);
    this.cgroupFolder = join(cgroupRoot()!, `weir-test-${name}-${process.pid}`);
    mkdirSync(this.instance.stateDir, { recursive: true, mode: 0o700 });
    this.reconciler = this.#reconciler();
  }

  /** As a new agent would: new tables, the same folders. */
  restartAgent(): void {
    this.reconciler.close();
    this.workloads = workloadTable();
    this.reconciler = this.#reconciler();
  }

  #reconciler(): WorkloadReconciler {
    const { instance, cgroupFolder, pods, workloads } = this;
    return new WorkloadReconciler({
      instance, pods, workloads, cgroupFolder, addresses: (key) => [this.addresses.get(key) ?? []].flat(), log: (line) => { this.lines.push(line); },
      resolvFile: ({ namespace }) => {
        const path = join(instance.stateDir, `resolv-${namespace}`);
        writeInPlace(path, `search ${namespace}.svc.cluster.local\n`);
        return path;
      },
    });
  }

  async until(key: string, what: string, holds: (row: WorkloadRow | undefined) => boolean): Promise<WorkloadRow> {
    for (const deadline = performance.now() + waitMs; !holds(this.workloads.get(key)); await sleep(pollMs)) {
      if (performance.now() > deadline) throw new Error(`${key} was never ${what}: ${JSON.stringify(this.workloads.get(key))} ${this.lines.join('; ')}`);
    }
    return this.workloads.get(key)!;
  }

  phase(key: string, phase: string): Promise<WorkloadRow> { return this.until(key, phase, (row) => row?.phase === phase); }

  /** Waits for its namespaces, then lets it run. */
  async run(row: PodRow): Promise<WorkloadRow> {
    this.pods.write([row]);
    const made = await this.until(row.key, 'made', (one) => (one?.shimPid ?? 0) > 0 && one?.phase === 'Pending');
    this.reconciler.release(row.key);
    return made;
  }

  folder(row: WorkloadRow): string { return join(this.instance.stateDir, 'pods', row.uid); }

  exec(row: WorkloadRow, command: readonly string[], name = 'main'): { status: number | null; out: string } {
    const { status, stdout, stderr } = spawnSync(shimPath, ['exec', this.folder(row), name, '--', ...command], { encoding: 'utf8' });
    return { status, out: `${stdout}${stderr}`.trim() };
  }

  /** Every process in a cgroup of this instance. */
  processes(): string[] {
    if (!existsSync(this.cgroupFolder)) return [];
    return readdirSync(this.cgroupFolder, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('/cgroup.procs'))
      .flatMap((file) => readFileSync(join(this.cgroupFolder, file), 'utf8').split('\n').filter((line) => line !== ''));
  }

  /** Folders of pods and cgroups of pods that exist. */
  leftovers(): string[] {
    const cgroups = existsSync(this.cgroupFolder) ? readdirSync(this.cgroupFolder, { withFileTypes: true }).filter((entry) => entry.isDirectory()) : [];
    return [...readdirSync(join(this.instance.stateDir, 'pods')), ...cgroups.map((entry) => entry.name)];
  }

  async close(): Promise<void> {
    await this.reconciler.stopAll(0);
    this.reconciler.close();
    if (existsSync(this.cgroupFolder)) rmdirSync(this.cgroupFolder);
    rmSync(this.instance.stateDir, { recursive: true, force: true });
  }
}
