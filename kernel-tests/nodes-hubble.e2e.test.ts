// End to end over two nodes that each offer all of Hubble: TCP with their own certificates, files, metrics; a relay on them by TLS alone.
import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { runningAgent } from '../agent/node/lock.ts';
import { serverNameOf } from '../hubble/peer.ts';
import { TestCa } from '../hubble/testing-certificates.ts';
import { pod } from './cluster.ts';
import { NodesCluster, type Node } from './nodes.ts';
import { idle, server } from './programs.ts';

const launcher = fileURLToPath(new URL('../weir', import.meta.url));
const nodes: readonly Node[] = ['node1', 'node2'];
const at: Readonly<Record<string, Node>> = { 'default/client': 'node1', 'default/server': 'node2' };
const pods = [pod('client', idle, { app: 'client' }, 'default', { nodeName: 'node1' }), pod('server', server(8080), { app: 'server' }, 'default', { nodeName: 'node2' })];

let cluster: NodesCluster;
let folder: string;
let relay: ChildProcess | undefined;
let told = '';
let client: { certificate: string; key: string; ca: string };
const relaySocket = (): string => `unix://${join(folder, 'relay.sock')}`;
const addresses = (): Record<string, string> => Object.fromEntries(cluster.json<{ name: string; ipv4: string }[]>('--node', 'node1', 'node', 'list').map(({ name, ipv4 }) => [name, ipv4]));

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'weir-nodes-hubble-'));
  const ca = new TestCa(folder);
  for (const node of nodes) {
    ca.sign(node, serverNameOf(node));
    writeFileSync(join(folder, `${node}.yaml`), `flowLogs:\n  - name: flows\n    filePath: ${join(folder, `${node}.jsonl`)}\n`);
  }
  client = ca.sign('client', 'client');
  cluster = await NodesCluster.startNodes('nodes-hubble', { 'pods.yaml': pods }, at, ['--hubble-listen', ':4244', '--hubble-tls-cert', join(folder, '{node}.crt'), '--hubble-tls-key', join(folder, '{node}.key'),
    '--hubble-tls-client-ca', ca.certificate, '--hubble-export', join(folder, '{node}.yaml'), '--metrics-listen', ':9965', '--hubble-metrics', 'flow:sourceContext=pod,drop']);
  const { node1 } = addresses();
  relay = spawn('nsenter', [`--net=/run/netns/weir-nodes-hubble`, launcher, 'relay', '--listen', relaySocket(), '--retry-timeout', '500ms', '--peer-service', `node1=tls://${node1}:4244`,
    '--peer-tls-ca', ca.certificate, '--peer-tls-cert', client.certificate, '--peer-tls-key', client.key], { stdio: ['ignore', 'pipe', 'pipe'] });
  for (const stream of [relay.stdout!, relay.stderr!]) stream.on('data', (data: Buffer) => { told += data.toString(); });
  await cluster.until('both nodes are connected', () => { if (relay!.exitCode !== null) throw new Error(told); return (cluster.weir('list', 'nodes', '--server', relaySocket()).out.match(/Connected/g) ?? []).length === 2; }).catch((error: unknown) => { throw new Error(`${String(error)}\nrelay: ${told}`); });
  await cluster.until('the server listens', () => cluster.probe('default/client', [{ kind: 'tcp', to: cluster.end('default/server').ipv4, port: 8080 }])[0] === 'open');
}, 120_000);

afterAll(async () => {
  relay?.kill();
  await cluster.close();
  rmSync(folder, { recursive: true });
});

test.each(nodes)('%s answers on its own address, by its own name only', (node) => {
  const ask = (name: string): ReturnType<NodesCluster['on']> => cluster.on('node', launcher, 'observe', '--last', '1', '--print-node-name', '--server', `tls://${addresses()[node]}:4244`, '--timeout', '2s',
    '--tls-ca-cert-files', client.ca, '--tls-client-cert-file', client.certificate, '--tls-client-key-file', client.key, '--tls-server-name', name);
  expect(ask(serverNameOf(node))).toMatchObject({ code: 0, out: expect.stringContaining(` [${node}]: `) });
  expect(ask(serverNameOf(nodes.find((other) => other !== node)!)).code).toBe(1);
});

test('the relay reaches both by TLS, at the addresses they tell', () => {
  const { node1, node2 } = addresses();
  expect(cluster.weir('list', 'nodes', '-o', 'wide', '--server', relaySocket()).out).toMatch(new RegExp(`node1 +Connected .* ${node1}:4244 +Enabled\\nnode2 +Connected .* ${node2}:4244 +Enabled`));
  const { out } = cluster.weir('observe', '--all', '-o', 'json', '--to-pod', 'default/server', '--server', relaySocket());
  const seen = out.trim().split('\n').map((line) => (JSON.parse(line) as { node_name?: string }).node_name);
  expect(new Set(seen.filter((name) => name !== undefined && name !== ''))).toEqual(new Set(nodes));
});

test.each(nodes)('%s serves its metrics and writes its file', async (node) => {
  const metrics = (): string => cluster.on('node', 'curl', '-s', `http://${addresses()[node]}:9965/metrics`).out;
  await cluster.until('flows are counted', () => /^hubble_flows_processed_total\{.*source="default\/client"/m.test(metrics()));
  expect(metrics()).toMatch(new RegExp(`^weir_info\\{version="[^"]+",node="${node}"\\} 1$`, 'm'));
  const path = join(folder, `${node}.jsonl`);
  await cluster.until('flows are written', () => existsSync(path) && readFileSync(path, 'utf8').includes('"pod_name":"server"'));
  const written = readFileSync(path, 'utf8').trim().split('\n').map((line) => (JSON.parse(line) as { node_name: string }).node_name);
  expect(new Set(written)).toEqual(new Set([node]));
});

test('an agent that dies under a client: it waits, goes on with the next one, and says what it may have missed', async () => {
  const following = spawn(launcher, ['--node', 'node2', 'observe', '-f', '--to-pod', 'default/server', '--instance', cluster.instance.name], { stdio: ['ignore', 'pipe', 'pipe'] });
  let [out, error] = ['', ''];
  following.stdout.on('data', (data: Buffer) => { out += data.toString(); });
  following.stderr.on('data', (data: Buffer) => { error += data.toString(); });
  const probe = (): void => { cluster.probe('default/client', [{ kind: 'tcp', to: cluster.end('default/server').ipv4, port: 8080 }]); };
  try {
    await cluster.until('it follows', () => { probe(); return out.includes('default/server:8080'); });
    process.kill(runningAgent(cluster.agentOf('node2'))!, 'SIGKILL');
    await cluster.until('its end is told', () => error.includes('waiting for it'));
    await cluster.until('the next one is there', () => error.includes('connected again'));
    expect(error).toMatch(/connected again; the server has started anew, and flows from \S+ to \S+ may be missing\n/);
    const before = out.length;
    await cluster.until('its flows come', () => { probe(); return out.slice(before).includes('default/server:8080'); });
  } finally {
    following.kill();
  }
}, 90_000);
