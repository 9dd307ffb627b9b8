// weir observe without an agent: the recorded flag sets of Hubble with their exit codes, filters and flows, and its two text forms.
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { Command } from 'commander';
import { messageOf } from '../agent/errors.ts';
import { fromJson } from '../hubble/json.ts';
import { Observer, serveHubble } from '../hubble/observer.ts';
import { getFlowsResponseMessage } from '../hubble/proto.ts';
import { flowOf, servedOf } from '../hubble/testing.ts';
import type { GetFlowsResponse } from '../hubble/types.ts';
import { register } from './observe.ts';
import { Recording } from './recording.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const flowsFile = join(root, 'hubble/testdata/flows.jsonl');
const testdata = (name: string): string => readFileSync(join(root, 'hubble/testdata', name), 'utf8');

interface Outcome { readonly rc: number; readonly err: string; readonly out: string }

async function run(args: readonly string[], input: string | null = flowsFile): Promise<Outcome> {
  const program = new Command().exitOverride().configureOutput({ writeErr: () => undefined });
  let out = '';
  let err = '';
  register(program, { write: (text) => { out += text; }, writeError: (text) => { err += text; }, isTerminal: false, drained: () => undefined });
  for (const command of program.commands) command.exitOverride();
  try {
    await program.parseAsync(['observe', ...(input === null ? [] : ['--input-file', input]), ...args], { from: 'user' });
    return { rc: 0, err, out };
  } catch (error) {
    return { rc: 1, err: messageOf(error), out };
  }
}

interface Recorded { args: string[]; rc: number; err: string; rawFilters: string; uuids: string[] }
const recorded = testdata('observe.jsonl').trim().split('\n').map((line) => JSON.parse(line) as Recorded).map((one) => ({ ...one, name: one.args.join(' ') }));

describe('recorded flag sets', () => {
  test.each(recorded)('$name', async ({ args, rc, err, rawFilters, uuids }) => {
    const outcome = await run([...args, '-o', 'json']);
    expect({ rc: outcome.rc, err: outcome.err }).toEqual({ rc, err });
    expect(outcome.out.split('\n').filter((line) => line !== '').map((line) => (JSON.parse(line) as { flow: { uuid: string } }).flow.uuid)).toEqual(uuids);
    const raw = await run([...args, '--print-raw-filters']);
    if (rawFilters !== '') expect(raw).toEqual({ rc: 0, err: '', out: rawFilters });
  });
});

describe('the same of a binary recording', () => {
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'observe-'));
    const recording = new Recording(join(folder, 'flows.bin'), { form: 'binary' });
    for (const line of testdata('flows.jsonl').trim().split('\n')) recording.add(fromJson<GetFlowsResponse>(getFlowsResponseMessage, JSON.parse(line)));
    recording.finish();
  });
  afterAll(() => { rmSync(folder, { recursive: true }); });

  test.each(recorded)('$name', async ({ args, rc, err, uuids }) => {
    const outcome = await run([...args, '-o', 'json'], join(folder, 'flows.bin'));
    expect({ rc: outcome.rc, err: outcome.err }).toEqual({ rc, err });
    expect(outcome.out.split('\n').filter((line) => line !== '').map((line) => (JSON.parse(line) as { flow: { uuid: string } }).flow.uuid)).toEqual(uuids);
  });

  test.each(['compact', 'dict', 'json', 'table'])('and -o %s is as of the lines', async (form) => {
    const args = ['-o', form, '--time-format', 'RFC3339Nano', '--print-policy-names', '--print-node-name'];
    expect(await run(args, join(folder, 'flows.bin'))).toEqual(await run(args));
  });
});

describe('recorded outputs, by the real command in UTC', () => {
  test.each(['compact', 'dict'])('%s', (form) => {
    const out = execFileSync(process.execPath, ['cli/main.ts', 'observe', '--input-file', flowsFile, '-o', form], { cwd: root, encoding: 'utf8', env: { ...process.env, TZ: 'UTC' } });
    expect(out).toBe(testdata(`observe-${form}.txt`));
  });
});

test.each<{ name: string; args: string[]; code: number }>([
  { name: 'a flag without its value', args: ['--last'], code: 1 }, { name: 'a form that is none', args: ['-o', 'nope'], code: 1 }, { name: 'help', args: ['--help'], code: 0 },
])('exit code of $name, by the real command', ({ args, code }) => {
  for (const verb of [['observe'], ['hubble', 'observe']]) expect(spawnSync(process.execPath, ['cli/main.ts', ...verb, ...args], { cwd: root }).status).toBe(code);
});

const flags: { name: string; args: string[]; raw: string[] }[] = [
  { name: 'namespace and pod', args: ['-n', 'shop', '--pod', 'web'], raw: ['{"source_pod":["shop/web"]}', '{"destination_pod":["shop/web"]}'] },
  { name: 'namespace and service', args: ['--from-namespace', 'shop', '--from-service', 'web'], raw: ['{"source_service":["shop/web"]}'] },
  { name: 'two namespaces', args: ['--to-namespace', 'a', '--to-namespace', 'b'], raw: ['{"destination_pod":["a/","b/"]}'] },
  { name: 'all namespaces', args: ['-A'], raw: ['{"source_pod":["/"]}', '{"destination_pod":["/"]}'] },
  { name: 'one end split, the other fixed', args: ['--pod', 'a', '--to-port', '80'], raw: ['{"source_pod":["a"],"destination_port":["80"]}', '{"destination_pod":["a"],"destination_port":["80"]}'] },
  { name: 'trace sub type', args: ['-t', 'trace:to-stack'], raw: ['{"event_type":[{"type":4,"match_sub_type":true,"sub_type":3}]}'] },
  { name: 'identity by name and number', args: ['--from-identity', 'world', '--from-identity', '1001'], raw: ['{"source_identity":[2,1001]}'] },
  { name: 'workload of a kind', args: ['--from-workload', 'Deployment/'], raw: ['{"source_workload":[{"kind":"Deployment"}]}'] },
  { name: 'drop reason', args: ['--drop-reason-desc', 'policy_deny'], raw: ['{"drop_reason_desc":["POLICY_DENY"]}'] },
  { name: 'both families', args: ['-4', '-6'], raw: ['{"ip_version":["IPv4","IPv6"]}'] },
  { name: 'encryption', args: ['--unencrypted'], raw: ['{"encrypted":[false]}'] },
  { name: 'a quote in a value', args: ['--label', 'a\'b'], raw: ['{"source_label":["a\'\'b"]}', '{"destination_label":["a\'\'b"]}'] },
  { name: 'CEL', args: ['--cel-expression', 'true'], raw: ['{"experimental":{"cel_expression":["true"]}}'] },
  { name: 'a cluster', args: ['--cluster', 'east'], raw: ['{"source_cluster_name":["east"]}', '{"destination_cluster_name":["east"]}'] },
  { name: 'clusters of both ends', args: ['--from-cluster', 'east', '--to-cluster', 'west'], raw: ['{"source_cluster_name":["east"],"destination_cluster_name":["west"]}'] },
  { name: 'all namespaces of both ends', args: ['--from-all-namespaces', '--to-all-namespaces'], raw: ['{"source_pod":["/"],"destination_pod":["/"]}'] },
  { name: 'a source port', args: ['--from-port', '80'], raw: ['{"source_port":["80"]}'] },
  { name: 'a name it goes to', args: ['--to-fqdn', 'a.*'], raw: ['{"destination_fqdn":["a.*"]}'] },
  { name: 'a URL', args: ['--http-url', '^/x'], raw: ['{"http_url":["^/x"]}'] },
  { name: 'traces', args: ['--ip-trace-id', '7', '--trace-id', 'abc'], raw: ['{"trace_id":["abc"],"ip_trace_id":["7"]}'] },
  { name: 'a service of either end', args: ['--service', 'shop/web'], raw: ['{"source_service":["shop/web"]}', '{"destination_service":["shop/web"]}'] },
  { name: 'identity and label it goes to', args: ['--to-identity', 'host', '--to-label', 'app=web'], raw: ['{"destination_label":["app=web"],"destination_identity":[1]}'] },
  { name: 'a workload of either end', args: ['--workload', 'Deployment/web'], raw: ['{"source_workload":[{"name":"web","kind":"Deployment"}]}', '{"destination_workload":[{"name":"web","kind":"Deployment"}]}'] },
  { name: 'as Go writes what is on or off', args: ['--ipv4=true', '--encrypted=false', '--ipv6=1', '--unencrypted=F'], raw: ['{"ip_version":["IPv4","IPv6"]}'] },
  { name: 'the word flows', args: ['--verdict', 'dropped', 'flows'], raw: ['{"verdict":["DROPPED"]}'] },
];

const refused: { name: string; args: string[]; says: RegExp }[] = [
  { name: 'an unknown flag', args: ['--nope', '3'], says: /^unknown flag: --nope$/ },
  { name: 'another kind of event', args: ['nope'], says: /only flows, agent-events, debug-events/ },
  { name: 'first and last', args: ['--first', '1', '--last', '1'], says: /--first and --last cannot be combined/ },
  { name: 'first and follow', args: ['--first', '1', '-f'], says: /--first and --follow/ },
  { name: 'last and all', args: ['--all', '--last', '1'], says: /--last and --all/ },
  { name: 'a table that follows', args: ['-f', '-o', 'table'], says: /-o table and --follow/ },
  { name: 'a field mask for text', args: ['--field-mask', 'time'], says: /--field-mask and -o compact/ },
  { name: 'a field that flows do not have', args: ['--field-mask', 'time.x', '-o', 'json'], says: /no field "time.x"/ },
  { name: 'a number', args: ['--last', 'x'], says: /x: expected a number/ },
  { name: 'a time', args: ['--since', 'yesterday'], says: /--since yesterday: neither a duration nor a date/ },
  { name: 'a verdict', args: ['--verdict', 'MAYBE'], says: /"MAYBE" for "--verdict" flag: unknown verdict/ },
  { name: 'an identity', args: ['--identity', 'nobody'], says: /"--identity" flag: nobody is neither/ },
  { name: 'a type', args: ['-t', 'x'], says: /"-t, --type" flag: unknown type x/ },
  { name: 'an allow list that is no JSON', args: ['--allowlist', '{'], says: /"--allowlist" flag/ },
  { name: 'an allow list with an unknown field', args: ['--allowlist', '{"nope":1}'], says: /"--allowlist" flag.*nope/ },
  { name: 'pod with undirected namespace', args: ['--from-pod', 'a', '-n', 'b'], says: /--namespace and --from-pod cannot/ },
  { name: 'a namespace twice', args: ['--from-pod', 'x/a', '--from-namespace', 'b'], says: /x\/a names its namespace already/ },
  { name: '--not before nothing', args: ['--not'], says: /--not stands before a filter flag/ },
  { name: 'a default mask that is neither on nor off', args: ['--use-default-field-masks', 'maybe'], says: /--use-default-field-masks maybe: expected true or false/ },
  { name: 'a file and --port-forward', args: ['--port-forward'], says: /--input-file and --port-forward cannot be combined/ },
  { name: 'a group of --top', args: ['--top', 'colour'], says: /Allowed choices are/ },
  { name: '--explain of a file', args: ['--explain'], says: /--explain asks the agent of this machine/ },
  { name: 'encrypted and unencrypted', args: ['--encrypted', '--unencrypted'], says: /cannot be combined/ },
];

describe('flags', () => {
  test.each(flags)('$name', async ({ args, raw }) => {
    expect(await run([...args, '--print-raw-filters'])).toEqual({ rc: 0, err: '', out: `allowlist:\n${raw.map((line) => `    - '${line}'\n`).join('')}` });
  });

  test.each(refused)('refuses $name', async ({ args, says }) => {
    const { rc, err } = await run(args);
    expect(rc).toBe(1);
    expect(err).toMatch(says);
  });

  test('since and until', async () => {
    const { out } = await run(['--since', '2026-09-01T10:00:10Z', '--until', '2026-09-01T10:00:12.5Z', '--field-mask', 'uuid', '-o', 'json']);
    expect(out.trim().split('\n').map((line) => (JSON.parse(line) as { flow: object }).flow)).toEqual([{ uuid: 'u-0010' }, { uuid: 'u-0011' }, { uuid: 'u-0012' }]);
  });

  test.each<{ name: string; args: string[]; names: boolean }>([
    { name: 'names', args: [], names: true }, { name: 'asked for', args: ['--ip-translation'], names: true }, { name: 'as Go writes it', args: ['--ip-translation=true'], names: true },
    { name: 'addresses', args: ['--ip-translation=false'], names: false }, { name: 'in two words', args: ['--ip-translation', 'false'], names: false },
  ])('--ip-translation: $name', async ({ args, names }) => { expect((await run([...args, '--uuid', 'u-0000', '--experimental-use-default-field-masks'])).out.includes('default/')).toBe(names); });

  test('no agent: what to do', async () => {
    const program = new Command();
    register(program);
    await expect(program.parseAsync(['observe', '--instance', 'nobody'], { from: 'user' })).rejects.toMatchObject({ mend: 'start one with: ./weir up DIR --instance nobody' });
  });
});

describe('from a server', () => {
  test('flows, a refused filter, a server that went away', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'observe-'));
    const socket = join(folder, 'hubble.sock');
    const observer = new Observer({ nodeName: 'node1', version: '0.1.0' });
    const { close } = await serveHubble(servedOf(observer), { socketPath: socket, log: () => undefined });
    try {
      for (let n = 1; n <= 30; n += 1) observer.record(flowOf(n, { event_type: { type: 4, sub_type: 0 }, is_reply: { value: false } }));
      const ask = (...args: string[]): Promise<Outcome> => run(['--server', `unix://${socket}`, ...args], null);
      expect((await ask()).out.split('\n')).toHaveLength(21);
      expect((await ask('--last', '1', '--print-node-name')).out).toMatch(/ \[node1\]: shop\/client \(ID:1001\) -> shop\/web \(ID:1002\) to-endpoint FORWARDED \(\)\n$/);
      expect((await ask('--uuid', 'u-7', '-o', 'json', '--all')).out).toContain('"uuid":"u-7"');
      expect(await ask('--http-status', '9+')).toMatchObject({ rc: 1, err: expect.stringMatching(/invalid status code prefix/) });
      const following = ask('--follow', '--reconnect', '0s');
      await new Promise((resolve) => setTimeout(resolve, 200));
      close();
      expect(await following).toMatchObject({ rc: 1, err: expect.stringMatching(/went away/) });
      expect(await ask()).toMatchObject({ rc: 1, err: expect.stringMatching(/no agent answers/) });
    } finally {
      close();
      rmSync(folder, { recursive: true });
    }
  });
});

describe('input', () => {
  const deny = { flow: { time: '2026-09-01T10:00:00Z', verdict: 'DROPPED', is_reply: false, event_type: { type: 1, sub_type: 133 }, node_name: 'n1', Summary: 'TCP Flags: SYN',
    IP: { source: '10.0.0.1', destination: '10.0.0.2', ipVersion: 'IPv4' }, l4: { TCP: { source_port: 4, destination_port: 80 } },
    source: { identity: 1001, namespace: 'shop', pod_name: 'in\u001b[31mtruder\n' }, destination: { identity: 1 },
    egress_allowed_by: [{ name: 'out', namespace: 'shop' }], ingress_denied_by: [{ name: 'deny', namespace: 'shop' }, { name: 'all', kind: 'CiliumClusterwideNetworkPolicy' }] } };
  const lost = { lost_events: { source: 'HUBBLE_RING_BUFFER', num_events_lost: '5', cpu: 0 }, node_name: 'n1', time: '2026-09-01T10:00:00Z' };
  const unavailable = { node_status: { state_change: 'NODE_UNAVAILABLE', node_names: ['n2'], message: 'gone' }, node_name: 'n1' };
  const time = 'RFC3339Nano';

  async function runOn(lines: readonly (object | string)[], ...args: string[]): Promise<Outcome> {
    const folder = mkdtempSync(join(tmpdir(), 'observe-'));
    try {
      writeFileSync(join(folder, 'f'), lines.map((line) => `${typeof line === 'string' ? line : JSON.stringify(line)}\n`).join(''));
      return await run(['--time-format', time, ...args], join(folder, 'f'));
    } finally {
      rmSync(folder, { recursive: true });
    }
  }
  const afterTime = (out: string): string[] => out.trimEnd().split('\n').map((line) => line.replace(/^\S+Z?: |^\S+ \[/, (head) => (head.endsWith('[') ? '[' : '')));

  test.each<{ name: string; lines: (object | string)[]; args: string[]; out: string[] }>([
    { name: 'control characters are shown, not obeyed', lines: [deny], args: [], out: ['shop/in\\x1b[31mtruder\\x0a:4 (ID:1001) -> 10.0.0.2:80 (host) Policy denied DROPPED (TCP Flags: SYN)'] },
    { name: 'the policies that decided', lines: [deny], args: ['--print-policy-names', '--ip-translation', 'false'], out: ['10.0.0.1:4 (ID:1001) -> 10.0.0.2:80 (host) Policy denied DROPPED EGRESS ALLOWED BY shop/out INGRESS DENIED BY shop/deny,all (TCP Flags: SYN)'] },
    { name: 'numeric, with the node', lines: [deny], args: ['--numeric', '--print-node-name'], out: ['[n1]: 10.0.0.1:4 (ID:1001) -> 10.0.0.2:80 (ID:1) Policy denied DROPPED (TCP Flags: SYN)'] },
    { name: 'lost events pass every filter', lines: [lost, deny], args: ['--verdict', 'AUDIT'], out: ['EVENTS LOST: HUBBLE_RING_BUFFER CPU(0) - 5'] },
    { name: 'a bare flow', lines: [deny.flow], args: ['--numeric'], out: ['10.0.0.1:4 (ID:1001) -> 10.0.0.2:80 (ID:1) Policy denied DROPPED (TCP Flags: SYN)'] },
  ])('$name', async ({ lines, args, out }) => { expect(afterTime((await runOn(lines, ...args)).out)).toEqual(out); });

  test('colours stay outside of the text', async () => {
    const { out } = await runOn([deny], '--color', 'always', '--numeric');
    expect(out).toContain('\u001b[31mDROPPED\u001b[0m');
    expect(out.replace(/\u001b\[\d+m/g, '')).toContain('10.0.0.1:4 (ID:1001) -> 10.0.0.2:80 (ID:1) Policy denied DROPPED'); // eslint-disable-line no-control-regex
  });

  test('node status goes to standard error', async () => {
    expect(await runOn([unavailable])).toEqual({ rc: 0, out: '', err: 'NODE_UNAVAILABLE: n2: gone\n' });
  });

  test('a broken line is named, the others are printed', async () => {
    const { rc, err, out } = await runOn(['{"flow":{', deny], '-o', 'json');
    expect(rc).toBe(0);
    expect(err).toMatch(/f:1: no flow: /);
    expect(out.split('\n')).toHaveLength(2);
    expect(out).toContain('\\u001b[31m');
  });

  test('--debug tells of nodes that are connected too; --silent-errors of nothing', async () => {
    const connected = { node_status: { state_change: 'NODE_CONNECTED', node_names: ['n1'] } };
    expect((await runOn([connected], '--debug')).err).toBe('NODE_CONNECTED: n1\n');
    expect((await runOn([connected])).err).toBe('');
    const before = process.exitCode;
    expect(await run(['-s'], '/nowhere/flows')).toEqual({ rc: 0, err: '', out: '' });
    expect(process.exitCode).toBe(1);
    process.exitCode = before;
  });

  test('a file that is not there', async () => {
    expect(await run([], '/nowhere/flows')).toMatchObject({ rc: 1, err: expect.stringMatching(/read \/nowhere\/flows: ENOENT/) });
  });
});
