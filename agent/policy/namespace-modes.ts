// Manifests of Namespace -> the mode that its policies have unless they say their own. One that turns bad keeps its last good version.
import type { ManifestRow, ProblemRow } from '../directory/tables.ts';
import type { Table } from '../store/table.ts';
import type { Problem } from './check.ts';
import { checkMode, modeOf, type Mode } from './mode.ts';
import { clearProblems, reportProblems } from './problem-rows.ts';

interface Entry { readonly row: ManifestRow; readonly mode: Mode | undefined }

export class NamespaceModes {
  readonly #manifests: Table<ManifestRow>;
  readonly #problems: Table<ProblemRow>;
  readonly #entries = new Map<string, Entry>();

  constructor(manifests: Table<ManifestRow>, problems: Table<ProblemRow>) {
    this.#manifests = manifests;
    this.#problems = problems;
  }

  of(namespace: string): Mode { return this.#entries.get(namespace)?.mode ?? 'enforce'; }

  /** Reads what changed; the namespaces whose mode did. */
  follow(): ReadonlySet<string> {
    const rows = new Map(this.#manifests.by('kind', 'Namespace').map((row) => [row.name, row]));
    const changed = new Set<string>();
    for (const [name, { row, mode }] of [...this.#entries]) {
      if (rows.has(name)) continue;
      clearProblems(this.#problems, row);
      this.#entries.delete(name);
      if (mode !== undefined) changed.add(name);
    }
    for (const [name, row] of rows) {
      const old = this.#entries.get(name);
      if (old?.row === row) continue;
      const problems: Problem[] = [];
      checkMode(row.object, (problem) => { problems.push(problem); });
      clearProblems(this.#problems, row);
      reportProblems(this.#problems, row, problems);
      const mode = problems.length === 0 ? modeOf(row.object) : old?.mode;
      this.#entries.set(name, { row, mode });
      if (mode !== old?.mode) changed.add(name);
    }
    return changed;
  }
}
