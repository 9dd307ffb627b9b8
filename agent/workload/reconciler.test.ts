// Pods from start to end with real processes: phases, restarts, release, loss and adoption of shims, nothing left behind.
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { setTimeout as sleep } from 'node:timers/promises';
import { container, Fixture, pod, shell } from './fixture.ts';
import { readLog } from './logs.ts';
import { processOf } from './process.ts';
import type { ContainerSpec, PodRow, WorkloadPhase } from './tables.ts';

let fixture: Fixture;
beforeAll(() => { fixture = new Fixture('reconciler'); });
afterEach(async () => {
  fixture.pods.write([], fixture.pods.rows().map((row) => row.key));
  for (const row of fixture.workloads.rows()) await fixture.until(row.key, 'gone', (one) => one === undefined);
});
afterAll(() => fixture.close());

const sleeper = container(['sleep', '1000']);
const running = (row: { phase: WorkloadPhase; containers: readonly { state: string }[] } | undefined): boolean =>
  row?.phase === 'Running' && row.containers.every((one) => one.state === 'running');

interface Ending { readonly name: string; readonly spec: ContainerSpec; readonly policy?: PodRow['restartPolicy']; readonly phase: WorkloadPhase; readonly state: object }

const endings: Ending[] = [
  { name: 'exit 0', spec: container(['true']), phase: 'Completed', state: { state: 'terminated', exitCode: 0, pid: 0 } },
  { name: 'exit 3', spec: container(shell('exit 3')), phase: 'Failed', state: { state: 'terminated', exitCode: 3 } },
  { name: 'ended by a signal', spec: container(shell('kill -9 $$')), phase: 'Failed', state: { exitCode: 137, signal: 9 } },
  { name: 'exit 0, OnFailure', spec: container(['true']), policy: 'OnFailure', phase: 'Completed', state: { exitCode: 0 } },
  { name: 'exit 1, OnFailure', spec: container(['false']), policy: 'OnFailure', phase: 'CrashLoopBackOff', state: { state: 'waiting', exitCode: 1 } },
  { name: 'exit 0, Always', spec: container(['true']), policy: 'Always', phase: 'CrashLoopBackOff', state: { state: 'waiting', exitCode: 0 } },
  { name: 'command not found', spec: container(['curll', 'x']), phase: 'Failed', state: { exitCode: 127, reason: 'command not found: curll' } },
  { name: 'path not found', spec: container(['/no/such']), phase: 'Failed', state: { exitCode: 127, reason: 'command not found: /no/such' } },
  { name: 'permission denied', spec: container(['/etc/passwd']), phase: 'Failed', state: { exitCode: 126, reason: 'permission denied: /etc/passwd' } },
  { name: 'bad workingDir', spec: container(['true'], { workingDir: '/no' }), phase: 'Failed', state: { reason: 'workingDir /no: No such file or directory' } },
  { name: 'characters that JSON escapes', spec: container(['a"\\\n\u001b[é']), phase: 'Failed', state: { reason: 'command not found: a"\\\n\u001b[é' } },
  { name: 'PATH of the environment', spec: container(['sleep', '0'], { env: { PATH: '/nowhere' } }), phase: 'Failed', state: { reason: 'command not found: sleep' } },
];

test.each(endings)('$name -> $phase', async ({ spec, policy, phase, state }) => {
  await fixture.run(pod('ending', [spec], { restartPolicy: policy ?? 'Never' }));
  expect((await fixture.phase('test/ending', phase)).containers[0]).toMatchObject(state);
});

describe('a pod', () => {
  test('restarts after a back-off that doubles', async () => {
    await fixture.run(pod('loop', [container(['false'])], { restartPolicy: 'Always' }));
    await fixture.until('test/loop', 'restarted twice', (row) => row?.containers[0]?.restarts === 2);
    const row = fixture.workloads.get('test/loop')!;
    expect(Date.now() - row.startedAtMs).toBeGreaterThanOrEqual(3_000);
    await fixture.phase('test/loop', 'CrashLoopBackOff');
  });

  test('runs nothing before its release', async () => {
    fixture.pods.write([pod('held', [container(shell('echo ran; exec sleep 1000'))])]);
    const row = await fixture.until('test/held', 'made', (one) => (one?.shimPid ?? 0) > 0);
    await sleep(300);
    expect(fixture.processes()).toEqual([String(row.shimPid)]);
    expect(readLog(fixture.folder(row), 'main', { tail: 10 })).toEqual([]);
    fixture.reconciler.fail('test/held', 'no address is free');
    expect(fixture.workloads.get('test/held')).toMatchObject({ phase: 'Pending', message: 'no address is free' });
    fixture.reconciler.release('test/held');
    await fixture.until('test/held', 'running', running);
    expect(fixture.workloads.get('test/held')?.message).toBeUndefined();
  });

  test('that cannot be started says why, and starts as soon as it is mended', async () => {
    fixture.pods.write([pod('bad', [container(['true'], { env: { A: 'a\0b' } })])]);
    expect(fixture.workloads.get('test/bad')).toMatchObject({ phase: 'CrashLoopBackOff', shimPid: 0, message: 'start test/bad: test/bad: env holds a NUL character' });
    await fixture.run(pod('bad', [container(['true'])]));
    await fixture.phase('test/bad', 'Completed');
    fixture.lines.length = 0;
  });

  test('whose shim refuses it says so', async () => {
    fixture.pods.write([pod('many', Array.from({ length: 17 }, (_, index) => container(['true'], { name: `c${index}` })))]);
    const row = await fixture.phase('test/many', 'CrashLoopBackOff');
    expect(row).toMatchObject({ shimPid: 0, message: 'weir-shim: spec: container: more than 16' });
  });

  test('has one network for its containers, and one log each', async () => {
    const spec = (name: string): ContainerSpec => container(shell('echo out; echo err >&2; printf rest; exec sleep 1000'), { name });
    await fixture.run(pod('two', [spec('a'), spec('b')]));
    const row = await fixture.until('test/two', 'running', running);
    const read = (name: string, kind: string): string => fixture.exec(row, ['readlink', `/proc/self/ns/${kind}`], name).out;
    expect(read('a', 'net')).toBe(read('b', 'net'));
    expect(read('a', 'pid')).not.toBe(read('b', 'pid'));
    expect(fixture.exec(row, ['cat', '/sys/class/net/lo/operstate'], 'a').out).toBe('unknown');
    const lines = readLog(fixture.folder(row), 'b', { tail: 10 });
    expect(lines.map((line) => line.split(' ').slice(1).join(' ')).sort()).toEqual(['stderr err', 'stdout out']);
    expect(lines[0]).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z /);
  });

  test('passes SIGTERM on and is killed after its grace', async () => {
    await fixture.run(pod('term', [container(shell('trap "echo told; exit 0" TERM; echo ready; while :; do sleep 0.05; done'))]));
    const row = await fixture.until('test/term', 'running', running);
    await fixture.run(pod('deaf', [container(shell('trap "" TERM; echo ready; while :; do sleep 0.05; done'))], { terminationGracePeriodMs: 300 }));
    await fixture.until('test/deaf', 'running', running);
    await sleep(200);
    const begun = Date.now();
    fixture.pods.write([], ['test/term', 'test/deaf']);
    expect(fixture.workloads.get('test/term')?.phase).toBe('Terminating');
    await fixture.until('test/term', 'gone', (one) => one === undefined);
    expect(Date.now() - begun).toBeLessThan(300);
    await fixture.until('test/deaf', 'gone', (one) => one === undefined);
    expect(Date.now() - begun).toBeGreaterThanOrEqual(290);
    expect(processOf(row.shimPid)).toBeUndefined();
    expect(fixture.leftovers()).toEqual([]);
  });

  test('with a changed spec is run anew; with changed labels it is not', async () => {
    await fixture.run(pod('change', [sleeper]));
    const first = await fixture.until('test/change', 'running', running);
    fixture.pods.write([pod('change', [sleeper], { labels: { a: 'b' } })]);
    expect(fixture.workloads.get('test/change')).toMatchObject({ uid: first.uid, pod: { labels: { a: 'b' } } });
    fixture.pods.write([pod('change', [container(['sleep', '2000'])])]);
    const second = await fixture.until('test/change', 'made anew', (row) => row?.phase === 'Pending' && row.uid !== first.uid && row.shimPid > 0);
    expect(processOf(first.shimPid)).toBeUndefined();
    expect(second.shimPid).not.toBe(first.shimPid);
  });
});

describe('exec', () => {
  test.each([
    { name: 'exit code', command: ['sh', '-c', 'exit 7'], status: 7, out: '' },
    { name: 'signal', command: ['sh', '-c', 'kill -15 $$'], status: 143, out: '' },
    { name: 'not found', command: ['nope'], status: 127, out: 'weir-shim: command not found: nope' },
    { name: 'sees the container', command: ['sh', '-c', 'echo $POD_NAME; ls -d /proc/2'], status: 0, out: 'exec\n/proc/2' },
  ])('$name', async ({ command, status, out }) => {
    await fixture.run(pod('exec', [sleeper]));
    const row = await fixture.until('test/exec', 'running', running);
    expect(fixture.exec(row, command)).toEqual({ status, out });
    expect(fixture.exec(row, ['true'], 'other')).toEqual({ status: 126, out: 'weir-shim: no container other' });
  });

  test('is refused when the container does not run', async () => {
    await fixture.run(pod('done', [container(['true'])]));
    const row = await fixture.phase('test/done', 'Completed');
    expect(fixture.exec(row, ['true'])).toEqual({ status: 126, out: 'weir-shim: container main does not run' });
  });
});

describe('a shim', () => {
  test('killed takes everything with it, and the pod is started again', async () => {
    await fixture.run(pod('killed', [container(shell('sleep 1000 & setsid sleep 1000 & exec sleep 1000'))]));
    const row = await fixture.until('test/killed', 'running', running);
    await sleep(100);
    const pids = fixture.processes().map(Number);
    expect(pids.length).toBe(5);
    process.kill(row.shimPid, 'SIGKILL');
    await fixture.until('test/killed', 'lost', (one) => one?.phase === 'CrashLoopBackOff');
    expect(fixture.workloads.get('test/killed')?.message).toBe('its shim ended unexpectedly');
    await sleep(100);
    expect(pids.filter((pid) => processOf(pid) !== undefined)).toEqual([]);
    expect(fixture.leftovers()).toEqual([]);
    const next = await fixture.until('test/killed', 'made again', (one) => one?.uid !== row.uid && one?.phase === 'Pending');
    expect(next.message).toBeUndefined();
  });

  test('is adopted by the next agent, as it is', async () => {
    await fixture.run(pod('adopted', [sleeper]));
    const before = await fixture.until('test/adopted', 'running', running);
    await fixture.run(pod('orphan', [sleeper]));
    const orphan = await fixture.until('test/orphan', 'running', running);
    const synced = fixture.pods.expect('manifests');
    fixture.reconciler.close();
    fixture.pods.write([], ['test/orphan', 'test/adopted']);
    fixture.restartAgent();
    expect(fixture.workloads.get('test/adopted')).toEqual(before);
    expect(fixture.workloads.get('test/orphan')?.shimPid).toBe(orphan.shimPid);
    fixture.pods.write([pod('adopted', [sleeper], { labels: { read: 'again' } })]);
    await sleep(100);
    expect(fixture.workloads.get('test/orphan')?.phase).toBe('Running');
    synced();
    await fixture.until('test/orphan', 'pruned', (one) => one === undefined);
    expect(fixture.workloads.get('test/adopted')).toMatchObject({ uid: before.uid, phase: 'Running' });
    process.kill(before.shimPid, 'SIGKILL');
    await fixture.until('test/adopted', 'noticed', (one) => one?.phase === 'CrashLoopBackOff');
  });

  test('that died between two agents is cleaned and its pod made anew', async () => {
    const before = await fixture.run(pod('between', [sleeper]));
    fixture.reconciler.close();
    process.kill(before.shimPid, 'SIGKILL');
    await sleep(100);
    fixture.restartAgent();
    const after = await fixture.until('test/between', 'made', (one) => one?.phase === 'Pending' && one.shimPid > 0);
    expect(after.uid).not.toBe(before.uid);
    expect(fixture.leftovers().every((name) => name === after.uid)).toBe(true);
  });
});

test('20 starts and stops leave no process, cgroup or folder', async () => {
  for (let round = 0; round < 20; round += 1) {
    await fixture.run(pod('again', [sleeper, container(shell('sleep 1000 & sleep 1000'), { name: 'b' })]));
    await fixture.until('test/again', 'running', running);
    fixture.pods.write([], ['test/again']);
    await fixture.until('test/again', 'gone', (row) => row === undefined);
  }
  expect(fixture.processes()).toEqual([]);
  expect(fixture.leftovers()).toEqual([]);
  expect(fixture.lines.filter((line) => !/its shim ended unexpectedly|more than 16/.test(line))).toEqual([]);
});
