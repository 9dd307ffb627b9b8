// Policy files for `weir policy validate`: each object checked on its own, then all of them together with the workloads beside them.
import { formatPath } from './check.ts';
import { readClusterFiles, type ClusterFiles } from './cluster-files.ts';
import type { PolicyRef, RuleRef } from './image.ts';
import { lint } from './lint.ts';
import type { Finding } from './manifests.ts';
import { makeWorld } from './offline.ts';

export interface Lint {
  readonly policies: number;
  /** By file and position. */
  readonly findings: readonly Finding[];
}

export function lintPolicies(paths: readonly string[]): Lint {
  const files = readClusterFiles(paths);
  const { locate, manifestOf } = files;
  const objectOf = (policy: PolicyRef): Readonly<Record<string, unknown>> => manifestOf(policy)!.object;
  const warnings = lint(makeWorld(files.cluster), { objectOf, at: (ref) => placeOf(files, ref) })
    .map(({ policy, path, ...warning }): Finding => ({ severity: 'warning', ...locate(policy, path)!, field: formatPath(path), ...warning }));
  return { policies: files.policies, findings: [...files.findings, ...warnings].sort(byPlace) };
}

/** ` (FILE:LINE)`, or nothing for a rule that no file has. */
function placeOf({ locate }: ClusterFiles, ref: RuleRef): string {
  const source = locate(ref);
  return source === undefined ? '' : ` (${source.file}:${source.line})`;
}

const byPlace = (a: Finding, b: Finding): number => (a.file < b.file ? -1 : a.file > b.file ? 1 : a.line - b.line || a.column - b.column);
