// The shape of a container in a Pod: what weir runs, what it leaves out with a warning, and what it refuses because it would
// widen what a workload may do.
import {
  anything, choice, fail, flag, integer, isAbsent, isObject, list, object, text, type Path, type Report, type Shape,
} from '../policy/check.ts';
import { flowText } from '../policy/mend.ts';
import { isDnsLabel } from '../directory/kinds.ts';

/** Checked by `containerShape`; null counts as absent. */
export interface PodContainer {
  readonly name: string;
  readonly command: readonly string[];
  readonly args?: readonly string[] | null;
  readonly env?: readonly { readonly name: string; readonly value?: string | null }[] | null;
  readonly workingDir?: string | null;
  readonly ports?: readonly { readonly name?: string | null; readonly containerPort: number; readonly protocol?: 'TCP' | 'UDP' | 'SCTP' | null }[] | null;
  readonly securityContext?: RunAs | null;
}

export interface RunAs { readonly runAsUser?: number | null; readonly runAsNonRoot?: boolean | null }

/** The kernel's limit for one string of execve (MAX_ARG_STRLEN, with its end). */
const maxArgumentBytes = 128 * 1024 - 1;
const maxUid = 2 ** 31 - 1;
const maxItems = 1024;

type Test<Value> = (value: Value) => boolean;
const isEmpty = (value: unknown): boolean => (Array.isArray(value) ? value : Object.keys(Object(value) as object)).length === 0;

/** Refused by name with the reason; harmless values (`false`, an empty list) pass. */
export const refused = (reason: string, mend?: string, harmless: Test<unknown> = (value) => value === false || (typeof value === 'object' && isEmpty(value))): Shape =>
  (value, path, report) => { if (!harmless(value)) fail(report, path, reason, mend); };

export const warned = (message: string, harmless: Test<unknown> = () => false): Shape =>
  (value, path, report) => { if (!harmless(value)) report({ path, message, severity: 'warning' }); };

export const dnsLabel = (what: string): Shape => text(what, {
  test: (name) => (isDnsLabel(name) ? undefined : 'must be a DNS label: a-z, 0-9 and `-`, at most 63'),
});

const noNul = (value: string): string | undefined => (value.includes('\0') ? 'must not hold a NUL character' : undefined);
const argument = (what: string): Shape => text(what, { max: maxArgumentBytes, test: noNul });

/** A whole command line in one string is the most common slip. */
const words = (value: unknown): string | undefined =>
  (typeof value === 'string' ? `write [${value.split(/\s+/).filter((word) => word !== '').map((word) => JSON.stringify(word)).join(', ')}]` : undefined);

const environment = object('an env entry', {
  name: text('name', { test: (name) => (/^[^=\0]+$/.test(name) ? undefined : 'must not be empty or hold `=`') }),
  value: argument('value'),
  valueFrom: refused('valueFrom is not handled yet: ConfigMaps and Secrets are not read', 'write value: "..."'),
}, { required: ['name'] });

const isPortName = (name: string): boolean =>
  name.length <= 15 && /^[a-z0-9]+(-[a-z0-9]+)*$/.test(name) && /[a-z]/.test(name);

const port = object('a port', {
  name: text('name', { test: (name) => (isPortName(name) ? undefined : 'must be at most 15 of a-z, 0-9 and single `-`, with a letter') }),
  containerPort: integer('containerPort', 1, 65535),
  protocol: choice('protocol', ['TCP', 'UDP', 'SCTP']),
  hostPort: refused('hostPort would open a port of this machine', 'reach the workload at its own address', (value) => value === 0),
  hostIP: refused('hostIP would open a port of this machine', 'reach the workload at its own address', (value) => value === ''),
}, { required: ['containerPort'] });

/** Fields that a pod's and a container's securityContext share. */
const securityFields: Readonly<Record<string, Shape>> = {
  runAsUser: integer('runAsUser', 0, maxUid),
  runAsNonRoot: flag('runAsNonRoot'),
  runAsGroup: warned('runAsGroup is not handled yet: a workload runs with the group of its user'),
  seccompProfile: warned('seccompProfile is not handled yet'),
  appArmorProfile: warned('appArmorProfile is not handled yet'),
  seLinuxOptions: warned('seLinuxOptions are not handled yet'),
  windowsOptions: refused('windowsOptions mean nothing on Linux'),
};

export const podSecurity: Shape = object('securityContext', {
  ...securityFields,
  fsGroup: anything, fsGroupChangePolicy: anything,
  supplementalGroups: refused('supplementalGroups would give it the files of other groups of this machine', 'delete it'),
  supplementalGroupsPolicy: anything,
  sysctls: refused('sysctls are not handled yet', 'delete them'),
}, { hints: { privileged: 'a workload is never privileged: delete it', capabilities: 'it stands in the securityContext of a container' } });

const capabilities = object('capabilities', {
  add: refused('a workload has no capabilities, and none can be added', 'delete capabilities.add'),
  drop: list('drop', text('a capability')),
});

const containerSecurity: Shape = object('securityContext', {
  ...securityFields,
  privileged: refused('a workload is never privileged', 'delete privileged: true'),
  allowPrivilegeEscalation: refused('no_new_privs is always set for a workload', 'delete allowPrivilegeEscalation: true'),
  readOnlyRootFilesystem: flag('readOnlyRootFilesystem'),
  capabilities,
  procMount: refused('procMount would show it more of /proc', 'delete procMount', (value) => value === 'Default'),
});

const probe = (name: string): Shape => warned(`${name} is not handled yet: nothing is probed`);
const noVolumes = 'volumes are not handled yet';

const fields = object('a container', {
  name: dnsLabel('name'),
  image: text('image'),
  command: list('command', argument('an item of command'), { max: maxItems, form: words }),
  args: list('args', argument('an item of args'), { max: maxItems, form: words }),
  env: list('env', environment, { max: maxItems }),
  envFrom: refused('envFrom is not handled yet: ConfigMaps and Secrets are not read', 'write env: [{name: NAME, value: "..."}]'),
  workingDir: text('workingDir', { test: (path) => (path.startsWith('/') ? noNul(path) : 'must be an absolute path') }),
  ports: list('ports', port, { max: maxItems }),
  resources: anything, resizePolicy: anything, imagePullPolicy: anything,
  terminationMessagePath: anything, terminationMessagePolicy: anything,
  livenessProbe: probe('livenessProbe'), readinessProbe: probe('readinessProbe'), startupProbe: probe('startupProbe'),
  lifecycle: warned('lifecycle is not handled yet: its hooks do not run'),
  stdin: warned('stdin is not handled yet: a workload reads nothing', (value) => value === false),
  stdinOnce: anything,
  tty: warned('tty is not handled yet: a workload has no terminal', (value) => value === false),
  restartPolicy: refused('restartPolicy of one container is not handled yet', 'write it in spec, for all containers'),
  securityContext: containerSecurity,
  volumeMounts: refused(noVolumes, 'delete volumeMounts'),
  volumeDevices: refused(noVolumes, 'delete volumeDevices'),
}, {
  required: ['name'],
  hints: { containerPort: (value) => `write ports: [{containerPort: ${flowText(value)}}]`, runAsUser: 'it stands in securityContext', privileged: 'a workload is never privileged: delete it' },
});

export const container: Shape = (value, path, report) => {
  fields(value, path, report);
  if (isObject(value)) checkCommand(value, path, report);
};

const commandForm = 'write command: ["python3", "-m", "http.server"]';

function checkCommand({ command, image }: Record<string, unknown>, path: Path, report: Report): void {
  if (Array.isArray(command) && command.length > 0) {
    if (command[0] === '') fail(report, [...path, 'command', 0], 'the program to run is empty', commandForm);
    return;
  }
  if (!isAbsent(command) && !Array.isArray(command)) return; // said already
  if (isAbsent(image)) fail(report, path, 'a container needs the field `command`', commandForm);
  else fail(report, [...path, 'image'], 'an image without a command: weir runs programs of this machine, not images', commandForm);
}
