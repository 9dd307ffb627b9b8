// Manifests -> pods: Pods and Deployments, each on its own; one that turns bad keeps its last good version running.
// Replicas of a Deployment are replaced one by one (rollout.ts).
// Pods made by hand (`weir workload run`) stand beside them.
import type { ManifestRow, ProblemRow } from '../directory/tables.ts';
import type { Table } from '../store/table.ts';
import { derivePods, type PodOptions } from './pods.ts';
import { rollOut, type Standing } from './rollout.ts';
import type { PodRow } from './tables.ts';

interface Entry { readonly row: ManifestRow; readonly pods: readonly PodRow[]; readonly problems: readonly ProblemRow[] }

const kinds = ['Pod', 'Deployment'];
const duplicateKey = 'pods-twice:';

/** A Pod may be called like a replica of a Deployment: the first stands. */
function withoutDuplicates(all: readonly PodRow[]): { rows: PodRow[]; duplicates: ProblemRow[] } {
  const rows = new Map<string, PodRow>();
  const duplicates: ProblemRow[] = [];
  for (const row of all) {
    const first = rows.get(row.key);
    if (first === undefined) rows.set(row.key, row);
    else if (row.source !== undefined) {
      duplicates.push({ key: `${duplicateKey}${row.key}`, severity: 'error', source: row.source, field: 'metadata.name',
        message: `there is a pod ${row.key} already, from ${first.source?.file}:${first.source?.line}`, mend: 'give one of them another name' });
    }
  }
  return { rows: [...rows.values()], duplicates };
}

export function reflectPods(manifests: Table<ManifestRow>, pods: Table<PodRow>, problems: Table<ProblemRow>, options: PodOptions, standing: Standing): () => void {
  const entries = new Map<string, Entry>();
  const synced = pods.expect('manifests');
  let all: readonly PodRow[] = [];
  const roll = (): void => { pods.replace(rollOut(all, (key) => pods.get(key), standing), (row) => row.source !== undefined); };
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
    const { rows: wanted, duplicates } = withoutDuplicates([...entries.values()].flatMap((entry) => entry.pods));
    problems.write(fresh, stale.filter((key) => !fresh.some((problem) => problem.key === key)));
    problems.replace(duplicates, (problem) => problem.key.startsWith(duplicateKey));
    all = wanted;
    roll();
    if (manifests.synced) synced();
  };
  let waiting: NodeJS.Immediate | undefined;
  const later = (): void => {
    waiting ??= setImmediate(() => {
      waiting = undefined;
      if (manifests.synced) roll();
    });
  };
  const stops = [manifests.subscribe(follow), standing.subscribe(later), () => { clearImmediate(waiting); }];
  follow();
  return () => { for (const stop of stops) stop(); };
}
