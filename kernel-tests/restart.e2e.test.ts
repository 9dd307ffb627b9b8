// End to end: an agent that dies and is started again adopts what runs. Connections lose nothing, what is denied stays denied,
// and what changed in the files while it was away holds.
import { execFileSync } from 'node:child_process';
import { mkdirSync, rmdirSync, rmSync } from 'node:fs';
import { afterEach, describe, expect, test } from '@jest/globals';
import { setTimeout as sleep } from 'node:timers/promises';
import { Cluster, pod, policy, traces } from './cluster.ts';
import { idle, server } from './programs.ts';
import { Denied, endStreams, Stream } from './streams.ts';

const clusters: Cluster[] = [];
afterEach(async () => {
  endStreams();
  for (const cluster of clusters.splice(0)) await cluster.close();
});
const start = async (...words: Parameters<typeof Cluster.start>): Promise<Cluster> => {
  const cluster = await Cluster.start(...words);
  clusters.push(cluster);
  return cluster;
};

const door = 8080;
const allow = (name: string, ...from: string[]): object =>
  policy(name, { endpointSelector: { matchLabels: { app: 'server' } }, ingress: [{ fromEndpoints: from.map((app) => ({ matchLabels: { app } })) }] });
const pods = [pod('server', server(door)), pod('client', idle), pod('intruder', idle)];
const files = { 'pods.yaml': pods, 'policy.yaml': allow('only-client', 'client') };

interface Endpoint { readonly key: string; readonly id: number; readonly identity: number; readonly ipv4: string; readonly ipv6: string; readonly mac: string; readonly hostMac: string; readonly ifindex: number; readonly interfaceName: string; readonly uid: string; readonly state: string }
const endpoints = (cluster: Cluster): Endpoint[] => cluster.json<Endpoint[]>('db', 'show', 'endpoints').sort((a, b) => (a.key < b.key ? -1 : 1));
const shims = (cluster: Cluster): Record<string, number> => Object.fromEntries(
  cluster.json<{ key: string; shimPid: number }[]>('db', 'show', 'workloads').map((row) => [row.key, row.shimPid]));
const reaches = (cluster: Cluster, from: string, to: string): string[] => {
  const { ipv4, ipv6 } = cluster.address(to);
  return cluster.probe(from, [ipv4, ipv6].map((address) => ({ kind: 'tcp', to: address, port: door })));
};
const listening = async (cluster: Cluster): Promise<void> => {
  await cluster.until('the server listens', () => cluster.probe('node', [{ kind: 'tcp', to: cluster.address('default/server').ipv4, port: door }])[0] === 'open');
};
const down = (cluster: Cluster): void => {
  const run = cluster.on('node', new URL('../weir', import.meta.url).pathname, 'down', '--instance', cluster.instance.name);
  expect([run.code, run.error]).toEqual([0, '']);
  expect(traces(cluster.instance)).toEqual([]);
  expect(cluster.on('node', 'ip', '-o', 'link').out).not.toContain(cluster.instance.interfacePrefix);
};

test('everything lives on: processes, endpoints, numbers, running transfers; what is denied stays denied', async () => {
  const cidr = policy('cidr', { endpointSelector: { matchLabels: { app: 'client' } }, ingress: [{ fromCIDR: ['203.0.113.0/24', '2001:db8:9::/48'] }] });
  const cluster = await start('adopts', { ...files, 'cidr.yaml': cidr });
  await listening(cluster);
  const before = { endpoints: endpoints(cluster), shims: shims(cluster), policies: cluster.json('bpf', 'policy'), ipcache: cluster.json('bpf', 'ipcache') };
  const { ipv4, ipv6 } = cluster.address('default/server');
  const streams = [ipv4, ipv6].map((address) => new Stream(before.shims['default/client']!, address, door));
  const denied = new Denied(before.shims['default/intruder']!, [ipv4, ipv6], door);
  const generations: number[] = [];
  const dropped = (): number => cluster.json<{ packets: { dropped: number } }>('status').packets.dropped;
  let counted = 0;
  for (let round = 0; round < 3; round += 1) {
    await sleep(1_000);
    generations.push(cluster.json<{ generation: number }>('status').generation);
    expect(dropped()).toBeGreaterThan(counted);
    counted = dropped();
    await cluster.stop('SIGKILL');
    await sleep(500);
    await cluster.up();
    await cluster.until('it says so', () => cluster.log.includes('takes over 3 endpoints from an agent that had died'), 5_000);
  }
  await cluster.until('it has flipped', () => cluster.json<{ generation: number }>('status').generation > generations.at(-1)!);
  await sleep(500);
  for (const stream of streams) {
    const end = await stream.stop();
    expect(end).toMatchObject({ wrong: 0, error: '', echoed: end.sent });
    expect(end.sent).toBeGreaterThan(50 << 20);
  }
  const attempts = await denied.stop();
  expect(attempts.open).toBe(0);
  expect(attempts.tried).toBeGreaterThan(200);
  expect({ endpoints: endpoints(cluster), shims: shims(cluster), policies: cluster.json('bpf', 'policy'), ipcache: cluster.json('bpf', 'ipcache') }).toEqual(before);
  expect([...generations].sort((a, b) => a - b)).toEqual(generations);
  expect(reaches(cluster, 'default/client', 'default/server')).toEqual(['open', 'open']);
  expect(cluster.weir('observe', '--from-pod', 'default/intruder', '--verdict', 'DROPPED', '--last', '1').out).toContain('intruder');
  await cluster.stop();
  expect(traces(cluster.instance)).toEqual([]);
}, 120_000);

test('without TCX links as well', async () => {
  const cluster = await start('adoptsclsact', files, ['--attach', 'clsact']);
  await listening(cluster);
  const before = { endpoints: endpoints(cluster), shims: shims(cluster) };
  const { ipv4, ipv6 } = cluster.address('default/server');
  const streams = [ipv4, ipv6].map((address) => new Stream(before.shims['default/client']!, address, door));
  const denied = new Denied(before.shims['default/intruder']!, [ipv4, ipv6], door);
  await sleep(500);
  await cluster.stop('SIGKILL');
  await cluster.up();
  await sleep(500);
  for (const stream of streams) expect(await stream.stop()).toMatchObject({ wrong: 0, error: '' });
  expect((await denied.stop()).open).toBe(0);
  expect({ endpoints: endpoints(cluster), shims: shims(cluster) }).toEqual(before);
}, 60_000);

test('what changed in the files while no agent ran holds: policies, labels, pods that went and came', async () => {
  const extra = pod('extra', server(door), { app: 'extra' });
  const cluster = await start('changes', { ...files, 'extra.yaml': extra });
  await listening(cluster);
  const before = endpoints(cluster);
  const pids = shims(cluster);
  await cluster.stop('SIGKILL');
  cluster.write('policy.yaml', [allow('only-other', 'other'), policy('closed', { endpointSelector: { matchLabels: { app: 'extra' } }, ingress: [{}] })]);
  cluster.write('pods.yaml', [pods[0]!, pods[1]!, pod('intruder', idle, { app: 'other' }), pod('late', idle)]);
  cluster.remove('extra.yaml');
  await cluster.up();
  await cluster.until('the pod that went is gone', () => !endpoints(cluster).some((row) => row.key === 'default/extra'), 10_000);
  expect(reaches(cluster, 'default/client', 'default/server')).toEqual(['silent', 'silent']);
  expect(reaches(cluster, 'default/intruder', 'default/server')).toEqual(['open', 'open']);
  expect(reaches(cluster, 'default/late', 'default/server')).toEqual(['silent', 'silent']);
  const after = endpoints(cluster);
  expect(after.map((row) => row.key)).toEqual(['client', 'intruder', 'late', 'server'].map((name) => `default/${name}`));
  for (const key of ['default/client', 'default/server']) expect(after.find((row) => row.key === key)).toEqual(before.find((row) => row.key === key));
  expect(shims(cluster)).toMatchObject({ 'default/client': pids['default/client'], 'default/intruder': pids['default/intruder'] });
  const unused = before.find((row) => row.key === 'default/extra')!;
  expect(cluster.on('node', 'ip', '-o', 'link').out).not.toContain(`${unused.interfaceName}@`);
  expect(() => process.kill(pids['default/extra']!, 0)).toThrow();
}, 60_000);

describe('a file that turned bad while no agent ran keeps its last good version', () => {
  const rows = [
    { name: 'half-written', text: 'apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: only-cl' },
    { name: 'emptied', text: '' },
    { name: 'refused', text: 'apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: only-client}\nspec:\n  endpointSelector: {matchLabels: {app: server}}\n  ingres: [{}]\n' },
  ];
  test('each, twice', async () => {
    const cluster = await start('turnedbad', files);
    await listening(cluster);
    const pids = shims(cluster);
    const { ipv4, ipv6 } = cluster.address('default/server');
    const denied = new Denied(pids['default/intruder']!, [ipv4, ipv6], door);
    for (const { name, text } of [...rows, ...rows]) {
      await cluster.stop('SIGKILL');
      cluster.write('policy.yaml', text);
      await cluster.up();
      expect([name, reaches(cluster, 'default/client', 'default/server'), reaches(cluster, 'default/intruder', 'default/server')]).toEqual([name, ['open', 'open'], ['silent', 'silent']]);
      expect(cluster.json<{ problems: object[] }>('status').problems).toHaveLength(1);
    }
    expect((await denied.stop()).open).toBe(0);
    cluster.remove('policy.yaml');
    await cluster.until('without the file its policy goes', () => reaches(cluster, 'default/intruder', 'default/server')[0] === 'open', 10_000);
    expect(shims(cluster)).toEqual(pids);
  }, 120_000);
});

test('an agent that died while it started workloads: the next one starts them', async () => {
  const cluster = await start('midway', { ...files, 'more.yaml': [] });
  await listening(cluster);
  const before = endpoints(cluster);
  const more = Array.from({ length: 6 }, (_, index) => pod(`more${index}`, idle));
  for (const afterMs of [20, 60, 110, 180, 300]) {
    cluster.write('more.yaml', more);
    await sleep(afterMs);
    await cluster.stop('SIGKILL');
    await cluster.up();
    await cluster.until('all run', () => cluster.json<{ phase: string }[]>('workload', 'list').filter(({ phase }) => phase === 'Running').length === 9, 15_000);
    expect(endpoints(cluster).map((row) => row.state)).toEqual(Array.from({ length: 9 }, () => 'ready'));
    expect(reaches(cluster, 'default/more5', 'default/server')).toEqual(['silent', 'silent']);
    expect(cluster.probe('default/more5', [{ kind: 'ping', to: cluster.address('default/more0').ipv4 }, { kind: 'ping', to: cluster.address('default/more0').ipv6 }])).toEqual(['open', 'open']);
    cluster.write('more.yaml', '---\n');
    await cluster.until('they are gone', () => endpoints(cluster).length === before.length, 15_000);
  }
  expect(endpoints(cluster)).toEqual(before);
}, 180_000);

test('a workload by hand survives; one that ended meanwhile is made anew', async () => {
  const cluster = await start('byhands', { 'policy.yaml': allow('only-client', 'client') });
  for (const name of ['server', 'client', 'mortal']) {
    const command = name === 'server' ? server(door) : idle;
    expect(cluster.weir('workload', 'run', '--name', name, '--label', `app=${name}`, '--', ...command).code).toBe(0);
  }
  await cluster.until('they run', () => cluster.json<{ phase: string }[]>('workload', 'list').filter(({ phase }) => phase === 'Running').length === 3);
  await listening(cluster);
  const before = endpoints(cluster);
  const pids = shims(cluster);
  await cluster.stop('SIGKILL');
  process.kill(pids['default/mortal']!, 'SIGKILL');
  await cluster.up();
  await cluster.until('all run', () => cluster.json<{ phase: string }[]>('workload', 'list').filter(({ phase }) => phase === 'Running').length === 3, 15_000);
  const after = endpoints(cluster);
  for (const key of ['default/client', 'default/server']) expect(after.find((row) => row.key === key)).toEqual(before.find((row) => row.key === key));
  expect(shims(cluster)['default/mortal']).not.toBe(pids['default/mortal']);
  expect(reaches(cluster, 'default/client', 'default/server')).toEqual(['open', 'open']);
  expect(reaches(cluster, 'default/mortal', 'default/server')).toEqual(['silent', 'silent']);
  expect(cluster.weir('workload', 'delete', 'default/client').code).toBe(0);
  await cluster.until('it is gone', () => endpoints(cluster).length === 2);
}, 60_000);

describe('another start is a clean one, and says so', () => {
  const rows = [
    { name: 'addresses', instance: 'otherrange', args: ['--ipv4-range', '10.99.0.0/16'], says: /starts clean and ends what runs: it has addresses of 10\.\d+\.0\.0\/16/ },
    { name: 'attach mode', instance: 'otherattach', args: ['--attach', 'clsact'], says: /starts clean and ends what runs: its programs are attached otherwise/ },
    { name: 'maps', instance: 'othermaps', args: [], says: /starts clean and ends what runs: its map conntrack is gone/ },
  ];
  test.each(rows)('$name', async ({ instance, args, says, name }) => {
    const cluster = await start(instance, files);
    const pids = shims(cluster);
    await cluster.stop('SIGKILL');
    if (name === 'maps') execFileSync('rm', [`${cluster.instance.pinDir}/conntrack`]);
    await cluster.up(args);
    await cluster.until('it says so', () => says.test(cluster.log), 5_000);
    await listening(cluster);
    expect(Object.values(shims(cluster)).some((pid) => Object.values(pids).includes(pid))).toBe(false);
    expect(reaches(cluster, 'default/intruder', 'default/server')).toEqual(['silent', 'silent']);
    await cluster.stop();
    expect(traces(cluster.instance)).toEqual([]);
  }, 60_000);
});

test('a start that fails leaves what runs as it is', async () => {
  const cluster = await start('failing', files);
  await listening(cluster);
  const before = { endpoints: endpoints(cluster), shims: shims(cluster) };
  const stream = new Stream(before.shims['default/client']!, cluster.address('default/server').ipv4, door);
  await cluster.stop('SIGKILL');
  rmSync(cluster.instance.hubbleSocket);
  mkdirSync(cluster.instance.hubbleSocket);
  await expect(cluster.up()).rejects.toThrow(/hubble\.sock/);
  rmdirSync(cluster.instance.hubbleSocket);
  await cluster.up();
  expect(await stream.stop()).toMatchObject({ wrong: 0, error: '' });
  expect({ endpoints: endpoints(cluster), shims: shims(cluster) }).toEqual(before);
}, 60_000);

/** `npm run test:kills` takes more: three of four while the agent starts and follows changes, one while it stops. */
const kills = Number(process.env['WEIR_KILLS'] ?? 16);
const killsWhileStopping = Math.floor(kills / 4);

test(`${killsWhileStopping} kills at random points of a stop: the next agent works, and leaves no trace`, async () => {
  const cluster = await start('stopping', files);
  for (let round = 0; round < killsWhileStopping; round += 1) {
    const afterMs = Math.floor(Math.random() * 400);
    process.kill(cluster.pid, 'SIGTERM');
    await sleep(afterMs);
    await cluster.stop('SIGKILL');
    await cluster.up();
    await listening(cluster);
    expect(reaches(cluster, 'default/client', 'default/server')).toEqual(['open', 'open']);
    expect(reaches(cluster, 'default/intruder', 'default/server')).toEqual(['silent', 'silent']);
  }
  await cluster.stop();
  expect(traces(cluster.instance)).toEqual([]);
  expect(cluster.on('node', 'ip', '-o', 'link').out).not.toContain(cluster.instance.interfacePrefix);
}, 60_000 + killsWhileStopping * 20_000);

test(`${kills - killsWhileStopping} kills at random points of start and change leave no open gate, and down leaves no trace`, async () => {
  const cluster = await start('kills', files);
  await listening(cluster);
  const before = endpoints(cluster);
  const pids = shims(cluster);
  const { ipv4, ipv6 } = cluster.address('default/server');
  const streams = [ipv4, ipv6].map((address) => new Stream(pids['default/client']!, address, door));
  const denied = new Denied(pids['default/intruder']!, [ipv4, ipv6], door);
  const points: number[] = [];
  for (let round = 0; round < kills - killsWhileStopping; round += 1) {
    // A start takes about a second: the earlier points hit the start, the later ones what follows it.
    const afterMs = Math.floor(Math.random() * 2_500);
    points.push(afterMs);
    await cluster.stop('SIGKILL');
    cluster.write('pods.yaml', [...pods, pod(`extra${round % 8}`, idle)]);
    // The kill interrupts whatever `up` waits for; that the agent has not ended by itself is looked at before.
    const rising = cluster.up().catch((error: unknown) => error);
    const end = Date.now() + afterMs;
    for (let change = 0; Date.now() < end; change += 1) {
      cluster.write('policy.yaml', [allow('only-client', 'client', ...(change % 2 === 0 ? [] : ['nobody'])), allow(`more-${change % 3}`, 'client', `x${change}`)]);
      await sleep(20);
    }
    expect({ points, exitCode: cluster.exitCode, log: cluster.exitCode === null ? '' : cluster.log }).toEqual({ points, exitCode: null, log: '' });
    await cluster.stop('SIGKILL');
    await rising;
  }
  cluster.write('pods.yaml', pods);
  await cluster.up();
  const ends = [];
  for (const stream of streams) ends.push(await stream.stop());
  expect({ points, ends }).toMatchObject({ ends: ends.map((end) => ({ wrong: 0, error: '', echoed: end.sent })) });
  const attempts = await denied.stop();
  expect({ points, open: attempts.open }).toEqual({ points, open: 0 });
  expect(attempts.tried).toBeGreaterThan(500);
  await cluster.until('only the pods of the files are left', () => endpoints(cluster).length === before.length);
  expect({ points, endpoints: endpoints(cluster), shims: shims(cluster) }).toEqual({ points, endpoints: before, shims: pids });
  await cluster.stop('SIGKILL');
  down(cluster);
}, 60_000 + kills * 20_000);
