// End to end: every verb as a user types it, in every form it prints; wrong usage; and what workloads do, as the verbs tell it.
import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { parse } from 'yaml';
import { Cluster, pod, policy, type Run } from './cluster.ts';
import { idle, server, type Probe } from './programs.ts';

const fromRoot = (path: string): string => fileURLToPath(new URL(`../${path}`, import.meta.url));
const deployment = (replicas: number, command: readonly string[]): object => ({
  apiVersion: 'apps/v1', kind: 'Deployment', metadata: { name: 'web', namespace: 'shop' },
  spec: {
    replicas, selector: { matchLabels: { app: 'web' } },
    template: { metadata: { labels: { app: 'web' } }, spec: { serviceAccountName: 'seller', terminationGracePeriodSeconds: 0, containers: [{ name: 'web', command }] } },
  },
});

/** What a workload would send to take over the terminal of whoever looks at it. */
const escape = '\x1b]0;owned\x07\x9b2J\u202e';
const files = {
  'namespace.yaml': { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'shop', labels: { env: 'demo' } } },
  'seller.yaml': { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: 'seller', namespace: 'shop' } },
  'web.yaml': deployment(2, server(8080)),
  'clients.yaml': [pod('client', idle, { app: 'client' }, 'shop'), pod('intruder', idle, { app: 'intruder' }, 'shop')],
  'ends.yaml': [
    pod('crashes', ['sh', '-c', 'echo started; exit 3']),
    pod('absent', ['no-such-program']),
    pod('done', ['true'], {}, 'default', { restartPolicy: 'Never' }),
    pod('fails', ['false'], {}, 'default', { restartPolicy: 'Never' }),
  ],
  'pair.yaml': pod('pair', [], {}, 'default', { containers: [{ name: 'front', command: idle }, { name: 'back', command: server(7070) }] }),
  'rude.yaml': pod('rude', [], {}, 'default', { containers: [{ name: 'main', command: ['python3', '-u', '-c', `print(${JSON.stringify(escape)}); import time; time.sleep(100000)`], env: [{ name: 'TITLE', value: escape }] }] }),
  'policies.yaml': [
    policy('web', { endpointSelector: { matchLabels: { app: 'web' } }, ingress: [{ fromEndpoints: [{ matchLabels: { app: 'client' } }] }] }, 'shop'),
    policy('later', { endpointSelector: { matchLabels: { app: 'client' } }, egress: [{ toGroups: [{ aws: { region: 'eu' } }] }] }, 'shop'),
    { apiVersion: 'cilium.io/v2', kind: 'CiliumClusterwideNetworkPolicy', metadata: { name: 'no-udp' }, spec: { endpointSelector: { matchLabels: { app: 'web' } }, enableDefaultDeny: { ingress: false }, ingressDeny: [{ fromEntities: ['all'], toPorts: [{ ports: [{ port: '9999', protocol: 'UDP' }] }] }] } },
  ],
};

interface Workload { readonly key: string; readonly name: string; readonly uid: string; readonly phase: string }
interface FlowJson { readonly flow: { readonly uuid: string } }

let cluster: Cluster;
let cases: string;
const workloads = (): Workload[] => cluster.json<Workload[]>('workload', 'list');
const replicas = (): Workload[] => workloads().filter((row) => row.name.startsWith('web-'));
const phaseOf = (key: string): string | undefined => workloads().find((row) => row.key === key)?.phase;
const words = (line: string): string[] => line.split(' ').filter((word) => word !== '');

/** Side by side with others, for there are many. */
async function typed(...line: string[]): Promise<Run> {
  return new Promise((resolve) => {
    execFile(fromRoot('weir'), line, { maxBuffer: 64 << 20 }, (error, out, told) => { resolve({ code: error === null ? 0 : Number(error.code), out, error: told }); });
  });
}

beforeAll(async () => {
  cases = mkdtempSync(join(tmpdir(), 'weir-cases-'));
  cluster = await Cluster.start('verbs', files);
  const { ipv4, ipv6 } = cluster.address(replicas()[0]!.key);
  const probes: Probe[] = [{ kind: 'tcp', to: ipv4, port: 8080 }, { kind: 'tcp', to: ipv6, port: 8080 }];
  await cluster.until('the server listens', () => cluster.probe('shop/client', probes).every((answer) => answer === 'open'));
  expect(cluster.probe('shop/intruder', probes)).toEqual(['silent', 'silent']);
  await cluster.until('a crash is met again', () => phaseOf('default/crashes') === 'CrashLoopBackOff');
}, 120_000);
afterAll(async () => {
  await cluster.close();
  rmSync(cases, { recursive: true });
});

/** A verb that prints a table, and the same rows as JSON and as YAML. */
const listings: { words: string; table: RegExp; before?: () => void }[] = [
  { words: 'status', table: /policies +2 enforced, 1 refused[^]* dropped: \d+ Policy denied \(ingress\)/ },
  { words: 'endpoint list', table: /^ *ID +KEY +IDENTITY +IPV4 +IPV6/ },
  { words: 'endpoint get shop/client', table: /labels +k8s:app=client\n/ },
  { words: 'identity list', table: /k8s:io.cilium.k8s.policy.serviceaccount=seller/ },
  { words: 'identity get 256', table: /^FIELD +VALUE\nid +256\n/ },
  { words: 'ipcache list', table: /0\.0\.0\.0\/0 +9 +world/ },
  { words: 'ipcache get ::/0', table: /identity +10/ },
  { words: 'policy list', table: /CiliumNetworkPolicy +shop +later +refused.*toGroups/ },
  { words: 'policy get web', table: /state +enforced, selects 2 endpoints, since [^]*spec\.ingress\[0\] +allow +[1-9]\d* +\d+ +\S+Z +\S+:\d+\n[^]*default deny, ingress +deny +[1-9]/ },
  { words: 'policy audit-report', table: /^no policy is audited\n/ },
  { words: 'policy get later', table: /state +refused/ },
  { words: 'db list', table: /policies +3 / },
  ...['manifests', 'problems', 'pods', 'workloads', 'endpoints', 'identities', 'ipcache', 'policies', 'node-addresses', 'netdevs'].map((name) => ({ words: `db show ${name}`, table: /^ *[A-Z]/ })),
  { words: 'bpf policy', table: /shop\/web-\S+ +ingress +\d+ +the first .*allow web spec\.ingress\[0\]/ },
  { words: 'bpf ct', table: /TCP +10\.\S+ +\d+ +10\.\S+ +8080/, before: () => { connect(); } },
  { words: 'bpf drops', table: /Policy denied +ingress +[1-9]\d* +\d+\n/ },
  { words: 'bpf quota', table: /shop\/client +\d+ +\d+ +0\n/ },
  { words: 'bpf ipcache', table: /::\/0 +10 / },
  { words: 'workload list', table: /^NAMESPACE +NAME +PHASE +READY +RESTARTS +WHY/ },
  { words: 'explain', table: /shop\/intruder -> shop\/web-\S+ 8080\/TCP, ingress of shop\/web-\S+: denied by default/ },
  { words: 'check', table: /programs load +ok/ },
];

/** A connection that is over is swept away soon. */
const connect = (): void => { cluster.probe('shop/client', [{ kind: 'tcp', to: cluster.address(replicas()[0]!.key).ipv4, port: 8080 }]); };

describe.each(listings)('$words', ({ words: line, table, before }) => {
  test('a table, JSON and YAML of the same', async () => {
    before?.();
    const agent = line === 'check' ? [] : ['--instance', cluster.instance.name];
    const [text, json, yaml] = await Promise.all([[], ['-o', 'json'], ['-o', 'yaml']].map((form) => typed(...words(line), ...agent, ...form))) as [Run, Run, Run];
    expect([text, json, yaml].map(({ code, error }) => [code, error])).toEqual([[0, ''], [0, ''], [0, '']]);
    expect(text.out).toMatch(table);
    expect(text.out).not.toMatch(/undefined|\[object|NaN/);
    const fields = (answer: unknown): string[] => Object.keys(Array.isArray(answer) ? answer[0] as object : answer as object);
    expect(fields(parse(yaml.out))).toEqual(fields(JSON.parse(json.out)));
  });
});

test('a column of numbers stands to the right, and every line of a table below its head', () => {
  const [head, ...rows] = cluster.weir('db', 'list').out.trimEnd().split('\n');
  const end = head!.indexOf('ROWS') + 'ROWS'.length;
  for (const row of rows) expect(row.slice(0, end)).toMatch(/\d$/);
});

/** Which flows, in which form; `lines` is how many at least. */
const observed: { name: string; words: string; every?: RegExp; lines?: number }[] = [
  { name: 'the last', words: '--last 3', every: /^\w{3} \d\d \d\d:\d\d:\d\d\.\d{3}: /, lines: 3 },
  { name: 'since', words: '--since 5m', lines: 4 },
  { name: 'since: before anything', words: '--since 1ms', lines: 0 },
  { name: 'verdict', words: '--verdict DROPPED', every: /shop\/intruder:\d+ \(ID:\d+\) -> shop\/web-\S+:8080 \(ID:\d+\) Policy denied DROPPED/, lines: 2 },
  { name: 'verdict, in small letters', words: '--verdict dropped', every: /DROPPED/, lines: 2 },
  { name: 'policy names', words: '--verdict DROPPED --print-policy-names', every: /INGRESS DENIED BY shop\/web/, lines: 2 },
  { name: 'namespace', words: '--namespace shop', every: /shop\//, lines: 4 },
  { name: 'namespace: none such', words: '--namespace nowhere', lines: 0 },
  { name: 'pod', words: '--pod shop/client', every: /shop\/client:/, lines: 2 },
  { name: 'pod in a namespace', words: '--namespace shop --pod intruder', every: /shop\/intruder:/, lines: 2 },
  { name: 'from pod', words: '--from-pod shop/intruder', every: /shop\/intruder:\d+ \(ID:\d+\) ->/, lines: 2 },
  { name: 'to pod', words: '--to-pod shop/web', every: /-> shop\/web-|<- shop\/client/, lines: 2 },
  { name: 'from pod to pod', words: '--from-pod shop/intruder --to-pod shop/web --verdict FORWARDED', lines: 0 },
  { name: 'label', words: '--label app=intruder', every: /intruder/, lines: 2 },
  { name: 'label set', words: '--from-label app!=intruder,app!=web', every: /client/, lines: 2 },
  { name: 'address', words: '--ip ::/0 --ip-translation=false', every: /\[fd77:/, lines: 2 },
  { name: 'port', words: '--port 8080', every: /:8080/, lines: 4 },
  { name: 'port: another', words: '--port 5432', lines: 0 },
  { name: 'protocol', words: '--protocol tcp', every: /TCP Flags/, lines: 4 },
  { name: 'protocol: another', words: '--protocol sctp', lines: 0 },
  { name: 'identity: a reserved name', words: '--identity world', lines: 0 },
  { name: 'not', words: '--not --pod shop/intruder --pod shop/client', every: /shop\/client/, lines: 2 },
  { name: 'compact', words: '--last 1 -o compact', every: / \(TCP Flags: /, lines: 1 },
  { name: 'dict', words: '--last 1 -o dict', every: /^ *[A-Z]+: /, lines: 6 },
  { name: 'table', words: '--last 2 -o table', every: /^TIMESTAMP|^\w{3} \d\d /, lines: 3 },
  { name: 'json', words: '--last 2 -o json', every: /^\{"flow":\{.*"uuid":".*\}$/, lines: 2 },
  { name: 'jsonpb', words: '--last 2 -o jsonpb', every: /^\{"flow":\{.*"uuid":".*\}$/, lines: 2 },
];

test.each(observed)('observe: $name', ({ words: line, every, lines = 0 }) => {
  const { code, out, error } = cluster.weir('observe', ...words(line));
  expect([code, error]).toEqual([0, '']);
  const found = out.split('\n').filter((text) => text !== '');
  if (lines === 0) expect(found).toEqual([]);
  else expect(found.length).toBeGreaterThanOrEqual(lines);
  if (every !== undefined) for (const text of found) expect(text).toMatch(every);
});

describe('explain', () => {
  test('the last drop in words, and the smallest policy that would allow it', () => {
    const { code, out } = cluster.weir('explain', '--last-drop');
    expect(code).toBe(0);
    for (const part of ['shop/intruder has the labels app=intruder', 'CiliumNetworkPolicy shop/web', 'Nearest rule', 'This policy would allow it']) expect(out).toContain(part);
  });
  test('only the policy', () => {
    const { code, out } = cluster.weir('explain', '--yaml');
    expect([code, parse(out)]).toMatchObject([0, { kind: 'CiliumNetworkPolicy', metadata: { namespace: 'shop' } }]);
    const { out: verdict } = cluster.weir('explain', '-o', 'json');
    expect((JSON.parse(verdict) as { yaml: string }).yaml).toBe(out);
  });
  test('any flow by its uuid', () => {
    const { flow } = JSON.parse(cluster.weir('observe', '--from-pod', 'shop/client', '--last', '1', '-o', 'json').out) as FlowJson;
    const { code, out } = cluster.weir('explain', '--uuid', flow.uuid);
    expect([code, out]).toEqual([0, expect.stringMatching(/ingress of shop\/web-\S+: allowed/)]);
  });
});

const surprises = fromRoot('agent/policy/testdata/surprises.jsonl');
const offline: { name: string; words: string; code: number; out: RegExp; error?: RegExp }[] = [
  { name: 'validate a folder', words: `policy validate ${fromRoot('examples/shop')}`, code: 0, out: /^$/, error: /^5 policies checked, 0 errors\n$/ },
  { name: 'validate: JSON', words: `policy validate ${fromRoot('examples/shop')} -o json`, code: 0, out: /"policies": 5,\n {2}"errors": 0/ },
  { name: 'validate: no such file', words: 'policy validate no-such-file.yaml', code: 1, out: /no-such-file\.yaml:1:1: ENOENT/, error: /no policies/ },
  { name: 'validate cases', words: `policy validate --cases ${fromRoot('agent/policy/testdata/cnp-valid.jsonl')}`, code: 0, out: /^\{"id":".*","valid":(true|false),/ },
  { name: 'verdict', words: `policy verdict --cases ${surprises}`, code: 0, out: /^\{"id":"surprise-01","flow":0,"verdict":"denied"\}\n/ },
  { name: 'selector', words: `policy selector --cases ${fromRoot('agent/policy/testdata/selectors.jsonl')}`, code: 0, out: /^\{"id":"sel-\d+","matches":(true|false)\}\n/ },
];

test.each(offline)('offline: $name', ({ words: line, code, out, error }) => {
  const run = cluster.on('node', fromRoot('weir'), ...words(line));
  expect([run.code, run.out]).toEqual([code, expect.stringMatching(out)]);
  if (error !== undefined) expect(run.error).toMatch(error);
});

test('policy validate names file, line and field of each error', () => {
  const file = join(cases, 'wrong.yaml');
  writeFileSync(file, 'apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: p}\nspec:\n  endpointSelector: {}\n  ingres: [{}]\n');
  const { code, out, error } = cluster.on('node', fromRoot('weir'), 'policy', 'validate', file);
  expect([code, out, error]).toEqual([1, expect.stringMatching(/wrong\.yaml:6:3: .*ingres/), '1 policy checked, 1 error\n']);
});

/** What a user can get wrong: never exit code 0, never a stack trace, always what to do next. */
const wrong: { name: string; words: string; code?: number; error: RegExp }[] = [
  { name: 'an unknown verb', words: 'endpont', code: 2, error: /unknown command 'endpont'; did you mean endpoint\?\n {2}see \.\/weir --help/ },
  { name: 'an unknown verb below a noun', words: 'endpoint lst', code: 2, error: /did you mean list\?\n {2}see \.\/weir endpoint --help/ },
  { name: 'an unknown flag', words: 'endpoint list --colour', code: 2, error: /unknown option '--colour'\n {2}see \.\/weir endpoint list --help/ },
  { name: 'an unknown form', words: 'endpoint list -o xml', code: 2, error: /Allowed choices are table, json, yaml\.\n {2}see/ },
  { name: 'one argument too many', words: 'status now', code: 2, error: /too many arguments.*\n {2}see/ },
  { name: 'an unknown table', words: 'db show nothing', error: /no table nothing\n {2}one of: manifests, problems, pods,/ },
  { name: 'no table', words: 'db show', code: 2, error: /missing required argument 'table'\n {2}see/ },
  ...['endpoint', 'identity', 'ipcache', 'policy'].map((noun) => ({ name: `an unknown ${noun}`, words: `${noun} get nobody`, error: new RegExp(`no ${noun} "nobody"\\n  see ./weir ${noun} list`) })),
  { name: 'an unknown map', words: 'bpf nothing', code: 2, error: /unknown command 'nothing'.*\n {2}see/ },
  { name: 'explain: an unknown flow', words: 'explain --uuid nobody', error: /no flow nobody among the last ones\n {2}see \.\/weir observe -o json/ },
  { name: 'observe: an unknown flag', words: 'observe --colour', error: /unknown flag: --colour\n {2}see/ },
  { name: 'observe: an unknown verdict', words: 'observe --verdict MAYBE', error: /unknown verdict: MAYBE\n {2}one of: .*FORWARDED, DROPPED/ },
  { name: 'observe: no number', words: 'observe --last many', error: /--last many: expected a number of flows\n {2}for example --last 20/ },
  { name: 'observe: no time', words: 'observe --since yesterday', error: /neither a duration nor a date\n {2}use for example 5m/ },
  { name: 'observe: no address', words: 'observe --ip nowhere', error: /"nowhere" is neither an IP address nor a CIDR/ },
  { name: 'observe: no port', words: 'observe --port http', error: /"http" is no port/ },
  { name: 'observe: no selector', words: 'observe --label !!', error: /invalid .*label filter/ },
  { name: 'observe: an unknown protocol', words: 'observe --protocol xmpp', error: /known are icmp/ },
  { name: 'observe: --not at the end', words: 'observe --not', error: /--not stands before a filter flag\n {2}for example/ },
  { name: 'logs of nobody', words: 'workload logs nobody', error: /no workload default\/nobody\n {2}see \.\/weir workload list/ },
  { name: 'logs of an unknown container', words: 'workload logs default/pair -c middle', error: /no container "middle" in default\/pair\n {2}use --container with one of: front, back/ },
  { name: 'exec in nobody', words: 'workload exec nobody -- id', error: /no workload default\/nobody\n/ },
  { name: 'exec in an unknown container', words: 'workload exec default/pair -c middle -- id', error: /one of: front, back/ },
  { name: 'exec in what has ended', words: 'workload exec default/done -- id', error: /default\/done does not run: it is Completed\n {2}see/ },
  { name: 'exec of an unknown program', words: 'workload exec shop/client -- no-such-program', code: 127, error: /no-such-program/ },
  { name: 'exec of nothing', words: 'workload exec shop/client', code: 2, error: /missing required argument 'command'\n {2}see/ },
  { name: 'run without a name', words: 'workload run -- id', code: 2, error: /'--name <name>' not specified\n {2}see/ },
  { name: 'run under a name that is no DNS label', words: 'workload run --name Me -- id', error: /--name "Me": expected at most 63.*\n {2}for example/ },
  { name: 'run under a name that is taken', words: 'workload run --namespace shop --name client -- id', error: /there is a workload shop\/client already\n {2}choose another/ },
  { name: 'run as root', words: 'workload run --name me --user 0 -- id', error: /runs no workload as root\n {2}start it with .*--allow-root/ },
  { name: 'run with a label that is no pair', words: 'workload run --name me --label app -- id', error: /--label app: expected KEY=VALUE\n {2}for example/ },
  { name: 'delete of nobody', words: 'workload delete nobody', error: /no workload default\/nobody\n {2}see/ },
  { name: 'delete of what a file holds', words: 'workload delete shop/client', error: /shop\/client stands in .*clients\.yaml:1\n {2}remove it there/ },
  { name: 'validate nothing', words: 'policy validate', code: 2, error: /name a file or a folder\n {2}see/ },
  { name: 'verdict of no file', words: 'policy verdict --cases nowhere.jsonl', error: /cases of nowhere\.jsonl: ENOENT.*\n {2}one JSON object a line/ },
  { name: 'verdict of what are no cases', words: `policy verdict --cases ${fromRoot('weir')}`, error: /is not valid JSON\n {2}one JSON object a line/ },
];

test.each(wrong)('refused: $name', ({ words: line, code = 1, error }) => {
  const offlineVerb = /^policy (validate|verdict|selector)/.test(line);
  const run = offlineVerb ? cluster.on('node', fromRoot('weir'), ...words(line)) : cluster.weir(...words(line));
  expect([run.code, run.error]).toEqual([code, expect.stringMatching(error)]);
  expect(run.error).not.toMatch(/\n {4}at /);
});

test('an instance that does not run is named with the command that starts it', () => {
  for (const line of ['status', 'explain', 'observe', 'workload list', 'bpf ct']) {
    const { code, error } = cluster.on('node', fromRoot('weir'), ...words(line), '--instance', 'nobody');
    expect([code, error]).toEqual([1, expect.stringMatching(/no agent .*nobody.*\n {2}start one with: \.\/weir up DIR --instance nobody\n/)]);
  }
});

test('the help of every verb shows an example', async () => {
  const commandsOf = (help: string): string[] => [...(help.split('\nCommands:\n')[1]?.split('\n\n')[0] ?? '').matchAll(/^ {2}([a-z0-9-]+)/gm)].map(([, name]) => name!).filter((name) => name !== 'help');
  const walk = async (path: readonly string[]): Promise<string[]> => {
    const { code, out } = await typed(...path, '--help');
    expect([path.join(' '), code, out]).toEqual([path.join(' '), 0, expect.stringMatching(/\nExample:\n {2}(sudo |source <\()?\.\/weir/)]);
    return [path.join(' '), ...(await Promise.all(commandsOf(out).map((name) => walk([...path, name])))).flat()];
  };
  expect(await walk([])).toEqual(expect.arrayContaining(['', 'bpf ct', 'check', 'db show', 'down', 'explain', 'identity get', 'observe', 'policy verdict', 'status', 'up', 'workload exec']));
}, 60_000);

describe('workloads', () => {
  test('run, logs, exec and delete by hand', async () => {
    const run = cluster.weir('workload', 'run', '--name', 'byhand', '--namespace', 'shop', '--label', 'app=client', '--env', 'GREETING=hello', '--', 'sh', '-c', 'echo $GREETING; sleep 1000');
    expect([run.code, run.out]).toEqual([0, 'shop/byhand starts: see ./weir workload list\n']);
    await cluster.until('it speaks', () => cluster.weir('workload', 'logs', 'shop/byhand').out.endsWith(' stdout hello\n'));
    expect(cluster.exec('shop/byhand', 'sh', '-c', 'id -u; exit 5')).toMatchObject({ code: 5, out: expect.stringMatching(/^[1-9]\d*\n$/) });
    expect(cluster.json<{ labels: string[] }>('endpoint', 'get', 'shop/byhand').labels).toContain('k8s:app=client');
    expect(cluster.weir('workload', 'delete', 'shop/byhand')).toMatchObject({ code: 0, out: 'shop/byhand deleted\n' });
    await cluster.until('it is gone', () => phaseOf('shop/byhand') === undefined);
  });

  const ends: { key: string; row: RegExp }[] = [
    { key: 'default/crashes', row: /crashes +CrashLoopBackOff +no +\d+ +exit code 3/ },
    { key: 'default/absent', row: /absent +CrashLoopBackOff +no +\d+ +command not found: no-such-program/ },
    { key: 'default/done', row: /done +Completed +no +0/ },
    { key: 'default/fails', row: /fails +Failed +no +0 +exit code 1/ },
    { key: 'default/pair', row: /pair +Running +yes +0/ },
  ];
  test.each(ends)('$key is listed with its state and the reason', async ({ row }) => {
    await cluster.until(String(row), () => row.test(cluster.weir('workload', 'list').out), 10_000);
  });

  test('what a workload has printed stays readable after it crashed', () => {
    expect(cluster.weir('workload', 'logs', 'default/crashes', '--tail', '1').out).toMatch(/^\S+Z stdout started\n$/);
  });

  test('the containers of a pod share localhost', async () => {
    const front = (): Run => cluster.weir('workload', 'exec', 'default/pair', '-c', 'front', '--', 'python3', '-c', 'import socket; print(socket.create_connection(("localhost", 7070), timeout=2).recv(100).decode().strip())');
    await cluster.until('the server listens', () => front().code === 0);
    expect(front().out).toMatch(/^from (127\.0\.0\.1|::1)\n$/);
  });

  test('control characters of a workload are shown, not sent', async () => {
    const log = (): string => cluster.weir('workload', 'logs', 'default/rude').out;
    await cluster.until('it speaks', () => log() !== '');
    expect(log()).toContain('\\x1b]0;owned\\x07\\x9b2J\\u202e');
    const env = (rows: unknown): string | undefined => (rows as { key: string; containers: { env: Record<string, string> }[] }[]).find(({ key }) => key === 'default/rude')!.containers[0]!.env['TITLE'];
    expect([env(cluster.json('db', 'show', 'pods')), env(parse(cluster.weir('db', 'show', 'pods', '-o', 'yaml').out))]).toEqual([escape, escape]);
    for (const line of ['workload logs default/rude', 'db show pods', 'db show workloads', 'db show pods -o yaml', 'db show pods -o json', 'db show manifests', 'db show manifests -o yaml', 'workload list']) {
      // eslint-disable-next-line no-control-regex
      expect([line, cluster.weir(...words(line)).out]).toEqual([line, expect.not.stringMatching(/[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]/)]);
    }
  });
});

describe('a Deployment', () => {
  const scaled = async (count: number): Promise<void> => {
    cluster.write('web.yaml', deployment(count, server(8080)));
    await cluster.until(`${count} run`, () => replicas().length === count && replicas().every((row) => row.phase === 'Running'));
  };

  test('all replicas run under its service account', () => {
    expect(replicas().map((row) => row.phase)).toEqual(['Running', 'Running']);
    expect(cluster.json<{ labels: string[] }>('endpoint', 'get', replicas()[0]!.key).labels).toContain('k8s:io.cilium.k8s.policy.serviceaccount=seller');
  });

  test('a changed number of replicas starts and ends only the difference', async () => {
    const before = replicas().map((row) => row.uid);
    await scaled(3);
    expect(replicas().map((row) => row.uid)).toEqual(expect.arrayContaining(before));
    await scaled(1);
    expect(before).toContain(replicas()[0]!.uid);
    await scaled(2);
  });

  test('a changed command starts all replicas anew', async () => {
    const before = replicas().map((row) => row.uid);
    cluster.write('web.yaml', deployment(2, server(8080, 9090)));
    await cluster.until('all are new', () => replicas().length === 2 && replicas().every((row) => row.phase === 'Running' && !before.includes(row.uid)));
    await cluster.until('the new command answers', () => cluster.probe('shop/client', [{ kind: 'tcp', to: cluster.address(replicas()[0]!.key).ipv4, port: 9090 }])[0] === 'open');
  });

  test('`exec` and `logs` take the name of the Deployment for one of its replicas', () => {
    expect(cluster.exec('shop/web', 'hostname').out.trim()).toMatch(/^web-/);
  });

  test('a removed file ends them', async () => {
    cluster.remove('web.yaml');
    await cluster.until('none is left', () => replicas().length === 0);
    expect(existsSync(join(cluster.dir, 'web.yaml'))).toBe(false);
  });
});
