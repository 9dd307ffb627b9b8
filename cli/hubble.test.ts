// The verbs of Hubble beside observe: forms of status and lists, events of the agent, and a following observe that outlives its server.
import { execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import grpc from '@grpc/grpc-js';
import { Command } from 'commander';
import { messageOf } from '../agent/errors.ts';
import { AgentEvents } from '../hubble/agent-events.ts';
import { Observer } from '../hubble/observer.ts';
import { serveHubble, type Served, type Serving } from '../hubble/serve.ts';
import { flowOf, servedOf } from '../hubble/testing.ts';
import type { AgentEvent, Node, ServerStatusResponse } from '../hubble/types.ts';
import type { Server } from './connection.ts';
import { withClient } from './hubble-client.ts';
import { nodeCells, peerLine } from './hubble-list.ts';
import { statusText } from './hubble.ts';
import { register } from './observe.ts';
import { newerThanThis } from './server-version.ts';

const startMs = 1_700_000_000_000;
let folder: string;
let served: Served;
let serving: Serving;

const socket = (): string => join(folder, 'hubble.sock');
const start = async (): Promise<void> => { serving = await serveHubble(served, { socketPath: socket(), log: () => undefined }); };
const observerOf = (clock?: () => number): Served => servedOf(new Observer({ nodeName: 'node1', version: '0.1.0', ...(clock && { clock }) }));

beforeEach(() => { folder = mkdtempSync(join(tmpdir(), 'hubble-verbs-')); });
afterEach(() => {
  serving.close();
  rmSync(folder, { recursive: true });
});

const root = fileURLToPath(new URL('..', import.meta.url));
const serverOf = (address: string): Server => ({ address, mend: '', credentials: grpc.credentials.createInsecure(), options: {}, metadata: new grpc.Metadata(), dialTimeoutMs: 5_000, requestTimeoutMs: 5_000 });

/** The real command, with the test's folder as the user's. The last argument may be more of the environment. */
async function weir(...words: (string | Readonly<Record<string, string>>)[]): Promise<{ code: number | null; out: string; error: string }> {
  const more = typeof words.at(-1) === 'object' ? words.pop() as Readonly<Record<string, string>> : {};
  const child = spawn(process.execPath, [join(root, 'cli/main.ts'), ...words as string[]], { cwd: folder, env: { ...process.env, HOME: folder, XDG_CONFIG_HOME: folder, ...more }, stdio: ['ignore', 'pipe', 'pipe'] });
  let [out, error] = ['', ''];
  child.stdout.on('data', (data: Buffer) => { out += data.toString(); });
  child.stderr.on('data', (data: Buffer) => { error += data.toString(); });
  return new Promise((resolve) => { child.once('close', (code) => { resolve({ code, out, error }); }); });
}

interface Run { out: string; err: string; ended: Promise<string> }

function observe(...args: string[]): Run {
  const run: Run = { out: '', err: '', ended: Promise.resolve('') };
  const program = new Command().exitOverride().configureOutput({ writeErr: () => undefined });
  register(program, { write: (text) => { run.out += text; }, writeError: (text) => { run.err += text; }, isTerminal: false, drained: () => undefined });
  for (const command of program.commands) command.exitOverride();
  run.ended = program.parseAsync(['observe', '--server', `unix://${socket()}`, ...args], { from: 'user' }).then(() => '', messageOf);
  return run;
}

async function until(what: string, holds: () => boolean): Promise<void> {
  for (let turn = 0; turn < 400 && !holds(); turn += 1) await new Promise((resolve) => { setTimeout(resolve, 20); });
  if (!holds()) throw new Error(`not in time: ${what}`);
}

describe('events', () => {
  const events: { event: AgentEvent; line: string }[] = [
    { event: { type: 2, agent_start: { time: { seconds: 1_700_000_000 } } }, line: 'AGENT_STARTED (start time: 2023-11-14T22:13:20Z)' },
    { event: { type: 3, policy_update: { labels: ['a=b', 'c=d'], revision: 7, rule_count: 2 } }, line: 'POLICY_UPDATED (labels: [a=b,c=d], revision: 7, count: 2)' },
    { event: { type: 5, endpoint_regenerate: { id: 3, labels: ['a=b'] } }, line: 'ENDPOINT_REGENERATE_SUCCESS (id: 3, labels: [a=b])' },
    { event: { type: 8, endpoint_update: { id: 3, namespace: 'shop', pod_name: 'w\u001beb' } }, line: 'ENDPOINT_DELETED (id: 3, namespace: shop, pod name: w\\x1beb)' },
    { event: { type: 9, ipcache_update: { cidr: '10.0.0.1/32', identity: 300, old_identity: { value: 299 } } }, line: 'IPCACHE_UPSERTED (cidr: 10.0.0.1/32, identity: 300, old identity: 299)' },
  ];
  const args = ['agent-events', '--time-format', 'RFC3339'];
  beforeEach(async () => {
    served = { ...observerOf(), events: new AgentEvents('node1', () => startMs) };
    for (const { event } of events) served.events.add(event);
    await start();
  });

  test('compact, the last 20', async () => {
    const run = observe(...args, '--print-node-name');
    expect(await run.ended).toBe('');
    expect(run.out.trimEnd().split('\n').map((line) => line.replace(/^\S+ /, ''))).toEqual(events.map(({ line }) => `[node1]: ${line}`));
  });

  test('dict', async () => {
    const run = observe(...args, '-o', 'dict', '--last', '2');
    expect(await run.ended).toBe('');
    expect(run.out).toMatch(/^TIMESTAMP: \S+\n {5}TYPE: ENDPOINT_DELETED\n {2}DETAILS: id: 3, .*\n-{12}\nTIMESTAMP: /);
  });

  test('table and json', async () => {
    const table = observe(...args, '-o', 'table', '--first', '1');
    expect(await table.ended).toBe('');
    expect(table.out).toMatch(/^TIMESTAMP {2,}TYPE {2,}DETAILS\n\S+ {3}AGENT_STARTED {3}start time: \S+\n$/);
    const json = observe(...args, '-o', 'json', '--last', '1');
    expect(await json.ended).toBe('');
    expect(JSON.parse(json.out)).toMatchObject({ agent_event: { type: 'IPCACHE_UPSERTED', ipcache_update: { old_identity: 299 } }, node_name: 'node1' });
  });

  test('debug events: none', async () => {
    const run = observe('debug-events', '--all');
    expect([await run.ended, run.out]).toEqual(['', '']);
  });

  test('filters are for flows', async () => { expect(await observe('agent-events', '--verdict', 'DROPPED').ended).toMatch(/filters are for flows/); });
});

describe('a following observe', () => {
  const lines = (run: Run): string[] => run.out.trimEnd().split('\n').filter((line) => line !== '').map((line) => (JSON.parse(line) as { flow: { uuid: string } }).flow.uuid);
  const now = (uuid: string) => flowOf(0, { uuid, time: { seconds: Math.floor(Date.now() / 1_000), nanos: (Date.now() % 1_000) * 1e6 } });

  /** It follows from some moment on: told again until it is seen. */
  const first = async (run: Run): Promise<void> => until('the first flow came', () => { served.observer.record(now('before')); return run.out.includes('before'); });

  test('goes on when its server does, and misses nothing that is still there', async () => {
    // It is older than its flows, and says so by its uptime.
    let shiftMs = -3_600_000;
    served = observerOf(() => Date.now() + shiftMs);
    shiftMs = 0;
    await start();
    const run = observe('-f', '-o', 'json', '--reconnect', '2s');
    await first(run);
    serving.close();
    await new Promise((resolve) => { setTimeout(resolve, 20); });
    served.observer.record(now('meanwhile'));
    await until('it waits', () => run.err.includes('waiting for it'));
    await start();
    await until('it goes on', () => run.out.includes('meanwhile'));
    served.observer.record(now('after'));
    await until('new ones come', () => run.out.includes('after'));
    expect([...new Set(lines(run))]).toEqual(['before', 'meanwhile', 'after']);
    expect(run.err).toMatch(/connected again; what came since \S+ follows/);
  });

  test('says what it may have missed when the server has started anew', async () => {
    served = observerOf();
    await start();
    const run = observe('-f', '-o', 'json', '--reconnect', '2s');
    await first(run);
    serving.close();
    await new Promise((resolve) => { setTimeout(resolve, 50); });
    served = observerOf();
    await start();
    await until('it is told', () => /started anew, and flows from \S+ to \S+ may be missing/.test(run.err));
    await new Promise((resolve) => { setTimeout(resolve, 100); });
    served.observer.record(now('after'));
    await until('new ones come', () => run.out.includes('after'));
  });

  test('ends when it is away for too long', async () => {
    served = observerOf();
    await start();
    const run = observe('-f', '--reconnect', '300ms');
    await new Promise((resolve) => { setTimeout(resolve, 200); });
    serving.close();
    expect(await run.ended).toMatch(/no agent answers/);
  });
});

describe('forms', () => {
  beforeEach(async () => { served = observerOf(); await start(); });
  const status: ServerStatusResponse = { num_flows: 1_234, max_flows: 4_095, seen_flows: 10_000, uptime_ns: 100e9, version: '0.1.0', flows_rate: 12.345 };
  const relay: ServerStatusResponse = { ...status, num_connected_nodes: { value: 2 }, num_unavailable_nodes: { value: 1 }, unavailable_nodes: ['node3'] };

  test.each<{ name: string; given: ServerStatusResponse; form: Parameters<typeof statusText>[1]; text: string }>([
    { name: 'compact', given: status, form: 'compact', text: 'Current/Max Flows: 1,234/4,095 (30.13%)\nFlows/s: 12.35\n' },
    { name: 'compact of a relay', given: relay, form: 'compact', text: 'Current/Max Flows: 1,234/4,095 (30.13%)\nFlows/s: 12.35\nConnected Nodes: 2/3\nUnavailable Nodes: 1\n  - node3\n' },
    { name: 'the rate of an old server', given: { ...status, flows_rate: 0 }, form: 'compact', text: 'Current/Max Flows: 1,234/4,095 (30.13%)\nFlows/s: 100.00\n' },
    { name: 'dict', given: status, form: 'dict', text: '            NUM FLOWS: 1,234\n            MAX FLOWS: 4,095\n           SEEN FLOWS: 10,000\n     FLOWS PER SECOND: 12.35\n               UPTIME: 1m40s\n              VERSION: 0.1.0\n' },
    { name: 'table', given: status, form: 'table', text: 'NUM FLOWS   MAX FLOWS   SEEN FLOWS   FLOWS PER SECOND   UPTIME   VERSION\n1,234       4,095       10,000       12.35              1m40s    0.1.0\n' },
    { name: 'json', given: status, form: 'json', text: '{"num_flows":"1234","max_flows":"4095","seen_flows":"10000","uptime_ns":"100000000000","version":"0.1.0","flows_rate":12.345}\n' },
  ])('status, $name', ({ given, form, text }) => { expect(statusText(given, form)).toBe(text); });

  test.each<{ name: string; node: Node; wide: boolean; cells: string[] }>([
    { name: 'a node', node: { name: 'n1', state: 1, uptime_ns: 3_725e9, num_flows: 50, max_flows: 4_095, seen_flows: 7_450 }, wide: false, cells: ['n1', 'Connected', '1h2m5s', '2.00', '50/4095 (  1.22%)'] },
    { name: 'one that is away, wide', node: { name: 'n2', state: 2, address: 'a:1', tls: { enabled: true } }, wide: true, cells: ['n2', 'Unavailable', 'N/A', 'N/A', 'N/A', 'N/A', 'a:1', 'Enabled'] },
  ])('$name', ({ node, wide, cells }) => { expect(nodeCells(node, wide)).toEqual(cells); });

  test('lists as JSON are JSON', async () => {
    const { out } = await weir('list', 'nodes', '-o', 'json', '--server', `unix://${socket()}`);
    expect(JSON.parse(out)).toMatchObject([{ name: 'node1', state: 'NODE_CONNECTED' }]);
    expect(out.split('\n').length).toBeGreaterThan(3);
  });

  test('a peer', () => {
    expect(peerLine({ type: 1, name: 'n1', address: 'a:1', tls: { server_name: 'x' } })).toBe('PEER_ADDED   a:1 n1 (TLS.ServerName: x)');
    expect(peerLine({ type: 2, name: 'n1', address: 'a:1' })).toBe('PEER_DELETED a:1 n1');
  });
});

describe('versions', () => {
  const answer = (headers: Readonly<Record<string, string>>) => { const metadata = new grpc.Metadata(); for (const [name, value] of Object.entries(headers)) metadata.set(name, value); return metadata; };
  beforeEach(async () => { served = observerOf(); await start(); });
  test.each<{ name: string; headers: Record<string, string>; says: RegExp | undefined }>([
    { name: 'no header', headers: {}, says: undefined },
    { name: 'the same', headers: { 'hubble-server-version': '0.1.0' }, says: undefined },
    { name: 'a patch', headers: { 'hubble-server-version': '0.1.7' }, says: undefined },
    { name: 'a newer weir', headers: { 'hubble-server-version': '0.2.0' }, says: /^warning: the server is version 0.2.0, newer than the 0.1 / },
    { name: 'the Hubble that is known', headers: { 'hubble-server-version': '1.19.9-rc.1' }, says: undefined },
    { name: 'an older one', headers: { 'hubble-relay-version': 'v1.9.0' }, says: undefined },
    { name: 'a newer relay', headers: { 'hubble-relay-version': '1.20.0' }, says: /^warning: the relay is version 1.20.0, newer than the 1.19 / },
    { name: 'the next', headers: { 'hubble-server-version': '2.0.0' }, says: /2.0.0/ },
    { name: 'what is none', headers: { 'hubble-server-version': 'main' }, says: undefined },
  ])('$name', ({ headers, says }) => {
    const text = newerThanThis(answer(headers), '0.1.0');
    if (says === undefined) expect(text).toBeUndefined();
    else expect(text).toMatch(says);
  });

  test('told once by a client, of a stream and of an answer', async () => {
    serving.close();
    served = servedOf(new Observer({ nodeName: 'node1', version: '9.9.9' }));
    await start();
    const told: string[] = [];
    await withClient(serverOf(`unix://${socket()}`), async (client) => {
      await client.getFlows({ number: 1 }, () => undefined);
      await client.serverStatus();
    }, (text) => { told.push(text); });
    expect(told).toEqual([expect.stringContaining('the server is version 9.9.9, newer than the 1.19')]);
  });
});

describe('reflection', () => {
  beforeEach(async () => { served = observerOf(); await start(); });
  const reflect = (...args: string[]) => weir('hubble', 'reflect', '--server', `unix://${socket()}`, ...args);
  test('services, a file by a symbol and by its name, what is not there', async () => {
    expect(JSON.parse((await reflect()).out)).toMatchObject({ service: expect.arrayContaining([{ name: 'observer.Observer' }, { name: 'peer.Peer' }]) });
    const files = JSON.parse((await reflect('--symbol', 'observer.Observer')).out) as { name: string; service?: { method: { name: string }[] }[] }[];
    expect(files.map(({ name }) => name)).toEqual(expect.arrayContaining(['observer/observer.proto', 'flow/flow.proto']));
    expect(files[0]!.service![0]!.method.map(({ name }) => name)).toEqual(expect.arrayContaining(['GetFlows', 'ServerStatus']));
    expect((JSON.parse((await reflect('--file', 'peer/peer.proto')).out) as { name: string }[])[0]!.name).toBe('peer/peer.proto');
    expect(await reflect('--symbol', 'nope.Nope')).toMatchObject({ code: 1, error: expect.stringMatching(/reflect nope.Nope: not found/) });
    expect(await reflect('--symbol', 'a', '--file', 'b')).toMatchObject({ code: 1, error: expect.stringMatching(/cannot be combined/) });
  });
});

describe('config', () => {
  beforeEach(async () => { served = observerOf(); await start(); });
  const config = async (...args: string[]) => weir('hubble', 'config', ...args);
  const file = (): string => join(folder, 'hubble/config.yaml');
  const text = (): string => readFileSync(file(), 'utf8');

  test('set, get, view, reset: one file that the other verbs read', async () => {
    expect(await config('set', 'server', `unix://${socket()}`)).toEqual({ code: 0, out: '', error: `${file()} is written\n` });
    expect(statSync(file()).mode & 0o777).toBe(0o600);
    expect((await weir('hubble', 'status')).out).toContain(`Healthcheck (via unix://${socket()}): Ok`);
    writeFileSync(file(), `# mine\n\n${text()}`);
    await config('set', 'tls-ca-cert-files', 'a,b');
    await config('set', 'basic-auth-password', 'secret');
    expect(text()).toBe(`# mine\n\nserver: unix://${socket()}\ntls-ca-cert-files:\n  - a\n  - b\nbasic-auth-password: secret\n`);
    expect((await config('get', 'server')).out).toBe(`unix://${socket()}\n`);
    expect((await config('get', 'timeout')).out).toBe('5s\n');
    expect((await weir('hubble', 'config', 'get', 'timeout', { HUBBLE_TIMEOUT: '9s' })).out).toBe('9s\n');
    const { out } = await config('view');
    expect(out).toContain('tls-ca-cert-files:\n  - a\n  - b\n');
    expect(out).toContain('timeout: 5s');
    expect(out).not.toContain('secret');
    await config('set', 'tls-ca-cert-files');
    await config('reset', 'server');
    expect(text()).toBe('# mine\n\nbasic-auth-password: secret\n');
    await config('reset');
    expect(text()).not.toContain('secret');
  });

  test.each<{ name: string; args: string[]; says: RegExp }>([
    { name: 'a key', args: ['set', 'colour', 'red'], says: /colour is no setting/ }, { name: 'a duration', args: ['set', 'timeout', 'soon'], says: /timeout: soon is no duration/ },
    { name: 'a flag', args: ['set', 'tls', 'maybe'], says: /tls: maybe is neither true nor false/ }, { name: 'a key that is asked for', args: ['get', 'nope'], says: /nope is no setting/ },
  ])('refuses $name', async ({ args, says }) => {
    const { code, error } = await config(...args);
    expect(code).toBe(1);
    expect(error).toMatch(says);
    expect(existsSync(file())).toBe(false);
  });
});

describe('completion', () => {
  beforeEach(async () => { served = observerOf(); await start(); });
  test('bash completes verbs, their verbs and their flags', async () => {
    const { out: script } = await weir('completion', 'bash');
    const complete = (...words: string[]): string[] => execFileSync('bash', ['-c', `${script}\nCOMP_WORDS=(weir "$@"); COMP_CWORD=$#; _weir; printf '%s\\n' "\${COMPREPLY[@]}"`, 'bash', ...words], { encoding: 'utf8', cwd: folder }).trim().split('\n');
    expect(complete('obs')).toEqual(['observe']);
    expect(complete('hubble', 'st')).toEqual(['status']);
    expect(complete('policy', '')).toEqual(expect.arrayContaining(['simulate', 'verdict', '--help']));
    expect(complete('observe', '--from-po')).toEqual(['--from-pod', '--from-port']);
    expect(complete('observe', '--verdict', 'DROPPED', '--last', '3', '--print-node')).toEqual(['--print-node-name']);
    expect(complete('age')).toEqual(['']);
  });
});
