// End to end over two nodes: a relay that learns them from an agent, puts their flows in order, and outlives an agent that dies.
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { runningAgent } from '../agent/node/lock.ts';
import { pod, policy, type Run } from './cluster.ts';
import { NodesCluster, type Node } from './nodes.ts';
import { idle, server } from './programs.ts';

const launcher = fileURLToPath(new URL('../weir', import.meta.url));
const at: Readonly<Record<string, Node>> = { 'default/client': 'node1', 'default/intruder': 'node1', 'default/near': 'node1', 'default/far': 'node2' };
const pods = Object.entries(at).map(([key, nodeName]) => pod(key.split('/')[1]!, /client|intruder/.test(key) ? idle : server(8080), { app: key.split('/')[1]! }, 'default', { nodeName }));
const deny = (name: string): object => policy(name, { endpointSelector: { matchLabels: { app: name } }, ingress: [{ fromEndpoints: [{ matchLabels: { app: 'client' } }] }] });

interface Line { readonly flow?: { readonly uuid: string; readonly verdict: string; readonly source: { readonly pod_name?: string }; readonly destination: { readonly pod_name?: string } }; readonly node_name?: string; readonly time: string; readonly node_status?: { readonly state_change: string; readonly node_names: string[] } }

let cluster: NodesCluster;
let folder: string;
const children: ChildProcess[] = [];
const address = (): string => `unix://${join(folder, 'relay.sock')}`;
const linesOf = (text: string): Line[] => text.split('\n').filter((line) => line !== '').map((line) => JSON.parse(line) as Line);
const viaRelay = (...words: string[]): Run => cluster.weir(...words, '--server', address());
const traffic = (): void => {
  for (const to of ['default/near', 'default/far']) {
    const { ipv4, ipv6 } = cluster.end(to);
    expect(cluster.probe('default/client', [ipv4, ipv6].map((end) => ({ kind: 'tcp', to: end, port: 8080 })))).toEqual(['open', 'open']);
    expect(cluster.probe('default/intruder', [{ kind: 'tcp', to: ipv4, port: 8080 }])).toEqual(['silent']);
  }
};

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'weir-relay-'));
  cluster = await NodesCluster.startNodes('relay', { 'pods.yaml': pods, 'policies.yaml': [deny('near'), deny('far')] }, at);
  children.push(spawn(launcher, ['relay', '--instance', cluster.instance.name, '--listen', address(), '--retry-timeout', '500ms'], { stdio: 'ignore' }));
  await cluster.until('both nodes are connected', () => (viaRelay('list', 'nodes').out.match(/Connected/g) ?? []).length === 2);
  traffic();
}, 90_000);

afterAll(async () => {
  for (const child of children) child.kill();
  await cluster.close();
  rmSync(folder, { recursive: true });
});

test('one stream of both nodes, in the order of time', () => {
  const lines = linesOf(viaRelay('observe', '--all', '-o', 'json').out);
  expect(lines[0]!.node_status).toEqual({ state_change: 'NODE_CONNECTED', node_names: ['node1', 'node2'] });
  const flows = lines.filter(({ flow }) => flow !== undefined);
  expect(new Set(flows.map(({ node_name: name }) => name))).toEqual(new Set(['node1', 'node2']));
  const times = flows.map(({ time }) => time.padEnd(30, '0'));
  expect(times).toEqual([...times].sort());
  expect(new Set(flows.filter(({ flow }) => flow!.verdict === 'DROPPED').map(({ flow, node_name: name }) => `${flow!.source.pod_name} -> ${flow!.destination.pod_name} at ${name}`)))
    .toEqual(new Set(['intruder -> near at node1', 'intruder -> far at node2']));
});

test('the last flows are the last of all nodes together', () => {
  const all = linesOf(viaRelay('observe', '--all', '-o', 'json').out).filter(({ flow }) => flow !== undefined);
  const last = linesOf(viaRelay('observe', '--last', '5', '-o', 'json').out).filter(({ flow }) => flow !== undefined);
  expect(last.map(({ flow }) => flow!.uuid)).toEqual(all.slice(-5).map(({ flow }) => flow!.uuid));
});

test('edges and stat of the whole cluster', () => {
  const edges = (JSON.parse(viaRelay('edges', '--since', '10m', '-o', 'json').out) as { rows: { source: string; destination: string; port: string; opened: number; dropped: number }[] }).rows;
  const of = (source: string, destination: string) => edges.find((row) => row.source === source && row.destination === destination && row.port === '8080/TCP');
  expect(of('default/client', 'default/far')!.opened).toBeGreaterThanOrEqual(2);
  expect(of('default/intruder', 'default/far')).toMatchObject({ opened: expect.any(Number), dropped: expect.any(Number) });
  expect(of('default/intruder', 'default/near')!.dropped).toBeGreaterThan(0);
  expect(viaRelay('edges', '--by', 'workload', '--since', '10m').out).toMatch(/^WORKLOAD +OPENED +PER SECOND +DROPPED +SUCCESS\n/);
  expect(viaRelay('stat', '--since', '10m')).toMatchObject({ code: 0, out: expect.stringMatching(/^no HTTP request in 600 s/) });
  expect(cluster.weir('--node', 'node2', 'stat', '--by', 'route')).toMatchObject({ code: 0, out: expect.stringMatching(/^no HTTP request in \d+ s/) });
});

test('an agent explains under each drop; a relay cannot', () => {
  const { out } = cluster.weir('--node', 'node2', 'observe', '--verdict', 'DROPPED', '--last', '1', '--explain');
  expect(out).toMatch(/^\S.* Policy denied DROPPED \(.*\)\n {4}default\/intruder -> default\/far 8080\/TCP, ingress of default\/far: /);
  expect(viaRelay('observe', '--explain')).toMatchObject({ code: 1, error: expect.stringMatching(/--explain asks the agent of this machine/) });
});

test('an agent that dies is told of and missed by nobody; when it is back its flows come again', async () => {
  let out = '';
  const following = spawn(launcher, ['observe', '-f', '-o', 'json', '--server', address()], { stdio: ['ignore', 'pipe', 'ignore'] });
  children.push(following);
  following.stdout.on('data', (data: Buffer) => { out += data.toString(); });
  await cluster.until('it follows', () => out.includes('NODE_CONNECTED'));
  process.kill(runningAgent(cluster.agentOf('node2'))!, 'SIGKILL');
  await cluster.until('its end is told', () => out.includes('NODE_ERROR'));
  const told = (): Line[] => linesOf(out.slice(0, out.lastIndexOf('\n') + 1));
  // It may be back by then: its end is told at the latest before that.
  const before = told().findIndex(({ node_status: status }) => status?.state_change === 'NODE_ERROR');
  expect(cluster.probe('default/client', [{ kind: 'tcp', to: cluster.end('default/near').ipv4, port: 8080 }])).toEqual(['open']);
  await cluster.until('the other node goes on', () => told().slice(before).some(({ node_name: name }) => name === 'node1'));
  await cluster.until('it is back', () => told().slice(before).some(({ node_status: status }) => status?.node_names.includes('node2') && status.state_change === 'NODE_CONNECTED'));
  expect(cluster.probe('default/client', [{ kind: 'tcp', to: cluster.end('default/far').ipv4, port: 8080 }])).toEqual(['open']);
  await cluster.until('its flows come', () => told().slice(before).some(({ node_name: name, flow }) => name === 'node2' && flow?.destination.pod_name === 'far'));
}, 60_000);
