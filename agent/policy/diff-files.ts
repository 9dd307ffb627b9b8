// Two sets of manifests -> two worlds with the same workloads. What only one set has is judged by the other's policies too.
import { notEnforced, worldOfFiles } from './ask-files.ts';
import { readClusterFiles, type ClusterFiles } from './cluster-files.ts';
import { diffWorlds, type Change } from './diff.ts';

export interface FileDiff { readonly changes: readonly Change[]; readonly workloads: number; readonly notices: readonly string[] }

/** `beside`: manifests that belong to both sets. */
export function diffFiles(old: readonly string[], now: readonly string[], beside: readonly string[]): FileDiff {
  const [before, after] = [old, now].map((paths) => readClusterFiles([...paths, ...beside])) as [ClusterFiles, ClusterFiles];
  const changes = diffWorlds({ old: worldOfFiles(completed(before, after)), new: worldOfFiles(completed(after, before)) });
  const names = new Set([...before.workloads, ...after.workloads].map(({ namespace, name }) => `${namespace}/${name}`));
  return { changes, workloads: names.size, notices: [...new Set([...notEnforced(before), ...notEnforced(after)])] };
}

function completed(files: ClusterFiles, other: ClusterFiles): ClusterFiles {
  const own = new Set(files.workloads.map(({ namespace, name }) => `${namespace}/${name}`));
  const workloads = [...files.workloads, ...other.workloads.filter(({ namespace, name }) => !own.has(`${namespace}/${name}`))];
  return { ...files, workloads, cluster: { ...files.cluster, endpoints: workloads, namespaces: { ...other.cluster.namespaces, ...files.cluster.namespaces } } };
}
