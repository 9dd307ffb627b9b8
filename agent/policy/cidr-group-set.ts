// Manifests of CiliumCIDRGroup -> the groups that rules may name, each on its own: one that turns bad keeps its last good version.
import type { ManifestRow, ProblemRow } from '../directory/tables.ts';
import type { Table } from '../store/table.ts';
import { CIDR_GROUP, readCidrGroup, type CidrGroup } from './cidr-group.ts';
import { clearProblems, reportProblems } from './problem-rows.ts';
import { check } from './validate.ts';

interface Entry { readonly row: ManifestRow; readonly group: CidrGroup | undefined }

export class CidrGroupSet {
  readonly #manifests: Table<ManifestRow>;
  readonly #problems: Table<ProblemRow>;
  readonly #entries = new Map<string, Entry>();

  constructor(manifests: Table<ManifestRow>, problems: Table<ProblemRow>) {
    this.#manifests = manifests;
    this.#problems = problems;
  }

  groups(): CidrGroup[] { return [...this.#entries.values()].flatMap(({ group }) => group ?? []); }

  /** Reads what changed; true when a group did. */
  follow(): boolean {
    const rows = this.#manifests.by('kind', CIDR_GROUP);
    const keys = new Set(rows.map((row) => row.key));
    let changed = false;
    for (const [key, { row }] of [...this.#entries]) {
      if (keys.has(key)) continue;
      clearProblems(this.#problems, row);
      this.#entries.delete(key);
      changed = true;
    }
    for (const row of rows) {
      const old = this.#entries.get(row.key);
      if (old?.row === row) continue;
      const { valid, problems } = check(row.object);
      clearProblems(this.#problems, row);
      reportProblems(this.#problems, row, problems);
      this.#entries.set(row.key, { row, group: valid ? readCidrGroup(row.object) : old?.group });
      changed ||= valid;
    }
    return changed;
  }
}
