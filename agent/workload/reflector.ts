// Manifests -> pods: Pods and Deployments, each on its own; one that turns bad keeps its last good version running.
// Pods made by hand (`weir workload run`) stand beside them.
import type { ManifestRow, ProblemRow } from '../directory/tables.ts';
import type { Table } from '../store/table.ts';
import { derivePods } from './pods.ts';
import type { PodRow } from './tables.ts';

interface Entry { readonly row: ManifestRow; readonly pods: readonly PodRow[]; readonly problems: readonly ProblemRow[] }

const kinds = ['Pod', 'Deployment'];

export function reflectPods(manifests: Table<ManifestRow>, pods: Table<PodRow>, problems: Table<ProblemRow>, options: { readonly allowRoot: boolean }): () => void {
  const entries = new Map<string, Entry>();
  const synced = pods.expect('manifests');
  const follow = (): void => {
    const rows = kinds.flatMap((kind) => manifests.by('kind', kind));
    const keys = new Set(rows.map((row) => row.key));
    const stale: string[] = [];
    for (const [key, entry] of entries) {
      if (keys.has(key)) continue;
      stale.push(...entry.problems.map((problem) => problem.key));
      entries.delete(key);
    }
    const fresh: ProblemRow[] = [];
    for (const row of rows) {
      const old = entries.get(row.key);
      if (old?.row === row) continue;
      const derived = derivePods([row], options);
      const bad = derived.problems.some((problem) => problem.severity === 'error');
      entries.set(row.key, { row, pods: bad && old !== undefined ? old.pods : derived.pods, problems: derived.problems });
      stale.push(...(old?.problems ?? []).map((problem) => problem.key));
      fresh.push(...derived.problems);
    }
    problems.write(fresh, stale.filter((key) => !fresh.some((problem) => problem.key === key)));
    pods.replace([...entries.values()].flatMap((entry) => entry.pods), (row) => row.source !== undefined);
    if (manifests.synced) synced();
  };
  const stop = manifests.subscribe(follow);
  follow();
  return stop;
}
