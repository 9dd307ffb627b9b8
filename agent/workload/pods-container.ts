// The shape of a container in a Pod: what weir runs, what it leaves out with a warning, and what it refuses because it would
// widen what a workload may do.
import { anything, choice, fail, flag, integer, isAbsent, isObject, list, text, type Path, type Report, type Shape } from '../policy/check.ts';
import { dnsLabel, fieldsOf, refused, warned } from './pods-shape.ts';
import { checkPorts, probeShape, type WrittenProbe } from './probe-shape.ts';

/** Checked by `containerShape`; null counts as absent. */
export interface PodContainer {
  readonly name: string;
  readonly command: readonly string[];
  readonly args?: readonly string[] | null;
  readonly env?: readonly { readonly name: string; readonly value?: string | null }[] | null;
  readonly workingDir?: string | null;
  readonly ports?: readonly { readonly name?: string | null; readonly containerPort: number; readonly protocol?: 'TCP' | 'UDP' | 'SCTP' | null }[] | null;
  readonly securityContext?: RunAs | null;
  readonly livenessProbe?: WrittenProbe | null;
  readonly readinessProbe?: WrittenProbe | null;
  readonly startupProbe?: WrittenProbe | null;
}

export interface RunAs { readonly runAsUser?: number | null; readonly runAsNonRoot?: boolean | null }

/** The kernel's limit for one string of execve (MAX_ARG_STRLEN, with its end). */
const maxArgumentBytes = 128 * 1024 - 1;
const maxUid = 2 ** 31 - 1;
const maxItems = 1024;

const noNul = (value: string): string | undefined => (value.includes('\0') ? 'must not hold a NUL character' : undefined);
const argument = (what: string): Shape => text(what, { max: maxArgumentBytes, test: noNul });

/** A whole command line in one string is the most common slip. */
const words = (value: unknown): string | undefined =>
  (typeof value === 'string' ? `write [${value.split(/\s+/).filter((word) => word !== '').map((word) => JSON.stringify(word)).join(', ')}]` : undefined);

const environment = fieldsOf('an env entry', {
  name: text('name', { test: (name) => (/^[^=\0]+$/.test(name) ? undefined : 'must not be empty or hold `=`') }),
  value: argument('value'),
}, {
  valueFrom: refused('valueFrom is not handled yet: ConfigMaps and Secrets are not read', 'write value: "..."'),
}, { required: ['name'], form: 'write {name: NAME, value: "..."}' });

const isPortName = (name: string): boolean =>
  name.length <= 15 && /^[a-z0-9]+(-[a-z0-9]+)*$/.test(name) && /[a-z]/.test(name);

const port = fieldsOf('a port', {
  name: text('name', { test: (name) => (isPortName(name) ? undefined : 'must be at most 15 of a-z, 0-9 and single `-`, with a letter') }),
  containerPort: integer('containerPort', 1, 65535),
  protocol: choice('protocol', ['TCP', 'UDP', 'SCTP']),
}, {
  hostPort: refused('hostPort would open a port of this machine', 'reach the workload at its own address', (value) => value === 0),
  hostIP: refused('hostIP would open a port of this machine', 'reach the workload at its own address', (value) => value === ''),
}, { required: ['containerPort'], form: 'write {containerPort: 8080}', hints: { port: 'did you mean `containerPort`?' } });

const runAsFields: Readonly<Record<string, Shape>> = { runAsUser: integer('runAsUser', 0, maxUid), runAsNonRoot: flag('runAsNonRoot') };
const unusedFields: Readonly<Record<string, Shape>> = {
  runAsGroup: warned('runAsGroup is not handled yet: a workload runs with the group of its user'),
  seccompProfile: warned('seccompProfile is not handled yet'),
  appArmorProfile: warned('appArmorProfile is not handled yet'),
  seLinuxOptions: warned('seLinuxOptions are not handled yet'),
  windowsOptions: refused('windowsOptions mean nothing on Linux', 'delete them'),
};

export const podSecurity: Shape = fieldsOf('securityContext', runAsFields, {
  ...unusedFields,
  fsGroup: anything, fsGroupChangePolicy: anything, supplementalGroupsPolicy: anything, seLinuxChangePolicy: anything,
  supplementalGroups: refused('supplementalGroups would give it the files of other groups of this machine', 'delete supplementalGroups'),
  sysctls: refused('sysctls are not handled yet', 'delete sysctls'),
}, {
  hints: { privileged: 'a workload is never privileged: delete it', capabilities: 'it stands in the securityContext of a container' },
});

const capabilities = fieldsOf('capabilities', { drop: list('drop', text('a capability')) }, {
  add: refused('a workload has no capabilities, and none can be added', 'delete capabilities.add'),
});

const containerSecurity: Shape = fieldsOf('securityContext', { ...runAsFields, capabilities }, {
  ...unusedFields,
  privileged: refused('a workload is never privileged', 'delete privileged'),
  allowPrivilegeEscalation: refused('allowPrivilegeEscalation: a workload never gains privileges (no_new_privs)', 'delete allowPrivilegeEscalation'),
  readOnlyRootFilesystem: flag('readOnlyRootFilesystem'),
  procMount: refused('procMount would show it more of /proc', 'delete procMount', (value) => value === 'Default'),
});

const noVolumes = 'volumes are not handled yet';

const fields = fieldsOf('a container', {
  name: dnsLabel('name'),
  command: list('command', argument('an item of command'), { max: maxItems, form: words }),
  args: list('args', argument('an item of args'), { max: maxItems, form: words }),
  env: list('env', environment, { max: maxItems }),
  workingDir: text('workingDir', { test: (path) => (path.startsWith('/') ? noNul(path) : 'must be an absolute path') }),
  ports: list('ports', port, { max: maxItems }),
  securityContext: containerSecurity,
  livenessProbe: probeShape('livenessProbe'), readinessProbe: probeShape('readinessProbe'), startupProbe: probeShape('startupProbe'),
}, {
  image: text('image'), imagePullPolicy: anything,
  resources: anything, resizePolicy: anything, terminationMessagePath: anything, terminationMessagePolicy: anything,
  lifecycle: warned('lifecycle is not handled yet: its hooks do not run'),
  stdin: warned('stdin is not handled yet: a workload reads nothing'), stdinOnce: anything,
  tty: warned('tty is not handled yet: a workload has no terminal'),
  envFrom: refused('envFrom is not handled yet: ConfigMaps and Secrets are not read', 'write env: [{name: NAME, value: "..."}]'),
  restartPolicy: refused('restartPolicy of one container is not handled yet', 'write it in spec, for all containers'),
  volumeMounts: refused(noVolumes, 'delete volumeMounts'),
  volumeDevices: refused(noVolumes, 'delete volumeDevices'),
}, {
  required: ['name'],
  form: 'write {name: NAME, command: [PROGRAM, ARGUMENT]}',
  hints: { containerPort: 'write ports: [{containerPort: 8080}]', runAsUser: 'it stands in securityContext', privileged: 'a workload is never privileged: delete it' },
});

export const container: Shape = (value, path, report) => {
  fields(value, path, report);
  if (!isObject(value)) return;
  checkCommand(value, path, report);
  checkPorts(value, path, report);
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
