// Manifests of any controller -> the workloads that policies select, one for each pod template: their replicas are alike.
// Only what identity and named ports need is read, so that manifests that weir cannot run can be judged too.
import { isObject, type Path } from './check.ts';
import type { Manifest } from './manifests.ts';
import type { CasePod } from './offline.ts';

/** Where the pod template of a kind stands. */
const TEMPLATES: Readonly<Record<string, Path>> = {
  Pod: [], Deployment: ['spec', 'template'], StatefulSet: ['spec', 'template'], DaemonSet: ['spec', 'template'], ReplicaSet: ['spec', 'template'],
  ReplicationController: ['spec', 'template'], Job: ['spec', 'template'], CronJob: ['spec', 'jobTemplate', 'spec', 'template'],
};

export interface Workload extends CasePod { readonly kind: string; readonly manifest: Manifest }

export const isWorkloadKind = (kind: string): boolean => Object.hasOwn(TEMPLATES, kind);

export function workloadOf(manifest: Manifest): Workload {
  const { kind, object } = manifest;
  const template = at(object, TEMPLATES[kind]!);
  const spec = at(template, ['spec']);
  const metadata = at(object, ['metadata']);
  const serviceAccount = spec['serviceAccountName'] ?? spec['serviceAccount'];
  const ip = at(object, ['status'])['podIP'];
  return {
    kind, manifest,
    name: String(metadata['name'] ?? ''), namespace: String(metadata['namespace'] ?? 'default'),
    labels: Object.fromEntries(Object.entries(at(template, ['metadata', 'labels'])).map(([key, value]) => [key, String(value)])),
    ...(typeof serviceAccount === 'string' ? { serviceAccount } : {}),
    ...(typeof ip === 'string' ? { ip } : {}),
    namedPorts: listOf(spec['containers']).flatMap((container) => listOf(at(container, [])['ports'])).flatMap(namedPort),
  };
}

function at(value: unknown, path: Path): Record<string, unknown> {
  const found = path.reduce<unknown>((one, step) => (isObject(one) ? one[step] : undefined), value);
  return isObject(found) ? found : {};
}

const listOf = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : []);

function namedPort(value: unknown): NonNullable<CasePod['namedPorts']>[number][] {
  const { name, containerPort, protocol = 'TCP' } = at(value, []);
  if (typeof name !== 'string' || typeof containerPort !== 'number') return [];
  return protocol === 'TCP' || protocol === 'UDP' || protocol === 'SCTP' ? [{ name, port: containerPort, protocol }] : [];
}
