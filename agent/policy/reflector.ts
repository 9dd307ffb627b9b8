// Manifests of policy kinds -> rules, each on its own: a policy that is refused keeps its last good version in force and
// never harms another. A policy that names CIDR groups is read again when one of them changes. The rows of the policies table say what became of each.
import { isDeepStrictEqual } from 'node:util';
import type { ManifestRow, ProblemRow } from '../directory/tables.ts';
import type { EndpointRow } from '../endpoint/tables.ts';
import type { Table } from '../store/table.ts';
import { formatPath } from './check.ts';
import { absentGroups, namesGroups } from './cidr-group.ts';
import { CidrGroupSet } from './cidr-group-set.ts';
import { modeOf, type Mode } from './mode.ts';
import { NamespaceModes } from './namespace-modes.ts';
import { clearProblems, reportProblems } from './problem-rows.ts';
import type { RuleGroup } from './rule.ts';
import { readRules } from './rules.ts';
import { noServices, type PolicyServices } from './services.ts';
import { SelectedCounts } from './selected-counts.ts';
import type { PolicyRow } from './tables.ts';
import { namesServices } from './to-services.ts';
import { check } from './validate.ts';

export const policyKinds: readonly string[] = ['CiliumNetworkPolicy', 'CiliumClusterwideNetworkPolicy', 'NetworkPolicy'];

const stateOf = { enforce: 'enforced', audit: 'audited', off: 'off' } as const;

/** Whose mode is a policy's default: a clusterwide one has none. */
const namespaceOf = ({ kind, namespace }: ManifestRow): string => (kind === 'CiliumClusterwideNetworkPolicy' ? '' : namespace);

const nothing: readonly RuleGroup[] = [];

const unservedText = (message: string): string => `connections that its L7 rules are about are refused: ${message}`;

interface Entry {
  row: ManifestRow;
  /** In force; absent: nothing of it is. */
  groups: readonly RuleGroup[] | undefined;
  /** Of what is in force. */
  mode: Mode;
  refused: string | undefined;
  /** What was in force before the last change that the kernel has not taken yet. */
  previous: Pick<Entry, 'groups' | 'mode'> | undefined;
  pending: boolean;
  since: string;
  /** In force, but connections that its L7 rules are about are refused. */
  unserved: readonly string[];
}

export class PolicySet {
  readonly #manifests: Table<ManifestRow>;
  readonly #policies: Table<PolicyRow>;
  readonly #problems: Table<ProblemRow>;
  readonly #cidrGroups: CidrGroupSet;
  readonly #modes: NamespaceModes;
  readonly #entries = new Map<string, Entry>();
  readonly #listeners = new Set<() => void>();
  readonly #selected = new SelectedCounts();
  readonly #services: PolicyServices;
  readonly #now: () => Date;
  #wasSynced: boolean;

  constructor(manifests: Table<ManifestRow>, policies: Table<PolicyRow>, problems: Table<ProblemRow>, now: () => Date = () => new Date(), services: PolicyServices = noServices) {
    this.#manifests = manifests;
    this.#policies = policies;
    this.#problems = problems;
    this.#cidrGroups = new CidrGroupSet(manifests, problems);
    this.#modes = new NamespaceModes(manifests, problems);
    this.#now = now;
    this.#wasSynced = manifests.synced;
    this.#services = services;
    manifests.subscribe(() => { this.#follow(); });
    services.subscribe(() => { this.#followServices(); });
    this.#follow();
  }

  get synced(): boolean { return this.#manifests.synced; }

  subscribe(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => { this.#listeners.delete(listener); };
  }

  groups(): RuleGroup[] { return [...this.#entries.values()].flatMap((entry) => entry.groups ?? []); }

  /** Of `Kind/namespace/name`: since when it is audited as it is; undefined: it is not. */
  auditedSince(key: string): string | undefined {
    const entry = this.#entries.get(key);
    return entry?.mode === 'audit' && entry.groups !== undefined ? entry.since : undefined;
  }

  /** The kernel enforces what `groups` gave. */
  accept(endpoints: readonly EndpointRow[]): void {
    const selected = this.#selected.update([...this.#entries].map(([key, entry]) => [key, entry.groups ?? nothing] as const), endpoints);
    for (const entry of this.#entries.values()) entry.pending = false;
    this.#policies.replace([...this.#entries].map(([key, entry]) => {
      const groups = entry.groups ?? nothing;
      return {
        key, kind: entry.row.kind, namespace: entry.row.namespace, name: entry.row.name,
        state: entry.refused === undefined ? stateOf[entry.mode] : 'refused' as const,
        ...messageFor(entry),
        endpoints: selected.get(key)!,
        rules: groups.reduce((sum, group) => sum + group.rules.length, 0),
        since: entry.since, source: entry.row.source,
      };
    }));
  }

  /** Before `accept`. By `Kind/namespace/name`: why its L7 rules are not served; of all others they are. */
  unserved(problems: ReadonlyMap<string, readonly string[]>): void {
    for (const [key, entry] of this.#entries) {
      const messages = problems.get(key) ?? [];
      if (isDeepStrictEqual(messages, entry.unserved)) continue;
      clearProblems(this.#problems, entry.row, unservedText(''));
      entry.unserved = messages;
      reportProblems(this.#problems, entry.row, messages.map((message) => ({ path: [], message: unservedText(message) })));
    }
  }

  /** The kernel has no room for the latest changes: they are refused, the versions before them stay. False: there are none. */
  refuseLatest(message: string, mend?: string): boolean {
    const latest = [...this.#entries.values()].filter((entry) => entry.pending);
    for (const entry of latest) {
      entry.groups = entry.previous?.groups;
      entry.mode = entry.previous?.mode ?? entry.mode;
      entry.refused = message;
      entry.pending = false;
      reportProblems(this.#problems, entry.row, [{ path: [], message, ...(mend === undefined ? {} : { mend }) }]);
    }
    return latest.length > 0;
  }

  #follow(): void {
    const rows = policyKinds.flatMap((kind) => this.#manifests.by('kind', kind));
    const keys = new Set(rows.map((row) => row.key));
    const regrouped = this.#cidrGroups.follow();
    const turned = this.#modes.follow();
    let changed = this.#wasSynced !== this.synced;
    this.#wasSynced = this.synced;
    for (const key of [...this.#entries.keys()]) {
      if (keys.has(key)) continue;
      clearProblems(this.#problems, this.#entries.get(key)!.row);
      this.#entries.delete(key);
      changed = true;
    }
    for (const row of rows) {
      const old = this.#entries.get(row.key);
      if (old?.row === row && !(regrouped && namesGroups(row.object)) && !turned.has(namespaceOf(row))) continue;
      this.#entries.set(row.key, this.#read(row, old));
      changed = true;
    }
    if (changed) for (const listener of [...this.#listeners]) listener();
  }

  /** Whose backends a policy names may have changed. */
  #followServices(): void {
    const naming = [...this.#entries].filter(([, { row, refused }]) => refused === undefined && namesServices(row.object));
    if (naming.length === 0) return;
    const services = this.#services.list();
    const changed = naming.filter(([, { row, groups, mode }]) => !isDeepStrictEqual(readRules(row.object, this.#cidrGroups.groups(), mode, services), groups));
    for (const [key, entry] of changed) this.#entries.set(key, this.#read(entry.row, entry));
    if (changed.length > 0) for (const listener of [...this.#listeners]) listener();
  }

  #read(row: ManifestRow, old: Entry | undefined): Entry {
    const result = check(row.object);
    const errors = result.problems.filter((problem) => problem.severity === 'error');
    clearProblems(this.#problems, row);
    const since = this.#now().toISOString();
    const mode = modeOf(row.object) ?? this.#modes.of(namespaceOf(row));
    const entry: Entry = { row, groups: old?.groups, mode: old?.mode ?? mode, refused: undefined, previous: old && { groups: old.groups, mode: old.mode }, pending: true, since, unserved: [] };
    const groups = this.#cidrGroups.groups();
    reportProblems(this.#problems, row, [...result.problems, ...(result.valid ? absentGroups(row.object, groups) : [])]);
    const stop = errors[0] ?? result.unsupported[0];
    if (stop !== undefined) {
      entry.refused = `${formatPath(stop.path)}: ${stop.message}`;
      if (errors.length === 0) reportProblems(this.#problems, row, result.unsupported);
      return entry;
    }
    entry.groups = readRules(row.object, groups, mode, namesServices(row.object) ? this.#services.list() : []);
    entry.mode = mode;
    return entry;
  }
}

function messageFor({ refused, groups, unserved }: Entry): { message?: string } {
  if (refused !== undefined) return { message: groups === undefined ? refused : `${refused}; the version before it is still in force` };
  return unserved.length === 0 ? {} : { message: unservedText(unserved.join('; ')) };
}
