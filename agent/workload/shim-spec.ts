// A pod as the shim reads it: `key\0value\0` pairs (shim/spec.c), and the comparison that decides whether a changed
// pod needs a new run.
import { isDeepStrictEqual } from 'node:util';
import { hostnameOf } from './pods-names.ts';
import type { ContainerSpec, PodRow } from './tables.ts';

export interface ShimFolders {
  readonly folder: string;
  readonly cgroup: string;
  readonly hosts: string;
  /** Absent: it sees the machine's. */
  readonly resolv?: string;
  /** Covered by an empty folder inside the containers. */
  readonly hidden: readonly string[];
}

const defaultPath = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
const home = '/run/tmp';

function environment(pod: PodRow, container: ContainerSpec): Record<string, string> {
  return {
    PATH: defaultPath, HOME: home, TMPDIR: home, HOSTNAME: hostnameOf(pod), POD_NAME: pod.name, POD_NAMESPACE: pod.namespace, ...container.env,
  };
}

export function encodeSpec(pod: PodRow, user: number, folders: ShimFolders): string {
  const pairs: [key: string, value: string][] = [
    ['name', pod.name], ['namespace', pod.namespace], ['hostname', hostnameOf(pod)], ['folder', folders.folder], ['cgroup', folders.cgroup], ['hosts', folders.hosts],
    ['user', String(user)], ['graceMs', String(pod.terminationGracePeriodMs)], ['restartPolicy', pod.restartPolicy],
    ...folders.hidden.map((path): [string, string] => ['hide', path]),
    ...[...(folders.resolv === undefined ? [] : [{ source: folders.resolv, target: '/etc/resolv.conf' }]), ...pod.binds ?? []]
      .flatMap(({ source, target }): [string, string][] => [['bind', source], ['bindTo', target]]),
  ];
  for (const container of pod.containers) {
    pairs.push(['container', container.name], ['workingDir', container.workingDir]);
    if (container.runAsUser !== undefined) pairs.push(['runAsUser', String(container.runAsUser)]);
    for (const word of container.command) pairs.push(['arg', word]);
    for (const [name, value] of Object.entries(environment(pod, container))) pairs.push(['env', `${name}=${value}`]);
  }
  for (const [key, value] of pairs) {
    if (value.includes('\0')) throw new Error(`${pod.key}: ${key} holds a NUL character`);
  }
  return pairs.map(([key, value]) => `${key}\0${value}\0`).join('');
}

/** Labels, weight, owner, strategy and source may change while a pod runs; as JSON, since an adopted pod comes from a file. */
function runningPart({ labels: _labels, weight: _weight, source: _source, owner: _owner, recreate: _recreate, ...rest }: PodRow): unknown {
  return JSON.parse(JSON.stringify(rest));
}

export const sameRun = (one: PodRow, other: PodRow): boolean => isDeepStrictEqual(runningPart(one), runningPart(other));
