// A cluster as its manifests say it: workloads, namespaces, Services, policies that would be in force; for the verbs that judge offline.
import { policyRef } from './rules.ts';
import { CIDR_GROUP, absentGroups, readCidrGroup } from './cidr-group.ts';
import { formatPath, parsePath, type Path, type Place, type Problem } from './check.ts';
import { ignored } from './ignored.ts';
import { readManifestFiles, type Finding, type Manifest } from './manifests.ts';
import { checkMode, modeOf } from './mode.ts';
import type { PolicyCase } from './offline.ts';
import type { PolicyRef, RuleRef } from './image.ts';
import { readServices, type FileService } from './service-files.ts';
import { check, isPolicyKind, isPolicyPart } from './validate.ts';
import { isWorkloadKind, workloadOf, type Workload } from './workloads.ts';

export interface ClusterFiles {
  readonly cluster: Omit<PolicyCase, 'id' | 'flows'>;
  readonly workloads: readonly Workload[];
  readonly services: readonly FileService[];
  readonly findings: readonly Finding[];
  /** Objects of the policy kinds that were read, valid or not. */
  readonly policies: number;
  /** The policy's own position, that of one of its rules or of a field. */
  readonly locate: (ref: PolicyRef | Pick<RuleRef, 'policy' | 'path'>, path?: Path) => Place | undefined;
  readonly manifestOf: (ref: PolicyRef) => Manifest | undefined;
}

const keyOf = ({ kind, namespace, name }: PolicyRef): string => `${kind}/${namespace}/${name}`;

export function readClusterFiles(paths: readonly string[]): ClusterFiles {
  const { manifests, findings: unread } = readManifestFiles(paths);
  const findings = [...unread];
  const objects = new Map<string, Manifest>();
  const valid: Manifest[] = [];
  for (const manifest of manifests.filter(({ kind }) => kind === 'Namespace')) checkMode(manifest.object, (problem) => { report(manifest, [problem], findings); });
  for (const manifest of manifests) {
    if (!isPolicyKind(manifest.kind) && !isPolicyPart(manifest.kind)) continue;
    const sound = checkManifest(manifest, findings);
    const key = keyOf(policyRef(manifest.object));
    const first = objects.get(key);
    if (first === undefined) objects.set(key, manifest);
    else {
      const { file, line } = first.locate(['metadata', 'name']);
      findings.push({ severity: 'error', ...manifest.locate(['metadata', 'name']), field: 'metadata.name', message: `${key} is also in ${file}:${line}` });
    }
    if (sound && first === undefined) valid.push(manifest);
  }
  const objectsOf = (part: boolean): Manifest[] => valid.filter(({ kind }) => isPolicyPart(kind) === part);
  const workloads = [...new Map(manifests.filter(({ kind }) => isWorkloadKind(kind)).map(workloadOf).map((one) => [`${one.namespace}/${one.name}`, one])).values()];
  const cidrGroups = objectsOf(true).map(({ object }) => object);
  const services = readServices(manifests, (manifest, problems) => { report(manifest, problems, findings); });
  for (const policy of objectsOf(false)) report(policy, absentGroups(policy.object, cidrGroups.map(readCidrGroup)), findings);
  return {
    cluster: { ipv6: true, namespaces: namespacesOf(manifests, workloads), endpoints: workloads, policies: objectsOf(false).map(({ object }) => object), cidrGroups, services },
    workloads, services, findings, policies: [...objects.values()].filter(({ kind }) => kind !== CIDR_GROUP).length,
    manifestOf: (ref) => objects.get(keyOf(ref)),
    locate: (ref, path) => {
      const [policy, at] = 'policy' in ref ? [ref.policy, parsePath(ref.path)] : [ref, []];
      return objects.get(keyOf(policy))?.locate(path ?? at);
    },
  };
}

/** True for what the agent would put in force. */
function checkManifest(manifest: Manifest, findings: Finding[]): boolean {
  const { valid, problems, unsupported } = check(manifest.object);
  report(manifest, [...problems, ...unsupported.map((one): Problem => ({ ...one, severity: 'warning', name: 'not-enforced' }))], findings);
  return valid && unsupported.length === 0;
}

function report({ object, locate }: Manifest, problems: readonly Problem[], findings: Finding[]): void {
  const meant = ignored(object);
  for (const { path, ...problem } of problems) {
    if (problem.name === undefined || !meant.has(problem.name)) findings.push({ ...problem, ...locate(path), field: formatPath(path) });
  }
}

/** Every namespace has the label of its name, as the API server gives it. */
function namespacesOf(manifests: readonly Manifest[], workloads: readonly Workload[]): PolicyCase['namespaces'] {
  const own = new Map<string, PolicyCase['namespaces'][string]>(workloads.map(({ namespace }) => [namespace, {}]));
  for (const { kind, object } of manifests) {
    const metadata = object['metadata'] as { name?: unknown; labels?: Record<string, string> | null } | undefined;
    if (kind === 'Namespace' && typeof metadata?.name === 'string') own.set(metadata.name, { labels: { ...metadata.labels }, mode: modeOf(object) });
  }
  return Object.fromEntries([...own].map(([name, { labels, mode }]) => [name, { labels: { 'kubernetes.io/metadata.name': name, ...labels }, ...(mode === undefined ? {} : { mode }) }]));
}
