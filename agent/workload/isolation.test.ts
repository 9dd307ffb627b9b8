// What a workload can see and do, asked from inside: as an unprivileged uid and as uid 0.
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import type { Server } from 'node:net';
import { container, Fixture, pod } from './fixture.ts';
import type { WorkloadRow } from './tables.ts';

let fixture: Fixture;
let server: Server;
const rows: Partial<Record<'user' | 'root', WorkloadRow>> = {};

beforeAll(async () => {
  fixture = new Fixture('isolation');
  server = createServer();
  await new Promise<void>((resolve) => { server.listen(fixture.instance.apiSocket, resolve); });
  fixture.addresses.set('test/user', '10.0.0.9').set('test/root', '10.0.0.9');
  for (const [name, more] of [['user', {}], ['root', { runAsUser: 0 }]] as const) {
    await fixture.run(pod(name, [container(['sleep', '1000'], more)]));
    rows[name] = await fixture.until(`test/${name}`, 'running', (row) => row?.containers[0]?.state === 'running');
  }
});
afterAll(async () => {
  server.close();
  await fixture.close();
});

interface Case { readonly name: string; readonly script: string; readonly out: RegExp; readonly only?: 'user' | 'root' }

const both = ['user', 'root'] as const;
const cases: Case[] = [
  { name: 'no capability in any set', script: 'grep -hE "^Cap" /proc/self/status | grep -vc "0000000000000000$"', out: /^0$/ },
  { name: 'no_new_privs', script: 'grep NoNewPrivs /proc/self/status', out: /^NoNewPrivs:\s1$/ },
  { name: 'no extra groups', script: 'grep Groups /proc/self/status', out: /^Groups:$/ },
  { name: 'an unprivileged uid', script: 'id -u', out: /^[1-9]\d{5,6}$/, only: 'user' },
  { name: 'uid 0 when asked for', script: 'id -u', out: /^0$/, only: 'root' },
  { name: 'umask', script: 'umask', out: /^0?022$/ },
  { name: 'no core files', script: 'ulimit -c', out: /^0$/ },
  { name: 'hostname is the pod', script: 'hostname', out: /^(user|root)$/ },
  { name: 'environment', script: 'echo $POD_NAMESPACE $HOME $TMPDIR', out: /^test \/run\/tmp \/run\/tmp$/ },
  { name: 'hosts file of its own', script: 'grep -v local /etc/hosts', out: /^10\.0\.0\.9 (user|root)$/ },
  { name: 'resolv.conf of the namespace', script: 'cat /etc/resolv.conf', out: /^search test\.svc\.cluster\.local$/ },
  { name: 'resolv.conf cannot be written', script: 'echo x >> /etc/resolv.conf', out: /(Read-only|Permission denied|cannot create)/ },
  { name: 'hosts file cannot be written', script: 'echo x >> /etc/hosts', out: /(Read-only|Permission denied|cannot create)/ },
  { name: 'HOME can be written', script: 'echo yes > $HOME/x && cat $HOME/x', out: /^yes$/ },
  { name: '/run holds nothing else', script: 'ls /run', out: /^tmp$/ },
  { name: '/etc cannot be written', script: 'touch /etc/weir-test', out: /(Read-only|Permission denied)/ },
  { name: '/ cannot be written', script: 'touch /weir-test', out: /(Read-only|Permission denied)/ },
  { name: '/tmp is read-only for uid 0', script: 'touch /tmp/weir-test', out: /Read-only/, only: 'root' },
  { name: '/proc/sys cannot be written', script: 'echo 1 > /proc/sys/kernel/core_uses_pid', out: /(Read-only|Permission denied|cannot create)/ },
  { name: 'sysrq cannot be pressed', script: 'echo h > /proc/sysrq-trigger', out: /(Read-only|Permission denied|cannot create)/ },
  { name: 'kcore is masked', script: 'head -c 10 /proc/kcore | wc -c; cat /proc/keys', out: /0/ },
  { name: 'no block device', script: 'find /dev -type b | wc -l', out: /^0$/ },
  { name: 'no device can be made', script: 'mknod $HOME/disk b 254 0', out: /not permitted/ },
  { name: '/dev is minimal', script: 'ls /dev | tr "\\n" " "', out: /^fd full null ptmx pts random shm stderr stdin stdout tty urandom zero\s*$/ },
  { name: 'no bpffs, no cgroupfs', script: 'grep -cE " (bpf|cgroup2?|tracefs|debugfs|securityfs) " /proc/self/mountinfo', out: /^0$/ },
  { name: 'bpffs folder is empty', script: 'ls /sys/fs/bpf /sys/fs/cgroup 2>/dev/null | grep -v :', out: /^$/ },
  { name: 'nothing can be mounted', script: 'mount -t tmpfs none /run/tmp', out: /(denied|not permitted|superuser)/ },
  { name: 'nothing can be unmounted', script: 'umount /run', out: /(denied|not permitted|superuser)/ },
  { name: 'no user namespace', script: 'unshare -Ur true; unshare -rC true', out: /^(.*unshare failed: Operation not permitted\n?){2}$/ },
  { name: 'no other namespace', script: 'unshare -m true', out: /unshare failed: Operation not permitted/ },
  { name: 'threads and forks work', script: 'ls | cat | wc -l', out: /^[1-9]\d*$/ },
  { name: '/sys is read-only', script: 'echo 1 > /sys/kernel/profiling', out: /(Read-only|Permission denied|cannot create)/ },
  { name: 'only its own processes', script: 'ls -d /proc/[0-9]* | wc -l', out: /^[1-9]$/ },
  { name: 'its init cannot be looked into', script: 'ls /proc/1/fd; readlink /proc/1/exe; cat /proc/1/environ', out: /Permission denied/ },
  { name: 'its init cannot be killed', script: 'kill -9 1; kill -0 1 && echo alive', out: /alive/ },
  { name: 'no files of the shim are open', script: 'ls /proc/self/fd | wc -l', out: /^4$/ },
];

test.each(cases.flatMap((one) => (one.only === undefined ? both : [one.only]).map((who) => ({ ...one, who }))))('$who: $name', ({ who, script, out }) => {
  expect(fixture.exec(rows[who]!, ['sh', '-c', script]).out).toMatch(out);
});

test.each(both)('%s: state folder and sockets are hidden', (who) => {
  const { stateDir, apiSocket } = fixture.instance;
  expect(fixture.exec(rows[who]!, ['sh', '-c', `ls ${stateDir}; cat ${apiSocket}; ls /run/weir`]).out).toMatch(/^(.*No such file or directory\n?){3}$/);
});

test('own namespaces, all but the user namespace', () => {
  const { pid } = rows.user!.containers[0]!;
  const same = ['net', 'pid', 'mnt', 'ipc', 'uts', 'cgroup'].filter((name) => fixture.exec(rows.user!, ['readlink', `/proc/self/ns/${name}`]).out
    === fixture.exec(rows.root!, ['readlink', `/proc/self/ns/${name}`]).out);
  expect(same).toEqual([]);
  expect(readFileSync(`/proc/${pid}/cgroup`, 'utf8')).toContain(rows.user!.uid);
});

test('distinct uids', async () => {
  await fixture.run(pod('second', [container(['sleep', '1000'])]));
  const second = await fixture.until('test/second', 'running', (row) => row?.containers[0]?.state === 'running');
  expect(fixture.exec(second, ['id', '-u']).out).not.toBe(fixture.exec(rows.user!, ['id', '-u']).out);
});

test('the shim itself as a program is a sealed copy', async () => {
  await fixture.run(pod('self', [container(['/proc/self/exe', 'run', '/nothing'], { runAsUser: 0 })]));
  const row = await fixture.until('test/self', 'ended', (one) => one?.containers[0]?.state === 'terminated');
  expect(row.phase).toBe('Failed');
});
