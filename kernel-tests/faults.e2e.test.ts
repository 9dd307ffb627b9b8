// End to end: machines that lack something, wrong arguments, bad files, sudden ends, and two agents side by side. Each gives
// a sentence that names the thing and its mend; nothing is left behind; what can run goes on.
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { instanceOf } from '../agent/instance.ts';
import { Cluster, outside, pod, policy, traces, type Run } from './cluster.ts';
import { idle, server, type Probe } from './programs.ts';

const launcher = fileURLToPath(new URL('../weir', import.meta.url));
const name = 'test-faults';
const mine = instanceOf(name);
const pods = [pod('server', server(8080)), pod('client', idle)];

/** Its namespaces serve all tests of this file; the agents that are tested come and go in it. */
let node: Cluster;
let scratch: string;
beforeAll(() => {
  node = Cluster.make('faults', { 'pods.yaml': pods });
  scratch = mkdtempSync(join(tmpdir(), 'weir-faults-'));
  chmodSync(scratch, 0o755);
});
afterAll(async () => {
  await node.close();
  rmSync(scratch, { recursive: true });
});

const weir = (...words: string[]): Run => node.on('node', launcher, ...words, '--instance', name);
/** Everything that an agent could leave: interfaces, routes, rules, pins, cgroups, processes, folders. */
const left = (): string[] => [
  ...traces(mine), ...[`${mine.stateDir}.log`].filter(existsSync),
  ...node.on('node', 'ip', '-o', 'link').out.split('\n').filter((line) => line.includes(mine.interfacePrefix)),
  ...['route', '-6 route'].flatMap((words) => node.on('node', 'ip', ...words.split(' ')).out.split('\n').filter((line) => line.startsWith('unreachable'))),
];

interface Started { readonly agent: ChildProcess; readonly log: () => string; readonly ended: Promise<number | null> }

function startOn(node: 'faults' | 'two', ...command: string[]): Started {
  const agent = spawn('nsenter', [`--net=/run/netns/weir-${node}`, ...command], { stdio: ['ignore', 'pipe', 'pipe'] });
  let text = '';
  for (const stream of [agent.stdout, agent.stderr]) stream.on('data', (data: Buffer) => { text += data.toString(); });
  return { agent, log: () => text, ended: new Promise((resolve) => { agent.once('close', (code) => { resolve(code); }); }) };
}

const start = (...command: string[]): Started => startOn('faults', ...command);
const answers = async (): Promise<void> => { await node.until('the agent answers', () => existsSync(mine.apiSocket) && weir('status').code === 0, 20_000); };
const running = async (...keys: string[]): Promise<void> => {
  await node.until(`${keys.join(', ')} run`, () => {
    const rows = JSON.parse(weir('workload', 'list', '-o', 'json').out || '[]') as { key: string; phase: string }[];
    return keys.every((key) => rows.some((row) => row.key === key && row.phase === 'Running'));
  }, 20_000);
};

describe('an unprivileged user', () => {
  const user = 65_534;
  const readable = ((): boolean => {
    for (let folder = dirname(launcher); folder !== '/'; folder = dirname(folder)) {
      if (spawnSync('setpriv', ['--reuid', String(user), '--clear-groups', 'test', '-x', folder]).status !== 0) return false;
    }
    return true;
  })();
  const rows = [
    { words: 'up DIR', error: 'weir: weir loads programs into the kernel and needs root\n  run the same command with sudo\n' },
    { words: 'up DIR -d', error: 'weir: weir loads programs into the kernel and needs root\n  run the same command with sudo\n' },
    { words: 'down', error: 'weir: weir loads programs into the kernel and needs root\n  run the same command with sudo\n' },
    { words: 'status', error: 'weir: only root may talk to the agent\n  run it with sudo\n' },
    { words: 'workload list', error: 'weir: only root may talk to the agent\n  run it with sudo\n' },
    { words: 'observe', error: 'weir: only root may read the flows of an agent\n  run the same command with sudo\n' },
  ];
  const title = readable ? '$words says what is missing' : '$words (skipped: this checkout is in a folder that other users cannot enter)';
  (readable ? test : test.skip).each(rows)(title, ({ words, error }) => {
    const line = words.split(' ').map((word) => (word === 'DIR' ? node.dir : word));
    const run = node.on('node', 'setpriv', '--reuid', String(user), '--clear-groups', launcher, ...line, '--instance', name);
    expect([run.code, run.out, run.error]).toEqual([1, '', error]);
    expect(left()).toEqual([]);
  });

  (readable ? test : test.skip)(readable ? 'check lists it' : 'check (skipped: this checkout is in a folder that other users cannot enter)', () => {
    const run = node.on('node', 'setpriv', '--reuid', String(user), '--clear-groups', launcher, 'check');
    expect([run.code, run.out]).toEqual([1, expect.stringMatching(/root +MISSING +uid 65534 +run it with sudo\nCAP_NET_ADMIN +MISSING +missing +run it with sudo\n/)]);
  });
});

describe('root without a capability', () => {
  test.each(['net_admin', 'sys_admin', 'setuid', 'setgid', 'setpcap', 'mknod', 'kill'])('%s', (capability) => {
    const label = `CAP_${capability.toUpperCase()}`;
    const run = node.on('node', 'setpriv', '--bounding-set', `-${capability}`, '--inh-caps', `-${capability}`, launcher, 'up', node.dir, '--instance', name);
    expect([run.code, run.out, run.error]).toEqual([1, '', `weir: this machine cannot run weir: ${label}: missing\n  give the container or service ${label}\n`]);
    expect(left()).toEqual([]);
  });
});

describe('file systems that are not mounted are mounted', () => {
  const bpffs = 'umount /sys/fs/bpf';
  const cgroup2 = 'for at in $(awk \'$(NF-2) == "cgroup2" {print $5}\' /proc/self/mountinfo); do umount "$at"; done';
  test.each([{ what: 'bpffs', prepare: bpffs }, { what: 'cgroup2', prepare: cgroup2 }, { what: 'neither', prepare: `${bpffs}; ${cgroup2}` }])('$what', async ({ prepare }) => {
    const { agent, log, ended } = start('unshare', '-m', 'sh', '-c', `${prepare}; exec "$0" up "$1" --instance ${name}`, launcher, node.dir);
    await node.until('the agent answers', () => { if (agent.exitCode !== null) throw new Error(log()); return existsSync(mine.apiSocket); }, 20_000);
    await running('default/server', 'default/client');
    // What a verb touches itself (a workload's cgroup) is where the agent has it: in its view of the file system.
    const inside = (...words: string[]): Run => node.on('node', 'nsenter', '-t', String(agent.pid), '-m', launcher, ...words);
    expect(inside('workload', 'exec', 'default/client', '--instance', name, '--', 'hostname')).toMatchObject({ code: 0, out: 'client\n' });
    expect(inside('check').out).toMatch(/bpffs +ok .*\ncgroup2 +ok /);
    agent.kill('SIGTERM');
    expect(await ended).toBe(0);
    expect(left()).toEqual([]);
  });
});

describe('wrong arguments of up', () => {
  const rows: { what: string; prepare?: (dir: string) => void; words: (dir: string) => string[]; code?: number; error: RegExp }[] = [
    { what: 'no directory', words: () => [], code: 2, error: /missing required argument 'dir'\n {2}see \.\/weir up --help/ },
    { what: 'a directory that is not there', words: (dir) => [`${dir}/nowhere`], error: /no such file or directory.*nowhere'\n {2}mkdir -p .*nowhere\n/ },
    { what: 'a file', prepare: (dir) => { writeFileSync(`${dir}/pod.yaml`, ''); }, words: (dir) => [`${dir}/pod.yaml`], error: /pod\.yaml is no directory/ },
    { what: 'a directory that everyone can write', prepare: (dir) => { chmodSync(dir, 0o777); }, words: (dir) => [dir], error: /can be written by everyone, who could then run anything here\n {2}chmod o-w \S+\n/ },
    { what: 'a directory below one that everyone can write', prepare: (dir) => { mkdirSync(`${dir}/below`); chmodSync(dir, 0o777); }, words: (dir) => [`${dir}/below`], error: /can be written by everyone.*\n {2}chmod o-w \S+[^w]\n/ },
    { what: 'an instance name', words: (dir) => [dir, '--instance', '../up'], error: /instance name "\.\.\/up": expected at most 32 of a-z.*\n {2}use for example --instance lab\n/ },
    { what: 'a range that is none', words: (dir) => [dir, '--ipv4-range', 'ten'], error: /--ipv4-range ten: expected a prefix\n {2}for example 10\./ },
    { what: 'a range that is too small', words: (dir) => [dir, '--ipv4-range', '10.9.9.0/28'], error: /--ipv4-range 10\.9\.9\.0\/28: expected a prefix\n {2}for example/ },
    { what: 'a range of the other family', words: (dir) => [dir, '--ipv6-range', '10.9.0.0/16'], error: /--ipv6-range 10\.9\.0\.0\/16: expected a prefix\n {2}for example fd77/ },
    { what: 'a range that has a route', words: (dir) => [dir, '--ipv4-range', '198.51.100.0/19'], error: /overlaps with 198\.51\.100\.0\/24.*\n {2}this one is free: --ipv4-range 10\./ },
    { what: 'an unknown way to attach', words: (dir) => [dir, '--attach', 'xdp'], code: 2, error: /Allowed choices are tcx, clsact\.\n {2}see/ },
    { what: 'a directory that is not there, in the background', words: (dir) => [`${dir}/nowhere`, '-d'], error: /^weir: manifest directory: ENOENT.*\n {2}mkdir -p .*nowhere\n$/ },
  ];
  test.each(rows)('$what', ({ prepare, words, code = 1, error }) => {
    const dir = mkdtempSync(join(scratch, 'dir-'));
    chmodSync(dir, 0o755);
    prepare?.(dir);
    const line = words(dir);
    const run = node.on('node', launcher, 'up', ...line, ...(line.includes('--instance') ? [] : ['--instance', name]));
    expect([run.code, run.error]).toEqual([code, expect.stringMatching(error)]);
    expect(run.error).not.toMatch(/\n {4}at /);
    expect(left()).toEqual([]);
  });
});

describe('in the background', () => {
  test('up -d, a second one is refused, down; down when nothing runs', async () => {
    const up = weir('up', node.dir, '-d');
    expect([up.code, up.out]).toEqual([0, expect.stringMatching(/^weir runs in the background \(process \d+\).*\n.*\.\/weir status --instance test-faults.*\.\/weir down --instance test-faults\n$/)]);
    await running('default/server');
    for (const flag of [['-d'], []]) expect(weir('up', node.dir, ...flag)).toMatchObject({ code: 1, error: expect.stringMatching(/runs already \(process \d+\)\n {2}stop it with \.\/weir down --instance test-faults/) });
    expect(weir('status').code).toBe(0);
    expect(weir('down')).toMatchObject({ code: 0, out: 'the agent has ended and everything is gone\n' });
    expect(left()).toEqual([]);
    expect(weir('down')).toMatchObject({ code: 0, out: 'nothing was running\n' });
  });

  test('down after a kill -9 knows the ranges that were given', async () => {
    const { agent, ended } = start(launcher, 'up', node.dir, '--instance', name, '--ipv4-range', '10.77.0.0/16', '--ipv6-range', 'fd77:e1:77::/64');
    await answers();
    await running('default/server', 'default/client');
    agent.kill('SIGKILL');
    await ended;
    expect(left().filter((line) => line.startsWith('unreachable'))).toHaveLength(2);
    expect(weir('down')).toMatchObject({ code: 0, out: '3 workloads of an agent that had died are gone\n' });
    expect(left()).toEqual([]);
  });
});

describe('sudden ends leave nothing behind', () => {
  test.each([0, 150, 300, 450, 600, 800, 1_100])('Ctrl-C %d ms after the start', async (delayMs) => {
    const { agent, ended } = start(launcher, 'up', node.dir, '--instance', name);
    await sleep(delayMs);
    agent.kill('SIGINT');
    await ended;
    expect(left()).toEqual([]);
  });

  test('Ctrl-C again and again', async () => {
    const { agent, log, ended } = start(launcher, 'up', node.dir, '--instance', name);
    await answers();
    const hammer = setInterval(() => { agent.kill('SIGINT'); }, 10);
    expect(await ended).toBe(0);
    clearInterval(hammer);
    expect(log()).toMatch(/SIGINT: stopping the workloads and removing everything\nall gone\n$/);
    expect(left()).toEqual([]);
  });

  test('a reader that goes: up | head -n 1', async () => {
    const { ended } = start('sh', '-c', `"$0" up "$1" --instance ${name} | head -n 1`, launcher, node.dir);
    await ended;
    await node.until('nothing is left', () => left().length === 0, 10_000);
  });

  test('a terminal that goes', async () => {
    const { agent } = start('script', '--quiet', '--flush', '--command', `${launcher} up ${node.dir} --instance ${name}`, '/dev/null');
    await answers();
    await running('default/server');
    agent.kill('SIGKILL');
    await node.until('nothing is left', () => left().length === 0, 10_000);
  });

  test('a terminal shows the live table, and is as it was when weir ends', async () => {
    const { agent, log, ended } = start('script', '--quiet', '--flush', '--command', `stty cols 100 rows 30; ${launcher} up ${node.dir} --instance ${name}`, '/dev/null');
    await answers();
    await running('default/server', 'default/client');
    const lines = (): string[] => log().split('\x1b[H').at(-1)!.split('\n');
    await node.until('the table is there', () => lines()[0]!.includes('2/2 workloads running'), 5_000);
    // eslint-disable-next-line no-control-regex
    for (const line of lines()) expect(line.replaceAll(/\x1b\[\d*[A-Za-z]|\r/g, '').length).toBeLessThanOrEqual(100);
    expect(log()).toContain('\x1b[?1049h');
    weir('down');
    await ended;
    expect(agent.exitCode).toBe(0);
    expect(log()).toContain('\x1b[?7h\x1b[?25h\x1b[?1049l');
    expect(left()).toEqual([]);
  });
});

describe('bad files harm nothing else', () => {
  const bomb = `${Array.from({ length: 10 }, (_, level) => `l${level}: &l${level} [${Array(10).fill(level === 0 ? 'x' : `*l${level - 1}`).join(', ')}]`).join('\n')}\n`;
  const labels = (index: number): Record<string, string> => ({ app: `app${index}` });
  const many = Array.from({ length: 50 }, (_, index) => policy(`p${index}`, { endpointSelector: { matchLabels: labels(index) }, ingress: [index === 25 ? { fromEndpoints: [{ matchLabels: 'all' }] } : {}] }));
  let cluster: Cluster;
  beforeAll(async () => {
    cluster = await Cluster.start('badfiles', {
      'pods.yaml': [...pods, pod('guarded', server(8080), labels(7)), pod('unguarded', server(8080), labels(25))],
      'bomb.yaml': bomb,
      'deep.yaml': `apiVersion: v1\nkind: Pod\nmetadata: {name: deep}\nspec: ${'['.repeat(5_000)}${']'.repeat(5_000)}\n`,
      'large.yaml': `# ${'x'.repeat(2 << 20)}\n`,
      'binary.yaml': '\u0000\u0001',
      'many.yaml': many,
    });
  }, 60_000);
  afterAll(async () => { await cluster.close(); });

  const problems = (): string[] => cluster.json<{ problems: { at: string; message: string }[] }>('status').problems.map(({ at, message }) => `${at} ${message}`);
  const rows = [
    { what: 'a YAML bomb', problem: /bomb\.yaml:\d+:\d+ .*alias/i },
    { what: 'YAML nested too deep', problem: /deep\.yaml:\d+:\d+ .*(deep|nest)/i },
    { what: 'a file of 2 MiB', problem: /large\.yaml:1:1 larger than \d+ bytes; split it/ },
    { what: 'binary', problem: /binary\.yaml:\d+:\d+ / },
    { what: 'one policy of 50', problem: /many\.yaml:\d+:\d+ .*matchLabels/ },
  ];
  test.each(rows)('$what is refused by name', ({ problem }) => {
    expect(problems().filter((line) => problem.test(line))).not.toEqual([]);
  });
  test('each has one problem', () => {
    expect(problems().map((line) => line.replace(/^.*\/(\w+)\.yaml.*$/, '$1')).sort()).toEqual(['binary', 'bomb', 'deep', 'large', 'many']);
  });
  test('the other 49 policies are in force', () => {
    expect(cluster.json<{ policies: object }>('status').policies).toEqual({ enforced: 49, audited: 0, off: 0, refused: 1 });
    const probe = (to: string): Probe => ({ kind: 'tcp', to: cluster.address(`default/${to}`).ipv4, port: 8080 });
    expect(cluster.probe('default/client', [probe('server'), probe('guarded'), probe('unguarded')])).toEqual(['open', 'silent', 'open']);
  });
});

describe('two agents in one network namespace', () => {
  const second = 'test-faults-two';
  const theirs = instanceOf(second);
  let cluster: Cluster;
  let other: Started;
  let otherDir: string;
  const others = (...words: string[]): Run => cluster.on('node', launcher, ...words, '--instance', second);
  const inOther = (workload: string, ...command: string[]): Run => cluster.on('node', launcher, 'workload', 'exec', workload, '--instance', second, '--', ...command);
  const reach = `import socket; print(socket.create_connection(('${outside.ipv4}', 8080), timeout=2).recv(100).decode()); print(socket.create_connection(('${outside.ipv6}', 8080), timeout=2).recv(100).decode())`;
  const state = (): object => ({
    interfaces: cluster.on('node', 'ip', '-o', '-br', 'link').out.split('\n').filter((line) => line.startsWith(cluster.instance.interfacePrefix)).map((line) => line.split(/[ @]/)[0]).sort(),
    routes: cluster.on('node', 'ip', 'route').out.split('\n').filter((line) => line.includes(cluster.instance.interfacePrefix)).sort(),
    pins: readdirSync(cluster.instance.pinDir, { recursive: true }).map(String).filter((pin) => !pin.includes(theirs.interfacePrefix)).sort(),
    workloads: cluster.json<{ key: string; uid: string; phase: string }[]>('workload', 'list').map(({ key, uid, phase }) => [key, uid, phase]),
  });

  beforeAll(async () => {
    otherDir = mkdtempSync(join(scratch, 'two-'));
    chmodSync(otherDir, 0o755);
    writeFileSync(join(otherDir, 'pods.json'), JSON.stringify({ apiVersion: 'v1', kind: 'List', items: pods }));
    cluster = await Cluster.start('two', { 'pods.yaml': pods, 'closed.yaml': policy('closed', { endpointSelector: { matchLabels: { app: 'server' } }, ingress: [{}] }) });
    cluster.background('outside', ...server(8080));
    await cluster.until('the outside listens', () => cluster.probe('node', [{ kind: 'tcp', to: outside.ipv4, port: 8080 }])[0] === 'open');
  }, 60_000);
  afterAll(async () => {
    other.agent.kill('SIGTERM');
    await other.ended;
    await cluster.close();
  });

  const firstWorks = (): void => {
    const { ipv4, ipv6 } = cluster.address('default/server');
    const probes: Probe[] = [{ kind: 'tcp', to: ipv4, port: 8080 }, { kind: 'tcp', to: ipv6, port: 8080 }, { kind: 'tcp', to: outside.ipv4, port: 8080 }, { kind: 'tcp', to: outside.ipv6, port: 8080 }, { kind: 'udp', to: outside.ipv4, port: 8080 }, { kind: 'ping', to: outside.ipv6 }];
    expect(cluster.probe('default/client', probes)).toEqual(['silent', 'silent', 'open', 'open', 'open', 'open']);
  };

  test('the second starts beside the first, both work', async () => {
    const before = state();
    firstWorks();
    other = startOn('two', launcher, 'up', otherDir, '--instance', second);
    await cluster.until('the second runs', () => { if (other.agent.exitCode !== null) throw new Error(other.log()); return existsSync(theirs.apiSocket) && / server +Running/.test(others('workload', 'list').out) && / client +Running/.test(others('workload', 'list').out); }, 20_000);
    expect(state()).toEqual(before);
    firstWorks();
    await cluster.until('the server of the second listens', () => inOther('default/client', 'python3', '-c', 'import socket; socket.create_connection(("server", 8080), timeout=2)').code === 0);
    expect(inOther('default/client', 'python3', '-c', reach)).toMatchObject({ code: 0 });
  });

  test('the second goes, the first does not notice', async () => {
    const before = state();
    other.agent.kill('SIGTERM');
    expect(await other.ended).toBe(0);
    expect(traces(theirs)).toEqual([]);
    expect(cluster.on('node', 'ip', '-o', 'link').out).not.toContain(theirs.interfacePrefix);
    expect(state()).toEqual(before);
    firstWorks();
  });
});
