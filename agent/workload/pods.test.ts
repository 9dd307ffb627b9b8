// Manifests and the pods they become; each mistake is one sentence at its place, and a mistake in one Pod never harms another.
import { describe, expect, test } from '@jest/globals';
import { readManifests } from '../directory/reader.ts';
import { derivePods, type DerivedPods } from './pods.ts';
import { expand } from './pods-expand.ts';

const pod = (spec: string, metadata = 'name: a'): string => `apiVersion: v1\nkind: Pod\nmetadata: {${metadata}}\nspec:\n  ${spec}\n`;
const withContainer = (fields: string): string => pod(`containers: [{name: x, command: [run], ${fields}}]`);
const withSpec = (fields: string): string => pod(`{containers: [{name: x, command: [run]}], ${fields}}`);
const deployment = (spec: string, name = 'web'): string => `apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: ${name}, namespace: shop}\nspec:\n  ${spec}\n`;
const template = '{metadata: {labels: {app: web, v: "1"}}, spec: {containers: [{name: x, command: [run]}]}}';

function derive(text: string, allowRoot = false): DerivedPods {
  const { objects, problems } = readManifests(text, 'f');
  expect(problems).toEqual([]);
  return derivePods(objects.map(({ row }) => row), { allowRoot });
}
/** Each begins with the word that stands at its position. */
const lines = (text: string, { problems }: DerivedPods): string[] => problems.map(({ source, severity, field, message, mend }) => {
  const word = text.split('\n')[source.line - 1]!.slice(source.column - 1).split(/[:,\]]/)[0]!;
  return `${word} ${severity} ${field}: ${message.replace(/^(Pod|Deployment) \S+: /, '')}${mend === undefined ? '' : ` (${mend})`}`;
});

describe('derivePods', () => {
  test('a Pod with everything that weir acts on', () => {
    const { pods, problems } = derive(`apiVersion: v1
kind: Pod
metadata: {name: a, namespace: shop, labels: {app: web}, annotations: {note: x}}
spec:
  serviceAccountName: robot
  automountServiceAccountToken: false
  restartPolicy: OnFailure
  terminationGracePeriodSeconds: 5
  securityContext: {runAsUser: 2000, fsGroup: 1}
  tolerations: [{operator: Exists}]
  containers:
  - name: web
    image: python
    imagePullPolicy: Always
    command: [python3, -m, http.server]
    args: ["$(PORT)", "$(NONE)", "$$(PORT)"]
    workingDir: /srv
    env: [{name: PORT, value: "8080"}, {name: URL, value: "http://localhost:$(PORT)"}, {name: EMPTY}]
    ports: [{name: http, containerPort: 8080}, {containerPort: 9}, {name: dns, containerPort: 53, protocol: UDP}]
    resources: {limits: {cpu: 1}}
    securityContext: {runAsUser: 1000, runAsNonRoot: true, allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, privileged: false, capabilities: {drop: [ALL], add: []}}
    volumeMounts: []
  - {name: side, command: [sleep, "1"]}
  volumes: []
  hostNetwork: false
status: {phase: Running}
`);
    expect(problems).toEqual([]);
    expect(pods).toEqual([{
      key: 'shop/a', namespace: 'shop', name: 'a', labels: { app: 'web' }, serviceAccount: 'robot', restartPolicy: 'OnFailure',
      terminationGracePeriodMs: 5000, source: { file: 'f', line: 1, column: 1 },
      namedPorts: [{ name: 'http', port: 8080, protocol: 'TCP' }, { name: 'dns', port: 53, protocol: 'UDP' }],
      containers: [
        {
          name: 'web', command: ['python3', '-m', 'http.server', '8080', '$(NONE)', '$(PORT)'], workingDir: '/srv', runAsUser: 1000,
          env: { PORT: '8080', URL: 'http://localhost:8080', EMPTY: '' },
        },
        { name: 'side', command: ['sleep', '1'], env: {}, workingDir: '/', runAsUser: 2000 },
      ],
    }]);
  });

  test('the defaults of a Pod', () => {
    expect(derive(pod('containers: [{name: x, command: [run]}]')).pods).toEqual([{
      key: 'default/a', namespace: 'default', name: 'a', labels: {}, serviceAccount: 'default', restartPolicy: 'Always',
      terminationGracePeriodMs: 30_000, namedPorts: [], source: { file: 'f', line: 1, column: 1 },
      containers: [{ name: 'x', command: ['run'], env: {}, workingDir: '/' }],
    }]);
  });

  test('a Deployment: names that stay, labels of the template, its owner', () => {
    const text = deployment(`{replicas: 2, strategy: {type: Recreate}, revisionHistoryLimit: 3, selector: {matchLabels: {app: web}}, template: ${template}}`);
    const { pods, problems } = derive(text);
    expect(problems).toEqual([]);
    expect(pods.map(({ recreate }) => recreate)).toEqual([true, true]);
    expect(pods.map(({ key, labels, owner }) => ({ key, labels, owner }))).toEqual([0, 1].map((index) => ({
      key: `shop/web-vchvt-${index}`, labels: { app: 'web', v: '1' }, owner: { kind: 'Deployment', name: 'web' },
    })));
    expect(derive(text.replace('namespace: shop', 'namespace: other')).pods[0]!.name).not.toBe('web-vchvt-0');
  });

  test('a weight for Services is that of the template', () => {
    const text = deployment(`{selector: {matchLabels: {app: web}}, template: ${template.replace('metadata: {', 'metadata: {annotations: {service.weir.io/weight: "30"}, ')}}`);
    expect(derive(text)).toMatchObject({ pods: [{ weight: 30 }], problems: [] });
    const { pods, problems } = derive(text.replace('"30"', 'heavy'));
    expect([pods, problems.map(({ field, message }) => [field, message])])
      .toEqual([[], [['spec.template.metadata.annotations["service.weir.io/weight"]', 'Deployment web: service.weir.io/weight must be a whole number from 1 to 1000, 100 being usual; found "heavy"']]]);
  });

  test.each([['0', 0], ['null', 1], ['500', 500]])('%s replicas are %d pods', (replicas, count) => {
    expect(derive(deployment(`{replicas: ${replicas}, selector: {matchLabels: {app: web}}, template: ${template}}`)).pods.length).toBe(count);
  });

  test('other kinds are no pods', () => {
    expect(derive('apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n')).toEqual({ pods: [], problems: [] });
  });

  test('one bad Pod never harms another', () => {
    const { pods, problems } = derive(`${pod('hostNetwork: true')}---\n${pod('containers: [{name: x, command: [run]}]', 'name: b')}`);
    expect([pods.map(({ key }) => key), problems.map(({ field }) => field)]).toEqual([['default/b'], ['spec.hostNetwork', 'spec']]);
  });

  test('a Pod with the name of a Deployment\'s: the Pod stays, and so do the other replicas', () => {
    const text = `${deployment(`{replicas: 2, selector: {matchLabels: {app: web}}, template: ${template}}`)}---\n${pod('containers: [{name: x, command: [run]}]', 'name: web-vchvt-0, namespace: shop')}`;
    const derived = derive(text);
    expect(derived.pods.map(({ key, owner }) => [key, owner?.name])).toEqual([['shop/web-vchvt-0', undefined], ['shop/web-vchvt-1', 'web']]);
    expect(derived.problems[0]!.source).toEqual({ file: 'f', line: 3, column: 12 });
    expect(lines(text, derived)).toEqual(['name error metadata.name: pod shop/web-vchvt-0 is already defined in f:7; that one stays (choose another name)']);
  });

  test('uid 0 with --allow-root', () => {
    const { pods, problems } = derive(withContainer('securityContext: {runAsUser: 0}'), true);
    expect([pods[0]!.containers[0]!.runAsUser, problems]).toEqual([0, []]);
  });
});

const form = 'write command: ["python3", "-m", "http.server"]';
const root = 'a workload may not run as root (runAsUser: 0) (delete runAsUser, or start with ./weir up --allow-root)';
const noVolumes = 'volumes are not handled yet';

const refusedFields: readonly { name: string; text: string; line: string }[] = [
  { name: 'no spec', text: 'apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n', line: 'apiVersion error : a Pod needs the field `spec`' },
  { name: 'spec is a list', text: pod('[]'), line: 'spec error spec: the pod spec must be an object with the fields containers, restartPolicy, serviceAccountName, serviceAccount, securityContext, nodeName, terminationGracePeriodSeconds, hostname, subdomain, setHostnameAsFQDN, hostAliases, dnsPolicy, dnsConfig; found a list' },
  { name: 'no containers', text: pod('{}'), line: 'spec error spec: the pod spec needs the field `containers`' },
  { name: 'an empty list of containers', text: pod('containers: []'), line: 'containers error spec.containers: containers needs at least 1 item' },
  { name: 'one container that is no list', text: pod('containers: {name: x}'), line: 'containers error spec.containers: containers must be a list; found an object ({name: x}) (write [{name: x}])' },
  { name: 'a slip in the spec', text: withSpec('restartPolcy: Never'), line: 'restartPolcy error spec.restartPolcy: unknown field `restartPolcy`; the pod spec has containers, restartPolicy, serviceAccountName, serviceAccount, securityContext, nodeName, terminationGracePeriodSeconds, hostname, subdomain, setHostnameAsFQDN, hostAliases, dnsPolicy, dnsConfig (did you mean `restartPolicy`?)' },
  { name: 'a slip in a container', text: withContainer('commands: [x]'), line: 'commands error spec.containers[0].commands: unknown field `commands`; a container has name, command, args, env, workingDir, ports, securityContext, livenessProbe, readinessProbe, startupProbe (did you mean `command`?)' },
  { name: 'a field like a property of every object', text: withSpec('constructor: 1'), line: 'constructor error spec.constructor: unknown field `constructor`; the pod spec has containers, restartPolicy, serviceAccountName, serviceAccount, securityContext, nodeName, terminationGracePeriodSeconds, hostname, subdomain, setHostnameAsFQDN, hostAliases, dnsPolicy, dnsConfig' },
  { name: 'a field in the wrong place', text: 'apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: x, command: [run]}]}\ncontainers: []\n', line: 'containers error containers: unknown field `containers`; a Pod has apiVersion, kind, metadata, status, spec (it stands under spec)' },
  { name: 'an image without a command', text: pod('containers: [{name: x, image: nginx}]'), line: `image error spec.containers[0].image: an image without a command: weir runs programs of this machine, not images (${form})` },
  { name: 'args without a command', text: pod('containers: [{name: x, args: [a]}]'), line: `{name error spec.containers[0]: a container needs the field \`command\` (${form})` },
  { name: 'an empty command', text: pod('containers: [{name: x, command: []}]'), line: `{name error spec.containers[0]: a container needs the field \`command\` (${form})` },
  { name: 'an empty program', text: pod('containers: [{name: x, command: [""]}]'), line: `"" error spec.containers[0].command[0]: the program to run is empty (${form})` },
  { name: 'a command line', text: pod('containers: [{name: x, command: python3 -m http.server}]'), line: 'command error spec.containers[0].command: command must be a list; found "python3 -m http.server" (write ["python3", "-m", "http.server"])' },
  { name: 'a number in args', text: withContainer('args: [80]'), line: '80 error spec.containers[0].args[0]: an item of args must be text; found the number 80 (write it in quotes: "80")' },
  { name: 'a NUL in args', text: withContainer('args: ["\\0"]'), line: '"\\0" error spec.containers[0].args[0]: an item of args must not hold a NUL character; found "\\u0000"' },
  { name: 'no name', text: pod('containers: [{command: [x]}]'), line: '{command error spec.containers[0]: a container needs the field `name`' },
  { name: 'a name that is none', text: pod('containers: [{name: ../x, command: [x]}]'), line: 'name error spec.containers[0].name: name must be a DNS label: a-z, 0-9 and `-`, at most 63; found "../x"' },
  { name: 'two containers of one name', text: pod('containers: [{name: x, command: [x]}, {name: x, command: [x]}]'), line: 'name error spec.containers[1].name: a second container is called `x` (give each its own name)' },
  { name: 'two ports of one name', text: withContainer('ports: [{name: a, containerPort: 1}, {name: a, containerPort: 2}]'), line: 'name error spec.containers[0].ports[1].name: a second port is called `a` (give each its own name)' },
  { name: 'a port out of range', text: withContainer('ports: [{containerPort: 70000}]'), line: 'containerPort error spec.containers[0].ports[0].containerPort: containerPort must be a whole number from 1 to 65535; found the number 70000' },
  { name: 'a port name that is none', text: withContainer('ports: [{name: "1", containerPort: 1}]'), line: 'name error spec.containers[0].ports[0].name: name must be at most 15 of a-z, 0-9 and single `-`, with a letter; found "1"' },
  { name: 'a protocol that is none', text: withContainer('ports: [{containerPort: 1, protocol: tcp}]'), line: 'protocol error spec.containers[0].ports[0].protocol: protocol must be one of TCP, UDP, SCTP; found "tcp" (did you mean `TCP`?)' },
  { name: 'hostPort', text: withContainer('ports: [{containerPort: 1, hostPort: 1}]'), line: 'hostPort error spec.containers[0].ports[0].hostPort: hostPort would open a port of this machine (reach the workload at its own address)' },
  { name: 'a relative workingDir', text: withContainer('workingDir: tmp'), line: 'workingDir error spec.containers[0].workingDir: workingDir must be an absolute path; found "tmp"' },
  { name: 'an env value that is a number', text: withContainer('env: [{name: A, value: 1}]'), line: 'value error spec.containers[0].env[0].value: value must be text; found the number 1 (write it in quotes: "1")' },
  { name: 'an env name with =', text: withContainer('env: [{name: A=B}]'), line: 'name error spec.containers[0].env[0].name: name must not be empty or hold `=`; found "A=B"' },
  { name: 'valueFrom', text: withContainer('env: [{name: A, valueFrom: {secretKeyRef: {}}}]'), line: 'valueFrom error spec.containers[0].env[0].valueFrom: valueFrom is not handled yet: ConfigMaps and Secrets are not read (write value: "...")' },
  { name: 'envFrom', text: withContainer('envFrom: [{}]'), line: 'envFrom error spec.containers[0].envFrom: envFrom is not handled yet: ConfigMaps and Secrets are not read (write env: [{name: NAME, value: "..."}])' },
  { name: 'volumeMounts', text: withContainer('volumeMounts: [{name: x}]'), line: `volumeMounts error spec.containers[0].volumeMounts: ${noVolumes} (delete volumeMounts)` },
  { name: 'privileged', text: withContainer('securityContext: {privileged: true}'), line: 'privileged error spec.containers[0].securityContext.privileged: a workload is never privileged (delete privileged)' },
  { name: 'privileged as text', text: withContainer('securityContext: {privileged: "false"}'), line: 'privileged error spec.containers[0].securityContext.privileged: a workload is never privileged (delete privileged)' },
  { name: 'allowPrivilegeEscalation', text: withContainer('securityContext: {allowPrivilegeEscalation: true}'), line: 'allowPrivilegeEscalation error spec.containers[0].securityContext.allowPrivilegeEscalation: allowPrivilegeEscalation: a workload never gains privileges (no_new_privs) (delete allowPrivilegeEscalation)' },
  { name: 'capabilities.add', text: withContainer('securityContext: {capabilities: {add: [NET_ADMIN]}}'), line: 'add error spec.containers[0].securityContext.capabilities.add: a workload has no capabilities, and none can be added (delete capabilities.add)' },
  { name: 'procMount', text: withContainer('securityContext: {procMount: Unmasked}'), line: 'procMount error spec.containers[0].securityContext.procMount: procMount would show it more of /proc (delete procMount)' },
  { name: 'runAsUser 0', text: withContainer('securityContext: {runAsUser: 0}'), line: `runAsUser error spec.containers[0].securityContext.runAsUser: ${root}` },
  { name: 'runAsUser 0 of the pod', text: withSpec('securityContext: {runAsUser: 0}'), line: `runAsUser error spec.securityContext.runAsUser: ${root}` },
  { name: 'runAsUser 0 with runAsNonRoot', text: withSpec('securityContext: {runAsUser: 0, runAsNonRoot: true}'), line: 'runAsUser error spec.securityContext.runAsUser: runAsUser is 0 where runAsNonRoot is true (delete one of them)' },
  { name: 'runAsUser below 0', text: withSpec('securityContext: {runAsUser: -1}'), line: 'runAsUser error spec.securityContext.runAsUser: runAsUser must be a whole number from 0 to 2147483647; found the number -1' },
  { name: 'supplementalGroups', text: withSpec('securityContext: {supplementalGroups: [0]}'), line: 'supplementalGroups error spec.securityContext.supplementalGroups: supplementalGroups would give it the files of other groups of this machine (delete supplementalGroups)' },
  { name: 'sysctls', text: withSpec('securityContext: {sysctls: [{}]}'), line: 'sysctls error spec.securityContext.sysctls: sysctls are not handled yet (delete sysctls)' },
  { name: 'hostNetwork', text: withSpec('hostNetwork: true'), line: 'hostNetwork error spec.hostNetwork: hostNetwork would give it the network of this machine, where no policy of its own holds (delete hostNetwork)' },
  { name: 'hostPID', text: withSpec('hostPID: true'), line: 'hostPID error spec.hostPID: hostPID would give it the processes of this machine (delete hostPID)' },
  { name: 'hostIPC', text: withSpec('hostIPC: true'), line: 'hostIPC error spec.hostIPC: hostIPC would give it the shared memory of this machine (delete hostIPC)' },
  { name: 'hostUsers', text: withSpec('hostUsers: false'), line: 'hostUsers error spec.hostUsers: user namespaces are not handled yet (delete hostUsers)' },
  { name: 'hostPath', text: withSpec('volumes: [{name: v, hostPath: {path: /}}]'), line: `hostPath error spec.volumes[0].hostPath: hostPath would give it files of this machine; ${noVolumes} (delete it)` },
  { name: 'another volume', text: withSpec('volumes: [{name: v, emptyDir: {}}]'), line: `{name error spec.volumes[0]: ${noVolumes} (delete it)` },
  { name: 'initContainers', text: withSpec('initContainers: [{name: i}]'), line: 'initContainers error spec.initContainers: initContainers are not handled yet (run their commands before the program, in one command)' },
  { name: 'shareProcessNamespace', text: withSpec('shareProcessNamespace: true'), line: 'shareProcessNamespace error spec.shareProcessNamespace: shareProcessNamespace is not handled yet (delete shareProcessNamespace)' },
  { name: 'restartPolicy', text: withSpec('restartPolicy: always'), line: 'restartPolicy error spec.restartPolicy: restartPolicy must be one of Always, OnFailure, Never; found "always" (did you mean `Always`?)' },
  { name: 'two service accounts', text: withSpec('serviceAccount: a, serviceAccountName: b'), line: 'serviceAccount error spec.serviceAccount: serviceAccount and serviceAccountName differ (delete serviceAccount)' },
  { name: 'a service account that is a path', text: withSpec('serviceAccountName: ../a'), line: 'serviceAccountName error spec.serviceAccountName: serviceAccountName must be a DNS name in lower case; found "../a"' },
  { name: 'a grace period below 0', text: withSpec('terminationGracePeriodSeconds: -1'), line: 'terminationGracePeriodSeconds error spec.terminationGracePeriodSeconds: terminationGracePeriodSeconds must be a whole number from 0 to 3600; found the number -1' },
  { name: 'too many replicas', text: deployment(`{replicas: 501, selector: {matchLabels: {app: web}}, template: ${template}}`), line: 'replicas error spec.replicas: replicas must be a whole number from 0 to 500; found the number 501' },
  { name: 'no selector', text: deployment(`{template: ${template}}`), line: 'spec error spec: the spec needs the field `selector`' },
  { name: 'an empty selector', text: deployment(`{selector: {matchLabels: {}}, template: ${template}}`), line: 'matchLabels error spec.selector.matchLabels: matchLabels is empty (write {matchLabels: {app: NAME}})' },
  { name: 'a selector that the template lacks', text: deployment(`{selector: {matchLabels: {app: api}}, template: ${template}}`), line: 'app error spec.selector.matchLabels.app: the labels of the template lack app: api (add it to spec.template.metadata.labels)' },
  { name: 'matchExpressions', text: deployment(`{selector: {matchLabels: {app: web}, matchExpressions: [{}]}, template: ${template}}`), line: 'matchExpressions error spec.selector.matchExpressions: matchExpressions is not handled yet (write matchLabels)' },
  { name: 'no template', text: deployment('{selector: {matchLabels: {app: web}}}'), line: 'app error spec.selector.matchLabels.app: the labels of the template lack app: web (add it to spec.template.metadata.labels)' },
  { name: 'a bad label in the template', text: deployment('{selector: {matchLabels: {app: web}}, template: {metadata: {labels: {app: web, v: 1}}, spec: {containers: [{name: x, command: [run]}]}}}'), line: 'v error spec.template.metadata.labels.v: the value of label v must be text (write it in quotes: "1")' },
  { name: 'a mistake in the template', text: deployment(`{selector: {matchLabels: {app: web}}, template: ${template.replace('command: [run]', 'image: nginx')}}`), line: `image error spec.template.spec.containers[0].image: an image without a command: weir runs programs of this machine, not images (${form})` },
  { name: 'a Deployment of pods that end', text: deployment(`{selector: {matchLabels: {app: web}}, template: ${template.replace('spec: {', 'spec: {restartPolicy: Never, ')}}`), line: 'restartPolicy error spec.template.spec.restartPolicy: the pods of a Deployment are always restarted (delete restartPolicy, or write a Pod)' },
  { name: 'a slip in a Deployment', text: deployment(`{replica: 2, selector: {matchLabels: {app: web}}, template: ${template}}`), line: 'replica error spec.replica: unknown field `replica`; the spec has replicas, selector, template (did you mean `replicas`?)' },
  { name: 'a name too long for its pods', text: deployment(`{selector: {matchLabels: {app: web}}, template: ${template}}`, `${'a'.repeat(63)}.${'a'.repeat(63)}.${'a'.repeat(63)}.${'a'.repeat(60)}`), line: `name error metadata.name: the pod name ${`${'a'.repeat(63)}.`.repeat(3)}${'a'.repeat(60)}-XXXXX-0 is longer than 253 characters (choose another name)` },
];

describe('a manifest that is refused', () => {
  test.each(refusedFields)('$name', ({ text, line }) => {
    const derived = derive(text);
    expect(lines(text, derived).map((one) => one.replace(/-[a-z0-9]{5}-0 is longer/, '-XXXXX-0 is longer'))).toContain(line);
    expect(derived.pods).toEqual([]);
  });
});

const warnings: readonly { name: string; text: string; line: string }[] = [
  { name: 'nodeName', text: withSpec('nodeName: n'), line: 'nodeName warning spec.nodeName: nodeName changes nothing: there is one node (start several with ./weir up DIR --nodes 2)' },
  { name: 'nodeSelector', text: withSpec('nodeSelector: {a: b}'), line: 'nodeSelector warning spec.nodeSelector: nodeSelector changes nothing: a pod runs where nodeName says, or anywhere' },
  { name: 'setHostnameAsFQDN alone', text: withSpec('setHostnameAsFQDN: true'), line: 'setHostnameAsFQDN warning spec.setHostnameAsFQDN: setHostnameAsFQDN changes nothing without a subdomain' },
  { name: 'runAsGroup', text: withSpec('securityContext: {runAsGroup: 0}'), line: 'runAsGroup warning spec.securityContext.runAsGroup: runAsGroup is not handled yet: a workload runs with the group of its user' },
  { name: 'seccompProfile', text: withSpec('securityContext: {seccompProfile: {type: RuntimeDefault}}'), line: 'seccompProfile warning spec.securityContext.seccompProfile: seccompProfile is not handled yet' },
];

describe('a manifest that runs with a warning', () => {
  test.each(warnings)('$name', ({ text, line }) => {
    const derived = derive(text);
    expect(lines(text, derived)).toEqual([line]);
    expect(derived.pods.length).toBe(1);
  });
});

describe('expand', () => {
  const variables = new Map([['A', '1'], ['B', '$(A)']]);
  test.each([
    ['plain', 'plain'], ['$(A)', '1'], ['x$(A)y$(A)', 'x1y1'], ['$(C)', '$(C)'], ['$$(A)', '$(A)'], ['$$$(A)', '$1'], ['$$$$', '$$'],
    ['$A', '$A'], ['$', '$'], ['$(A', '$(A'], ['$()', '$()'], ['$(B)', '$(A)'], ['a$$b', 'a$b'],
  ])('%s is %s', (text, expected) => { expect(expand(text, variables)).toBe(expected); });
});
