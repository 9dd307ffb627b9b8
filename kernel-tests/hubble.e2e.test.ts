// End to end: what an agent offers of Hubble when it is asked to: TCP with TLS and a relay on it, events, exporter, drop log, metrics.
import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { serverNameOf } from '../hubble/peer.ts';
import { TestCa } from '../hubble/testing-certificates.ts';
import { Cluster, node, pod, policy } from './cluster.ts';
import { idle, server } from './programs.ts';

const launcher = fileURLToPath(new URL('../weir', import.meta.url));
const dashboards = fileURLToPath(new URL('../manifests/dashboards', import.meta.url));
const port = 4244;
const metricsPort = 9965;

let cluster: Cluster;
let folder: string;
let relay: ChildProcess | undefined;
let files: Record<string, string>;
const relaySocket = (): string => `unix://${join(folder, 'relay.sock')}`;
const linesOf = (path: string): object[] => (existsSync(path) ? readFileSync(path, 'utf8').split('\n').filter((line) => line !== '').map((line) => JSON.parse(line) as object) : []);
const metrics = (): string => cluster.on('node', 'curl', '-s', `http://127.0.0.1:${metricsPort}/metrics`).out;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'weir-hubble-'));
  const ca = new TestCa(folder);
  const [agent, client] = [ca.sign('agent', serverNameOf(hostname())), ca.sign('client', 'client')];
  files = { ca: ca.certificate, cert: client.certificate, key: client.key, flows: join(folder, 'flows.jsonl'), drops: join(folder, 'drops.jsonl'), config: join(folder, 'export.yaml') };
  writeFileSync(files['config']!, `flowLogs:\n  - name: flows\n    filePath: ${files['flows']}\n    fieldMask: [time, verdict, source.pod_name, destination.pod_name]\ndropLogs:\n  - name: drops\n    filePath: ${files['drops']}\n    intervalSeconds: 1\n`);
  cluster = await Cluster.start('hubble', {
    'pods.yaml': [pod('web', server(8080)), pod('client', idle), pod('intruder', idle)],
    'policies.yaml': policy('web', { endpointSelector: { matchLabels: { app: 'web' } }, ingress: [{ fromEndpoints: [{ matchLabels: { app: 'client' } }] }] }),
  }, ['--hubble-listen', `:${port}`, '--hubble-tls-cert', agent.certificate, '--hubble-tls-key', agent.key, '--hubble-tls-client-ca', agent.ca,
    '--hubble-export', files['config']!, '--metrics-listen', `127.0.0.1:${metricsPort}`, '--hubble-metrics', 'flow,drop:sourceContext=pod;destinationContext=pod,tcp,port-distribution,icmp,flows-to-world']);
  const { ipv4, ipv6 } = cluster.address('default/web');
  await cluster.until('the server listens', () => cluster.probe('default/client', [{ kind: 'tcp', to: ipv4, port: 8080 }])[0] === 'open');
  cluster.probe('default/client', [{ kind: 'tcp', to: ipv6, port: 8080 }, { kind: 'ping', to: ipv4 }, { kind: 'tcp', to: '198.51.100.1', port: 9 }]);
  expect(cluster.probe('default/intruder', [{ kind: 'tcp', to: ipv4, port: 8080 }, { kind: 'tcp', to: ipv6, port: 8080 }])).toEqual(['silent', 'silent']);
  relay = spawn('nsenter', ['--net=/run/netns/weir-hubble', launcher, 'relay', '--peers', `${hostname()}=tls://${node.ipv4}:${port},gone=unix:///nowhere.sock`, '--listen', relaySocket(),
    '--peer-tls-ca', files['ca']!, '--peer-tls-cert', files['cert']!, '--peer-tls-key', files['key']!], { stdio: 'ignore' });
  await cluster.until('the relay has its node', () => cluster.weir('list', 'nodes', '--server', relaySocket()).out.includes('Connected'));
}, 120_000);

afterAll(async () => {
  relay?.kill();
  await cluster.close();
  rmSync(folder, { recursive: true });
});

const throughTls = (...words: string[]): ReturnType<Cluster['on']> => cluster.on('node', launcher, ...words, '--server', `tls://${node.ipv4}:${port}`, '--tls-ca-cert-files', files['ca']!, '--tls-server-name', serverNameOf(hostname()));

test('TCP wants a certificate of both sides', () => {
  expect(throughTls('hubble', 'status', '--timeout', '1s')).toMatchObject({ code: 1, error: expect.stringMatching(/no answer|went away/) });
  expect(throughTls('hubble', 'status', '--tls-client-cert-file', files['cert']!, '--tls-client-key-file', files['key']!)).toMatchObject({ code: 0, out: expect.stringMatching(/: Ok\nCurrent\/Max Flows: \d+\/16,383 /) });
});

test('through the relay: its one node answers, the other is told of', () => {
  expect(cluster.weir('hubble', 'status', '--server', relaySocket()).out).toMatch(/Connected Nodes: 1\/2\nUnavailable Nodes: 1\n {2}- gone\n/);
  const { code, out, error } = cluster.weir('observe', '--server', relaySocket(), '--verdict', 'DROPPED', '--last', '100');
  expect([code, error]).toEqual([0, 'NODE_UNAVAILABLE: gone\n']);
  expect(out).toMatch(/default\/intruder:\d+ \(ID:\d+\) -> default\/web:8080 \(ID:\d+\) Policy denied DROPPED/);
  expect(cluster.weir('list', 'namespaces', '--server', relaySocket()).out).toBe('NAMESPACE\ndefault\n');
  expect(cluster.weir('list', 'nodes', '--server', relaySocket(), '-o', 'wide').out).toMatch(new RegExp(`\\ngone +Unavailable .*\\n${hostname()} +Connected .* ${node.ipv4}:${port} +Enabled\\n$`));
});

test('what became of the agent', () => {
  const { out } = cluster.weir('observe', 'agent-events', '--all');
  for (const says of [/: AGENT_STARTED \(start time: /, /: POLICY_UPDATED \(labels: \[.*policy\.name=web,/, /: ENDPOINT_CREATED \(id: \d+, namespace: default, pod name: web\)/, /: ENDPOINT_REGENERATE_SUCCESS /, /: IPCACHE_UPSERTED \(cidr: /]) expect(out).toMatch(says);
  expect(cluster.weir('observe', 'debug-events', '--all')).toMatchObject({ code: 0, out: '' });
});

test('flows and drops in files', async () => {
  await cluster.until('both are there', () => linesOf(files['drops']!).length >= 2 && linesOf(files['flows']!).length > 0);
  expect(linesOf(files['flows']!)).toEqual(expect.arrayContaining([expect.objectContaining({ flow: { time: expect.any(String), verdict: 'FORWARDED', source: { pod_name: 'client' }, destination: { pod_name: 'web' } } })]));
  expect(linesOf(files['drops']!)).toEqual(expect.arrayContaining([expect.objectContaining({
    source: expect.objectContaining({ namespace: 'default', pod: 'intruder' }), destination: expect.objectContaining({ pod: 'web' }), protocol: 'TCP', port: 8080, reason: 'POLICY_DENIED', policies: ['default/web'],
  })]));
});

test('a configuration with an error leaves the files as they are, and is told', async () => {
  writeFileSync(files['config']!, 'flowLogs: nothing');
  await cluster.until('it is told', () => cluster.log.includes('flowLogs: a list is expected; the configuration read before stays'));
});

test('metrics with contexts, and every panel of the dashboards names one that is there', async () => {
  await cluster.until('drops are counted', () => metrics().includes('hubble_drop_total{protocol="TCP",reason="POLICY_DENIED",source="default/intruder",destination="default/web"}'));
  const text = metrics();
  const names = new Set([...text.matchAll(/^# TYPE (\S+)/gm)].map(([, name]) => name));
  const panels = readdirSync(dashboards).filter((file) => file !== 'l7.json').flatMap((file) => (JSON.parse(readFileSync(join(dashboards, file), 'utf8')) as { panels: { title: string; targets: { expr: string }[] }[] }).panels);
  const missing = panels.flatMap(({ title, targets }) => targets.flatMap(({ expr }) => [...expr.matchAll(/(?:hubble|weir)_[a-z_]+/g)].map(([name]) => name).filter((name) => !names.has(name)).map((name) => `${title}: ${name}`)));
  expect(missing).toEqual([]);
  expect(panels.length).toBeGreaterThan(15);
  expect(text).toMatch(/^weir_map_pressure_ratio\{map="conntrack"\} 0\.\d+/m);
  expect(text).toMatch(/^weir_policies\{state="enforced"\} 1$/m);
});

test('peers: the agent itself', () => {
  const { out } = cluster.on('node', 'timeout', '2', launcher, 'watch', 'peers', '--instance', cluster.instance.name);
  expect(out).toBe(`PEER_ADDED   ${hostname()}:${port} ${hostname()} (TLS.ServerName: ${serverNameOf(hostname())})\n`);
});
