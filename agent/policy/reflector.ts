// Manifests of policy kinds -> rules, each on its own: a policy that is refused keeps its last good version in force and
// never harms another. The rows of the policies table say what became of each.
import type { ManifestRow, ProblemRow, Source } from '../directory/tables.ts';
import type { EndpointRow } from '../endpoint/tables.ts';
import type { Table } from '../store/table.ts';
import { check } from './validate.ts';
import type { RuleGroup } from './rule.ts';
import { readRules } from './rules.ts';
import { labelSet, matches } from './selector.ts';
import type { PolicyRow } from './tables.ts';

export const policyKinds: readonly string[] = ['CiliumNetworkPolicy', 'CiliumClusterwideNetworkPolicy', 'NetworkPolicy'];

interface Entry {
  row: ManifestRow;
  /** In force; absent: nothing of it is. */
  groups: readonly RuleGroup[] | undefined;
  refused: string | undefined;
  /** What was in force before the last change that the kernel has not taken yet. */
  previous: readonly RuleGroup[] | undefined;
  pending: boolean;
  since: string;
}

export class PolicySet {
  readonly #manifests: Table<ManifestRow>;
  readonly #policies: Table<PolicyRow>;
  readonly #problems: Table<ProblemRow>;
  readonly #entries = new Map<string, Entry>();
  readonly #listeners = new Set<() => void>();
  readonly #now: () => Date;
  #wasSynced: boolean;

  constructor(manifests: Table<ManifestRow>, policies: Table<PolicyRow>, problems: Table<ProblemRow>, now: () => Date = () => new Date()) {
    this.#manifests = manifests;
    this.#policies = policies;
    this.#problems = problems;
    this.#now = now;
    this.#wasSynced = manifests.synced;
    manifests.subscribe(() => { this.#follow(); });
    this.#follow();
  }

  get synced(): boolean { return this.#manifests.synced; }

  subscribe(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => { this.#listeners.delete(listener); };
  }

  groups(): RuleGroup[] { return [...this.#entries.values()].flatMap((entry) => entry.groups ?? []); }

  /** The kernel enforces what `groups` gave. */
  accept(endpoints: readonly EndpointRow[]): void {
    const labels = endpoints.map((row) => labelSet(row.labels));
    for (const entry of this.#entries.values()) entry.pending = false;
    this.#policies.replace([...this.#entries].map(([key, entry]) => {
      const groups = entry.groups ?? [];
      return {
        key, kind: entry.row.kind, namespace: entry.row.namespace, name: entry.row.name,
        state: entry.refused === undefined ? 'enforced' as const : 'refused' as const,
        ...(entry.refused === undefined ? {} : { message: entry.groups === undefined ? entry.refused : `${entry.refused}; the version before it is still in force` }),
        endpoints: labels.filter((set) => groups.some((group) => matches(group.subject, set))).length,
        rules: groups.reduce((sum, group) => sum + group.rules.length, 0),
        since: entry.since, source: entry.row.source,
      };
    }));
  }

  /** The kernel has no room for the latest changes: they are refused, the versions before them stay. False: there are none. */
  refuseLatest(message: string, mend?: string): boolean {
    const latest = [...this.#entries.values()].filter((entry) => entry.pending);
    for (const entry of latest) {
      entry.groups = entry.previous;
      entry.refused = message;
      entry.pending = false;
      this.#report(entry, [{ path: [], message, ...(mend === undefined ? {} : { mend }) }]);
    }
    return latest.length > 0;
  }

  #follow(): void {
    const rows = policyKinds.flatMap((kind) => this.#manifests.by('kind', kind));
    const keys = new Set(rows.map((row) => row.key));
    let changed = this.#wasSynced !== this.synced;
    this.#wasSynced = this.synced;
    for (const key of [...this.#entries.keys()]) {
      if (keys.has(key)) continue;
      this.#clear(this.#entries.get(key)!.row);
      this.#entries.delete(key);
      changed = true;
    }
    for (const row of rows) {
      const old = this.#entries.get(row.key);
      if (old?.row === row) continue;
      this.#entries.set(row.key, this.#read(row, old));
      changed = true;
    }
    if (changed) for (const listener of [...this.#listeners]) listener();
  }

  #read(row: ManifestRow, old: Entry | undefined): Entry {
    const result = check(row.object);
    const errors = result.problems.filter((problem) => problem.severity === 'error');
    this.#clear(row);
    const since = this.#now().toISOString();
    const previous = old?.groups;
    const entry: Entry = { row, groups: previous, refused: undefined, previous, pending: true, since };
    this.#report(entry, result.problems);
    const stop = errors[0] ?? result.unsupported[0];
    if (stop !== undefined) {
      entry.refused = `${fieldText(stop.path)}: ${stop.message}`;
      if (errors.length === 0) this.#report(entry, result.unsupported);
      return entry;
    }
    entry.groups = readRules(row.object);
    return entry;
  }

  #report(entry: Entry, problems: readonly { path: readonly (string | number)[]; message: string; mend?: string; severity?: 'error' | 'warning' }[]): void {
    this.#problems.write(problems.map((problem): ProblemRow => {
      const source: Source = entry.row.locate(problem.path);
      const field = fieldText(problem.path);
      return {
        key: `${entry.row.key} ${field} ${problem.message}`, severity: problem.severity ?? 'error', source, field,
        message: `${entry.row.kind} ${entry.row.name}: ${problem.message}`, ...(problem.mend === undefined ? {} : { mend: problem.mend }),
      };
    }));
  }

  #clear(row: ManifestRow): void {
    this.#problems.write([], this.#problems.rows().filter((problem) => problem.key.startsWith(`${row.key} `)).map((problem) => problem.key));
  }
}

/** `spec.ingress[0].toPorts` */
export const fieldText = (path: readonly (string | number)[]): string =>
  path.map((part, index) => (typeof part === 'number' ? `[${part}]` : index === 0 ? part : `.${part}`)).join('');
