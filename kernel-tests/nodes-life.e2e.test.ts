// End to end: nodes that fail and come back. What an agent enforced stands while it is away, the others tell of it, and in the end nothing is left.
import { afterEach, expect, test } from '@jest/globals';
import { readFileSync } from 'node:fs';
import { pod, policy } from './cluster.ts';
import { NodesCluster, type Node } from './nodes.ts';
import { idle, server } from './programs.ts';
import { Denied, endStreams, Stream } from './streams.ts';

const open: NodesCluster[] = [];
afterEach(async () => {
  endStreams();
  for (const cluster of open.splice(0)) await cluster.close();
});

const door = 8080;
const at: Readonly<Record<string, Node>> = { 'default/client': 'node1', 'default/intruder': 'node1', 'default/server': 'node2' };
const pods = Object.entries(at).map(([key, nodeName]) => {
  const name = key.split('/')[1]!;
  return pod(name, name === 'server' ? server(door) : idle, { app: name }, 'default', { nodeName });
});
const allow = (...from: string[]): object => policy('only', { endpointSelector: { matchLabels: { app: 'server' } }, ingress: [{ fromEndpoints: from.map((app) => ({ matchLabels: { app } })) }] });

interface NodeLine { readonly name: string; readonly health: string }
const health = (cluster: NodesCluster, asked: Node): Record<string, string> => Object.fromEntries(cluster.json<NodeLine[]>('--node', asked, 'node', 'list').map((row) => [row.name, row.health]));
const agentPid = (cluster: NodesCluster, node: Node): number => Number(readFileSync(`${cluster.agentOf(node).stateDir}/agent.pid`, 'utf8').split(' ')[0]);
const reaches = (cluster: NodesCluster, from: string): string[] => {
  const { ipv4, ipv6 } = cluster.address('default/server');
  return cluster.probe(from, [ipv4, ipv6].map((to) => ({ kind: 'tcp', to, port: door })));
};

interface Running { readonly cluster: NodesCluster; readonly check: () => Promise<void> }

/** With transfers that must lose nothing, and attempts that must not pass, until `check`. */
async function run(name: string, tunnel: string): Promise<Running> {
  const cluster = await NodesCluster.startNodes(name, { 'pods.yaml': pods, 'policy.yaml': allow('client') }, at, ['--tunnel', tunnel]);
  open.push(cluster);
  await cluster.until('the server listens', () => reaches(cluster, 'default/client').join() === 'open,open');
  const shims = Object.fromEntries(cluster.json<{ key: string; shimPid: number }[]>('--node', 'node1', 'db', 'show', 'workloads').map((row) => [row.key, row.shimPid]));
  const { ipv4, ipv6 } = cluster.address('default/server');
  const streams = [ipv4, ipv6].map((address) => new Stream(shims['default/client']!, address, door));
  const denied = new Denied(shims['default/intruder']!, [ipv4, ipv6], door);
  const check = async (): Promise<void> => {
    for (const stream of streams) {
      const { sent, echoed, wrong, error } = await stream.stop();
      expect({ wrong, error, lost: sent - echoed }).toEqual({ wrong: 0, error: '', lost: 0 });
      expect(sent).toBeGreaterThan(1 << 20);
    }
    const { open: opened, tried } = await denied.stop();
    expect(tried).toBeGreaterThan(100);
    expect(opened).toBe(0);
  };
  return { cluster, check };
}

test('an agent is killed, another one hangs: what they enforce stands, one follows, the others tell of it', async () => {
  const { cluster, check } = await run('life', 'disabled');
  const before = cluster.address('default/server');
  const killed = agentPid(cluster, 'node2');
  const hanging = agentPid(cluster, 'node1');
  process.kill(killed, 'SIGKILL');
  await cluster.until('another agent follows', () => agentPid(cluster, 'node2') !== killed && cluster.weir('--node', 'node2', 'status').code === 0);
  expect(cluster.log).toContain('node2: its agent has died; what it enforces stands, another one follows');
  expect(cluster.address('default/server')).toEqual(before);
  process.kill(hanging, 'SIGSTOP');
  try {
    await cluster.until('node2 tells that node1 is silent', () => health(cluster, 'node2')['node1'] === 'silent', 10_000);
    expect(cluster.json<{ origin: string }[]>('--node', 'node2', 'db', 'show', 'ipcache').filter(({ origin }) => origin === 'remote').length).toBeGreaterThan(4);
  } finally {
    process.kill(hanging, 'SIGCONT');
  }
  await cluster.until('and that it is back', () => health(cluster, 'node2')['node1'] === 'ok', 10_000);
  await check();
}, 60_000);

test('everything dies but the workloads: the next up takes over, in VXLAN; a change reaches the other node; Ctrl-C leaves nothing', async () => {
  const { cluster, check } = await run('lifevx', 'vxlan');
  const pids = (['node1', 'node2'] as const).map((node) => agentPid(cluster, node));
  await cluster.stop('SIGKILL'); // first, or it would start them again
  for (const pid of pids) process.kill(pid, 'SIGKILL');
  cluster.write('policy.yaml', allow('client', 'nobody'));
  await cluster.up();
  expect([reaches(cluster, 'default/client'), reaches(cluster, 'default/intruder')]).toEqual([['open', 'open'], ['silent', 'silent']]);
  await check();
  cluster.write('policy.yaml', allow('intruder'));
  await cluster.until('the other node follows', () => reaches(cluster, 'default/intruder').join() === 'open,open');
  await cluster.stop('SIGINT');
  expect(cluster.left()).toEqual([]);
}, 60_000);

test('down removes the nodes of an up that was killed; a pod for a node that is not there says so', async () => {
  const stray = pod('stray', idle, { app: 'stray' }, 'default', { nodeName: 'node7' });
  const cluster = await NodesCluster.startNodes('downs', { 'pods.yaml': pods, 'stray.yaml': stray }, at);
  open.push(cluster);
  for (const node of ['node1', 'node2'] as const) {
    const { problems } = cluster.json<{ problems: { field: string; message: string; mend: string }[] }>('--node', node, 'status');
    expect(problems.map(({ field, message, mend }) => [field, message, mend])).toEqual([['spec.nodeName', 'Pod stray: there is no node node7', 'this cluster has node1, node2']]);
  }
  expect(cluster.weir('status')).toMatchObject({ code: 1, error: 'weir: test-downs has several nodes: node1, node2\n  say which, before the verb: ./weir --node node1 status ...\n' });
  expect(cluster.weir('--node', 'node9', 'status')).toMatchObject({ code: 1, error: 'weir: no node "node9"\n  there are node1, node2\n' });
  await cluster.stop('SIGKILL');
  const down = cluster.on('node', new URL('../weir', import.meta.url).pathname, 'down', '--instance', cluster.instance.name);
  expect([down.code, down.error]).toEqual([0, '']);
  expect(cluster.left()).toEqual([]);
}, 60_000);
