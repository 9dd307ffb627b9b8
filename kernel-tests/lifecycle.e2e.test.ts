// End to end: start and stop, bad input, faults. Nothing is left behind; nothing that works is lost.
import { execFileSync } from 'node:child_process';
import { existsSync, statSync } from 'node:fs';
import { afterEach, describe, expect, test } from '@jest/globals';
import { Cluster, pod, policy, traces } from './cluster.ts';
import { idle, server } from './programs.ts';

const open: Cluster[] = [];
afterEach(async () => { for (const cluster of open.splice(0)) await cluster.close(); });
const start = async (...words: Parameters<typeof Cluster.start>): Promise<Cluster> => {
  const cluster = await Cluster.start(...words);
  open.push(cluster);
  return cluster;
};

const closed = policy('closed', { endpointSelector: { matchLabels: { app: 'server' } }, ingress: [{}] });
const pods = [pod('server', server(8080)), pod('client', idle)];
/** Everything on the node that weir could leave: interfaces, routes, addresses. */
const network = (cluster: Cluster): string => ['link', 'route', '-6 route', 'address'].map((words) => cluster.on('node', 'ip', '-o', ...words.split(' ')).out)
  .join('').replaceAll(/ (tentative|expires \S+|valid_lft \S+|preferred_lft \S+)/g, '');

test('20 starts and stops leave nothing behind', async () => {
  const cluster = await start('cycle', { 'all.yaml': [...pods, closed] });
  await cluster.stop('SIGINT');
  const before = network(cluster);
  for (let round = 0; round < 20; round += 1) {
    await cluster.up();
    await cluster.stop((['SIGINT', 'SIGTERM', 'SIGHUP'] as const)[round % 3]);
    expect(traces(cluster.instance)).toEqual([]);
  }
  expect(network(cluster)).toBe(before);
}, 300_000);

test('after a kill -9 the policy stands without the agent, and down removes everything', async () => {
  const cluster = await start('killed', { 'all.yaml': [...pods, closed] });
  const { ipv4, ipv6 } = cluster.address('default/server');
  const client = cluster.json<{ key: string; shimPid: number }[]>('db', 'show', 'workloads').find((row) => row.key === 'default/client')!;
  await cluster.stop('SIGKILL');
  for (const address of [ipv4, ipv6]) {
    const attempt = execFileSync('nsenter', [`--net=/proc/${client.shimPid}/ns/net`, 'python3', '-c', `
import socket
try: socket.create_connection(('${address}', 8080), timeout=0.5); print('open')
except TimeoutError: print('silent')`], { encoding: 'utf8' });
    expect(attempt.trim()).toBe('silent');
  }
  const down = cluster.on('node', new URL('../weir', import.meta.url).pathname, 'down', '--instance', cluster.instance.name);
  expect([down.code, down.out]).toEqual([0, '2 workloads of an agent that had died are gone\n']);
  expect(traces(cluster.instance)).toEqual([]);
  expect(cluster.on('node', 'ip', '-o', 'link').out).not.toContain(cluster.instance.interfacePrefix);
});

test('without TCX links the programs hang on clsact and judge the same', async () => {
  const cluster = await start('clsact', { 'all.yaml': [...pods, closed] }, ['--attach', 'clsact']);
  const { ipv4, ipv6 } = cluster.address('default/server');
  expect(cluster.probe('default/client', [{ kind: 'tcp', to: ipv4, port: 8080 }, { kind: 'tcp', to: ipv6, port: 8080 }])).toEqual(['silent', 'silent']);
  cluster.remove('all.yaml');
  cluster.write('pods.yaml', pods);
  await cluster.until('the way is open', () => cluster.probe('default/client', [{ kind: 'tcp', to: ipv4, port: 8080 }])[0] === 'open');
  expect(cluster.json<{ attach: string }>('status').attach).toBe('clsact');
});

test('a second agent under the same name, and a range that collides, are refused with the mend', async () => {
  const cluster = await start('twice', { 'all.yaml': pods });
  const launcher = new URL('../weir', import.meta.url).pathname;
  const second = cluster.on('node', launcher, 'up', cluster.dir, '--instance', cluster.instance.name);
  expect([second.code, second.error]).toEqual([1, expect.stringMatching(/runs already \(process \d+\)\n {2}stop it with .\/weir down --instance test-twice/)]);
  const collision = cluster.on('node', launcher, 'up', cluster.dir, '--instance', 'test-collides', '--ipv4-range', '198.51.0.0/16');
  expect([collision.code, collision.error]).toEqual([1, expect.stringMatching(/198\.51\.0\.0\/16 overlaps with 198\.51\.100\.0\/24.*\n.*this one is free: --ipv4-range 10\./)]);
  expect(existsSync('/run/weir/test-collides')).toBe(false);
  expect(cluster.json<{ phase: string }[]>('workload', 'list').map((row) => row.phase)).toEqual(['Running', 'Running']);
});

describe('files that change', () => {
  const rows = [
    { name: 'half-written YAML', file: 'server.yaml', text: 'apiVersion: v1\nkind: Pod\nmetadata: {name: server', problem: /server\.yaml:3/ },
    { name: 'an unknown field', file: 'policy.yaml', text: 'apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: closed}\nspec:\n  endpointSelector: {matchLabels: {app: server}}\n  ingres: [{}]\n', problem: /policy\.yaml:6:3.*ingress/ },
    { name: 'the form of a well-known article', file: 'policy.yaml', text: 'apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: closed}\nspec:\n  endpointSelector: {matchLabels: {app: server}}\n  ingress: [{toPorts: [{port: "8080"}]}]\n', problem: /policy\.yaml:6.*ports/ },
    { name: 'a pod that would widen its rights', file: 'server.yaml', text: 'apiVersion: v1\nkind: Pod\nmetadata: {name: server, labels: {app: server}}\nspec:\n  hostNetwork: true\n  containers: [{name: main, command: [sleep, "1"]}]\n', problem: /server\.yaml:5.*hostNetwork/ },
    { name: 'an image without a command', file: 'more.yaml', text: 'apiVersion: v1\nkind: Pod\nmetadata: {name: image}\nspec:\n  containers: [{name: main, image: nginx}]\n', problem: /more\.yaml:5.*command/ },
  ];
  test('each is refused with file and line, the last good version keeps running', async () => {
    const cluster = await start('edits', { 'server.yaml': pods[0]!, 'client.yaml': pods[1]!, 'policy.yaml': closed });
    const target = cluster.address('default/server').ipv4;
    const uids = (): string[] => cluster.json<{ uid: string }[]>('db', 'show', 'workloads').map((row) => row.uid);
    const before = uids();
    for (const row of rows) {
      cluster.write(row.file, row.text);
      const told = (): string => cluster.json<{ problems: { at: string; field: string; message: string; mend?: string }[] }>('status').problems.map((one) => `${one.at} ${one.field} ${one.message} ${one.mend ?? ''}`).join('\n');
      await cluster.until(`a problem is told: ${row.name}`, () => row.problem.test(told()), 5_000);
      expect([row.name, uids()]).toEqual([row.name, before]);
      expect(cluster.probe('default/client', [{ kind: 'tcp', to: target, port: 8080 }])).toEqual(['silent']);
      cluster.write('server.yaml', pods[0]!);
      cluster.write('policy.yaml', closed);
      if (row.file === 'more.yaml') cluster.remove('more.yaml');
      await cluster.until(`it is mended: ${row.name}`, () => told() === '', 5_000);
    }
    expect(uids()).toEqual(before);
  });
});

test('only root may open the sockets; a workload by hand runs, tells and goes', async () => {
  const cluster = await start('byhand', { 'policy.yaml': closed });
  for (const path of [cluster.instance.apiSocket, cluster.instance.hubbleSocket]) expect((statSync(path).mode & 0o777).toString(8)).toBe('600');
  expect((statSync(cluster.instance.stateDir).mode & 0o777).toString(8)).toBe('700');
  expect(cluster.weir('workload', 'run', '--name', 'server', '--label', 'app=server', '--', 'sh', '-c', 'echo ready; exec sleep 1000').out).toContain('default/server starts');
  await cluster.until('it runs', () => cluster.json<{ phase: string }[]>('workload', 'list')[0]?.phase === 'Running');
  await cluster.until('it speaks', () => cluster.weir('workload', 'logs', 'default/server').out.includes('ready'));
  expect(cluster.exec('default/server', 'sh', '-c', 'exit 7').code).toBe(7);
  expect(cluster.json<{ labels: string[] }>('endpoint', 'get', 'default/server').labels).toContain('k8s:app=server');
  expect(cluster.weir('workload', 'run', '--name', 'root', '--user', '0', '--', 'id')).toMatchObject({ code: 1, error: expect.stringContaining('--allow-root') });
  expect(cluster.weir('workload', 'delete', 'default/server').code).toBe(0);
  await cluster.until('it is gone', () => cluster.json<object[]>('workload', 'list').length === 0 && cluster.json<object[]>('endpoint', 'list').length === 0);
});

test('a workload that runs as root reads neither the state folder nor the sockets', async () => {
  const intruder = { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'root' }, spec: { containers: [{ name: 'main', command: idle, securityContext: { runAsUser: 0 } }] } };
  const cluster = await start('root', { 'pods.yaml': intruder }, ['--allow-root']);
  const rows = [
    ['it is uid 0', 'id -u', /^0$/], ['the state folder', `ls ${cluster.instance.stateDir}`, /No such file/], ['the API socket', `cat ${cluster.instance.apiSocket}`, /No such file/],
    ['bpffs', 'ls /sys/fs/bpf/weir', /No such file/], ['cgroupfs', 'ls /sys/fs/cgroup/unified', /No such file/], ['the host cannot be written', 'echo x >> /etc/hosts.weir', /Read-only/],
    ['no capability', 'grep -c "^Cap.*0000000000000000$" /proc/self/status', /^5$/], ['no way to the kernel settings', 'echo 1 > /proc/sys/kernel/core_pattern', /Read-only|Permission/],
  ] as const;
  for (const [name, command, answer] of rows) {
    const { out, error } = cluster.exec('default/root', 'sh', '-c', command);
    expect([name, `${out}${error}`.trim()]).toEqual([name, expect.stringMatching(answer)]);
  }
});
