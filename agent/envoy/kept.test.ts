// Who is frozen: a small program in Envoy's place stops to answer its keeper.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeAll, expect, test } from '@jest/globals';
import { cgroupRoot, ensureMounts } from '../node/check.ts';
import { buildKeeper } from './build.ts';
import { KeptProcess } from './kept.ts';
import { until } from './testing.ts';

beforeAll(() => {
  ensureMounts();
  buildKeeper();
});

/** Answers three questions, then does what it is told, then answers on. */
const program = (then: string): string => `
import os, socket, time
path = '/run/weir/own/admin.sock'
if os.path.exists(path): os.unlink(path)
door = socket.socket(socket.AF_UNIX)
door.bind(path)
door.listen(16)
asked = 0
while True:
    guest = door.accept()[0]
    asked += 1
    if asked == 4:
        ${then}
    guest.send(b'HTTP/1.1 200 OK')
    guest.close()
`;
const seconds = 4.5; // more than silent_ms of keeper.h

test.each([
  { name: 'works on without an answer: is left alone', then: `end = time.monotonic() + ${seconds}\n        while time.monotonic() < end: pass`, frozen: 0 },
  { name: 'sleeps without an answer: is ended, and another started', then: `time.sleep(${seconds})`, frozen: 1 },
])('who $name', async ({ then, frozen }) => {
  const folder = mkdtempSync(join(tmpdir(), 'weir-kept-'));
  const kept = new KeptProcess({ folder, cgroup: join(cgroupRoot()!, `weir-test-kept-${process.pid}`), user: 199_000, memoryBytes: 256 * 2 ** 20, attach: () => undefined });
  try {
    kept.makeFolders();
    kept.start({ path: '/usr/bin/python3', arguments: ['-c', program(then)], identity: 'one' });
    const pid = await until(() => ((kept.status?.envoy ?? 0) > 0 ? kept.status!.envoy : undefined), 5_000);
    await new Promise((resolve) => { setTimeout(resolve, seconds * 1_000 + 2_500); });
    expect([kept.status?.frozen, kept.status?.restarts, kept.status?.envoy === pid]).toEqual([frozen, frozen, frozen === 0]);
  } finally {
    await kept.end();
    rmSync(folder, { recursive: true, force: true });
  }
}, 30_000);
