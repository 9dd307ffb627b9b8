// Manifests -> the pods that shall run: Pods as they are, Deployments as their replicas. Pure; a manifest with an error gives
// its problems and no pod, and never harms another.
import { createHash } from 'node:crypto';
import { problemRow } from '../directory/problems.ts';
import type { ManifestRow, ProblemRow } from '../directory/tables.ts';
import { fail, type Path, type Problem, type Report } from '../policy/check.ts';
import type { PodContainer, RunAs } from './pods-container.ts';
import { weightOf } from '../service/words.ts';
import { expand, expandEnv } from './pods-expand.ts';
import { nodeOf, type Placement } from './placement.ts';
import { longHostname, namesOf } from './pods-names.ts';
import { probesOf } from './probe-spec.ts';
import { deployment, pod, type DeploymentSpec, type PodSpec, type PodTemplate } from './pods-spec.ts';
import type { ContainerSpec, NamedPort, PodRow } from './tables.ts';

export interface PodOptions {
  /** The agent was started with --allow-root: a workload may run as uid 0. */
  readonly allowRoot: boolean;
  /** Absent: there is one node, and every pod runs here. */
  readonly placement?: Placement;
}

/** The same replica beside itself: the name that its replacement has while both are there, and the other way round. */
export function otherReplica(pod: PodRow): PodRow {
  const { namespace, name, owner } = pod;
  const index = name.slice(name.lastIndexOf('-') + 1);
  const [first, second] = ['', '/'].map((mark) => `${owner!.name}-${stableSuffix(`${namespace}/${owner!.name}${mark}`)}-${index}`) as [string, string];
  const other = name === first ? second : first;
  return { ...pod, name: other, key: `${namespace}/${other}` };
}

export interface DerivedPods { readonly pods: PodRow[]; readonly problems: ProblemRow[] }

/** Whose problems these are; the key of each begins with it. */
export const writer = 'pods';

const defaultGraceSeconds = 30;
const maxNameLength = 253;

export function derivePods(manifests: readonly ManifestRow[], options: PodOptions): DerivedPods {
  const pods = new Map<string, PodRow>();
  const problems: ProblemRow[] = [];
  // Pods first: a name that was written by hand wins over one that was made up.
  for (const kind of ['Pod', 'Deployment'] as const) {
    for (const manifest of manifests) {
      if (manifest.kind !== kind) continue;
      const found: Problem[] = [];
      const report: Report = (problem) => { found.push(problem); };
      (kind === 'Pod' ? pod : deployment)(manifest.object, [], report);
      if (!hasError(found)) {
        checkUsers(manifest, options, report);
        checkNode(manifest, options, report);
        checkWeight(manifest, report);
      }
      for (const row of hasError(found) ? [] : podsOf(manifest, options.placement)) {
        const other = pods.get(row.key);
        const long = longHostname(row);
        if (other !== undefined) fail(report, ['metadata', 'name'], taken(other), 'choose another name');
        else if (row.name.length > maxNameLength) {
          fail(report, ['metadata', 'name'], `the pod name ${row.name} is longer than ${maxNameLength} characters`, 'choose another name');
        } else if (long !== undefined) fail(report, [...templatePath(manifest.kind), 'spec', 'setHostnameAsFQDN'], long, 'delete it, or give a shorter hostname');
        else pods.set(row.key, row);
      }
      problems.push(...found.map((problem) => rowOf(manifest, problem)));
    }
  }
  return { pods: [...pods.values()], problems };
}

const hasError = (problems: readonly Problem[]): boolean => problems.some(({ severity }) => severity === 'error');

function taken({ key, source }: PodRow): string {
  return `pod ${key} is already defined${source === undefined ? '' : ` in ${source.file}:${source.line}`}; that one stays`;
}

function rowOf(manifest: ManifestRow, { path, message, mend, severity }: Problem): ProblemRow {
  return problemRow(writer, severity, manifest.locate(path), path, `${manifest.kind} ${manifest.name}: ${message}`, mend);
}

const templatePath = (kind: string): Path => (kind === 'Pod' ? [] : ['spec', 'template']);
const specOf = ({ object }: ManifestRow): DeploymentSpec => object['spec'] as DeploymentSpec;
const templateOf = (manifest: ManifestRow): PodTemplate =>
  (manifest.kind === 'Pod' ? manifest.object as unknown as PodTemplate : specOf(manifest).template);

/** What a container runs as depends on two security contexts, and root on how the agent was started. */
function checkUsers(manifest: ManifestRow, { allowRoot }: PodOptions, report: Report): void {
  const { spec } = templateOf(manifest);
  const path = [...templatePath(manifest.kind), 'spec'];
  const refusedAt = new Set<string>();
  for (const [index, container] of spec.containers.entries()) {
    const own = [...path, 'containers', index, 'securityContext'];
    const isOwn = typeof container.securityContext?.runAsUser === 'number';
    const { runAsUser, runAsNonRoot } = runAs(spec, container);
    const at = [...(isOwn ? own : [...path, 'securityContext']), 'runAsUser'];
    if (runAsUser !== 0 || refusedAt.has(at.join('.'))) continue;
    refusedAt.add(at.join('.'));
    if (runAsNonRoot === true) fail(report, at, 'runAsUser is 0 where runAsNonRoot is true', 'delete one of them');
    else if (!allowRoot) fail(report, at, 'a workload may not run as root (runAsUser: 0)', 'delete runAsUser, or start with ./weir up --allow-root');
  }
}

/** A node that does not exist would leave the pod waiting without a word. */
function checkNode(manifest: ManifestRow, { placement }: PodOptions, report: Report): void {
  const { nodeName } = templateOf(manifest).spec;
  if (typeof nodeName !== 'string') return;
  const path = [...templatePath(manifest.kind), 'spec', 'nodeName'];
  if (placement === undefined) report({ path, message: 'nodeName changes nothing: there is one node', mend: 'start several with ./weir up DIR --nodes 2', severity: 'warning' });
  else if (!placement.nodes.includes(nodeName)) fail(report, path, `there is no node ${nodeName}`, `this cluster has ${placement.nodes.join(', ')}`);
}

const weightIn = (manifest: ManifestRow): ReturnType<typeof weightOf> => weightOf(templateOf(manifest).metadata?.annotations ?? {});

function checkWeight(manifest: ManifestRow, report: Report): void {
  const { problem } = weightIn(manifest);
  if (problem !== undefined) fail(report, [...templatePath(manifest.kind), 'metadata', 'annotations', problem.key], problem.message);
}

/** A container's own words win over those of its pod. */
const runAs = (spec: PodSpec, { securityContext: own }: PodContainer): RunAs => ({
  runAsUser: own?.runAsUser ?? spec.securityContext?.runAsUser,
  runAsNonRoot: own?.runAsNonRoot ?? spec.securityContext?.runAsNonRoot,
});

function podsOf(manifest: ManifestRow, placement: Placement | undefined): PodRow[] {
  const { name, namespace } = manifest;
  const own = templateOf(manifest).spec.nodeName;
  const isHere = (replica: number): boolean => placement === undefined || (own ?? nodeOf(namespace, name, replica, placement.nodes)) === placement.node;
  if (manifest.kind === 'Pod') return isHere(0) ? [podRow(manifest, name)] : [];
  const prefix = `${name}-${stableSuffix(`${namespace}/${name}`)}`;
  const owner = { kind: 'Deployment', name };
  const recreate = specOf(manifest).strategy?.type === 'Recreate' ? { recreate: true as const } : {};
  return Array.from({ length: specOf(manifest).replicas ?? 1 }, (_, index) => ({ ...podRow(manifest, `${prefix}-${index}`), owner, ...recreate }))
    .filter((_, index) => isHere(index));
}

/** Five characters as Kubernetes draws them (no vowels, no look-alikes), but the same at every start. */
function stableSuffix(text: string): string {
  const alphabet = 'bcdfghjklmnpqrstvwxz2456789';
  return [...createHash('sha256').update(text).digest().subarray(0, 5)].map((byte) => alphabet[byte % alphabet.length]!).join('');
}

function podRow(manifest: ManifestRow, name: string): PodRow {
  const { namespace, source } = manifest;
  const { metadata, spec } = templateOf(manifest);
  const { weight } = weightIn(manifest);
  return {
    key: `${namespace}/${name}`, namespace, name,
    labels: { ...metadata?.labels },
    serviceAccount: spec.serviceAccountName ?? spec.serviceAccount ?? 'default',
    containers: spec.containers.map((container) => containerSpec(spec, container)),
    restartPolicy: spec.restartPolicy ?? 'Always',
    terminationGracePeriodMs: (spec.terminationGracePeriodSeconds ?? defaultGraceSeconds) * 1000,
    namedPorts: spec.containers.flatMap(namedPorts),
    ...namesOf(spec), ...(weight === undefined ? {} : { weight }),
    source,
  };
}

function containerSpec(spec: PodSpec, container: PodContainer): ContainerSpec {
  const env = expandEnv(container.env ?? []);
  const { runAsUser } = runAs(spec, container);
  const probes = probesOf(container);
  return {
    name: container.name,
    command: [...container.command, ...(container.args ?? [])].map((word) => expand(word, env)),
    env: Object.fromEntries(env),
    workingDir: container.workingDir ?? '/',
    ...(typeof runAsUser === 'number' ? { runAsUser } : {}), ...(probes === undefined ? {} : { probes }),
  };
}

const namedPorts = ({ ports }: PodContainer): NamedPort[] => (ports ?? []).flatMap(({ name, containerPort, protocol }) =>
  (typeof name === 'string' ? [{ name, port: containerPort, protocol: protocol ?? 'TCP' }] : []));
