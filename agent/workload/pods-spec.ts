// The shapes of Pod and Deployment. A field that would widen what a workload may do is refused by name; one that weir does not
// act on yet is a warning; one that means nothing on a single machine is taken without a word.
import { anything, choice, fail, flag, integer, isAbsent, isObject, list, text, type Path, type Report, type Shape } from '../policy/check.ts';
import { objectName } from '../policy/formats.ts';
import { metadata } from '../policy/metadata.ts';
import { container, podSecurity, type PodContainer, type RunAs } from './pods-container.ts';
import { checkNames, nameFields, type NamesSpec } from './pods-names.ts';
import { fieldsOf, labels, refused, warned } from './pods-shape.ts';

/** Checked by the shapes below; null counts as absent. */
export interface PodSpec extends NamesSpec {
  readonly containers: readonly PodContainer[];
  readonly restartPolicy?: 'Always' | 'OnFailure' | 'Never' | null;
  readonly nodeName?: string | null;
  readonly serviceAccountName?: string | null;
  readonly serviceAccount?: string | null;
  readonly securityContext?: RunAs | null;
  readonly terminationGracePeriodSeconds?: number | null;
}

export interface PodTemplate {
  readonly metadata?: { readonly labels?: Readonly<Record<string, string>> | null; readonly annotations?: Readonly<Record<string, string>> | null } | null;
  readonly spec: PodSpec;
}

export interface DeploymentSpec {
  readonly replicas?: number | null;
  readonly strategy?: { readonly type?: 'RollingUpdate' | 'Recreate' | null } | null;
  readonly selector: { readonly matchLabels: Readonly<Record<string, string>> };
  readonly template: PodTemplate;
}

const maxContainers = 32;
const maxReplicas = 500;
const maxGraceSeconds = 3600;

const unplaced = (name: string): Shape => warned(`${name} changes nothing: a pod runs where nodeName says, or anywhere`);
const widens = (name: string, what: string): Shape => refused(`${name} would give it ${what}`, `delete ${name}`);
const serviceAccount = (name: string): Shape => text(name, { test: objectName });

/** hostPath by its own name, since it is the one that people miss; all others alike. */
const volume: Shape = (value, path, report) => {
  if (isObject(value) && value['hostPath'] !== undefined) {
    fail(report, [...path, 'hostPath'], 'hostPath would give it files of this machine; volumes are not handled yet', 'delete it');
  } else fail(report, path, 'volumes are not handled yet', 'delete it');
};

const podFields = fieldsOf('the pod spec', {
  containers: list('containers', container, { min: 1, max: maxContainers }),
  restartPolicy: choice('restartPolicy', ['Always', 'OnFailure', 'Never']),
  serviceAccountName: serviceAccount('serviceAccountName'), serviceAccount: serviceAccount('serviceAccount'),
  securityContext: podSecurity, nodeName: text('nodeName', { test: objectName }),
  terminationGracePeriodSeconds: integer('terminationGracePeriodSeconds', 0, maxGraceSeconds), ...nameFields,
}, {
  automountServiceAccountToken: flag('automountServiceAccountToken'),
  activeDeadlineSeconds: warned('activeDeadlineSeconds is not handled yet'),
  nodeSelector: unplaced('nodeSelector'), affinity: unplaced('affinity'),
  topologySpreadConstraints: anything, tolerations: anything, schedulerName: anything, schedulingGates: anything,
  priority: anything, priorityClassName: anything, preemptionPolicy: anything, overhead: anything,
  imagePullSecrets: anything, enableServiceLinks: anything, os: anything, resources: anything,
  readinessGates: warned('readinessGates are not handled yet'),
  hostNetwork: widens('hostNetwork', 'the network of this machine, where no policy of its own holds'),
  hostPID: widens('hostPID', 'the processes of this machine'),
  hostIPC: widens('hostIPC', 'the shared memory of this machine'),
  hostUsers: refused('user namespaces are not handled yet', 'delete hostUsers', (value) => value === true),
  shareProcessNamespace: refused('shareProcessNamespace is not handled yet', 'delete shareProcessNamespace'),
  runtimeClassName: refused('runtimeClassName is not handled: a workload is a process of this machine', 'delete it'),
  volumes: list('volumes', volume),
  resourceClaims: refused('resourceClaims are not handled yet', 'delete them'),
  initContainers: refused('initContainers are not handled yet', 'run their commands before the program, in one command'),
  ephemeralContainers: refused('ephemeralContainers are not handled yet', 'delete them'),
}, {
  required: ['containers'],
  hints: {
    container: 'did you mean `containers`, a list?', hostPath: 'volumes are not handled yet: delete it',
    command: 'it stands in an item of containers', image: 'it stands in an item of containers',
  },
});

const podSpec: Shape = (value, path, report) => {
  podFields(value, path, report);
  if (!isObject(value)) return;
  const { serviceAccount: old, serviceAccountName: name } = value;
  if (!isAbsent(old) && !isAbsent(name) && old !== name) {
    fail(report, [...path, 'serviceAccount'], 'serviceAccount and serviceAccountName differ', 'delete serviceAccount');
  }
  checkUnique(value['containers'], [...path, 'containers'], report);
  checkNames(value, path, report);
};

/** Names of containers and of ports are unique in a pod. */
function checkUnique(containers: unknown, path: Path, report: Report): void {
  const seen = new Set<string>();
  const once = (kind: string, value: unknown, at: Path): void => {
    if (!isObject(value) || typeof value['name'] !== 'string') return;
    const key = `${kind} ${value['name']}`;
    if (seen.has(key)) fail(report, [...at, 'name'], `a second ${kind} is called \`${value['name']}\``, 'give each its own name');
    seen.add(key);
  };
  const items = (value: unknown): unknown[] => (Array.isArray(value) ? value : []);
  for (const [index, one] of items(containers).entries()) {
    once('container', one, [...path, index]);
    const ports = isObject(one) ? items(one['ports']) : [];
    for (const [at, port] of ports.entries()) once('port', port, [...path, index, 'ports', at]);
  }
}

/** A bad label of the object itself is refused where files are read; here are those of a template. */
const templateMetadata: Shape = (value, path, report) => {
  if (!isObject(value)) return metadata(value, path, report);
  metadata({ ...value, labels: undefined }, path, report);
  if (!isAbsent(value['labels'])) labels(value['labels'], [...path, 'labels'], report);
};

const envelope: Readonly<Record<string, Shape>> = { apiVersion: anything, kind: anything, metadata, status: anything };

export const pod = fieldsOf('a Pod', { ...envelope, spec: podSpec }, {}, {
  required: ['spec'],
  hints: { containers: 'it stands under spec', labels: 'it stands under metadata' },
});

const template: Shape = (value, path, report) => {
  fieldsOf('the template', { metadata: templateMetadata, spec: podSpec }, {}, {
    required: ['spec'], hints: { containers: 'it stands under template.spec', labels: 'it stands under template.metadata' },
  })(value, path, report);
  const spec = isObject(value) ? value['spec'] : undefined;
  if (!isObject(spec) || isAbsent(spec['restartPolicy']) || spec['restartPolicy'] === 'Always') return;
  fail(report, [...path, 'spec', 'restartPolicy'], 'the pods of a Deployment are always restarted', 'delete restartPolicy, or write a Pod');
};

const deploymentSpec: Shape = (value, path, report) => {
  fieldsOf('the spec', {
    replicas: integer('replicas', 0, maxReplicas),
    selector: fieldsOf('selector', { matchLabels: labels }, {
      matchExpressions: refused('matchExpressions is not handled yet', 'write matchLabels'),
    }, { required: ['matchLabels'], form: 'write {matchLabels: {app: NAME}}' }),
    template,
  }, {
    strategy: fieldsOf('the strategy', { type: choice('type', ['RollingUpdate', 'Recreate']) }, { rollingUpdate: anything }, { form: 'write {type: Recreate}' }), minReadySeconds: anything, revisionHistoryLimit: anything, progressDeadlineSeconds: anything,
    paused: warned('paused is not handled yet'),
  }, { required: ['selector', 'template'], hints: { containers: 'it stands under template.spec' } })(value, path, report);
  if (isObject(value)) checkSelector(value, path, report);
};

const at = (value: unknown, ...path: string[]): unknown =>
  path.reduce<unknown>((one, step) => (isObject(one) ? one[step] : undefined), value);

function checkSelector(spec: Record<string, unknown>, path: Path, report: Report): void {
  const wanted = at(spec, 'selector', 'matchLabels');
  if (!isObject(wanted)) return;
  const given = at(spec, 'template', 'metadata', 'labels');
  const there = isObject(given) ? given : {};
  if (Object.keys(wanted).length === 0) fail(report, [...path, 'selector', 'matchLabels'], 'matchLabels is empty', 'write {matchLabels: {app: NAME}}');
  for (const [key, value] of Object.entries(wanted)) {
    if (Object.hasOwn(there, key) && there[key] === value) continue;
    fail(report, [...path, 'selector', 'matchLabels', key], `the labels of the template lack ${key}: ${String(value)}`, 'add it to spec.template.metadata.labels');
  }
}

export const deployment = fieldsOf('a Deployment', { ...envelope, spec: deploymentSpec }, {}, {
  required: ['spec'],
  hints: { template: 'it stands under spec', replicas: 'it stands under spec', labels: 'it stands under metadata' },
});
