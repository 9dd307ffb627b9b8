// After a kill -9 of the agent: `weir down` finds its shims and leaves nothing.
import { expect, test } from '@jest/globals';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { cleanupWorkloads } from './cleanup.ts';
import { container, Fixture, pod, shell } from './fixture.ts';
import { processOf } from './process.ts';

test('ends living shims and removes folders; a pid that is another process by now is left alone', async () => {
  const fixture = new Fixture('cleanup');
  const names = ['held', 'ready', 'deaf'];
  fixture.pods.write([pod('held', [container(['sleep', '1000'])])]);
  await fixture.run(pod('ready', [container(['sleep', '1000'])]));
  await fixture.run(pod('deaf', [container(shell('trap "" TERM; while :; do sleep 1; done'))], { terminationGracePeriodMs: 60_000 }));
  const rows = await Promise.all(names.map((name) => fixture.until(`test/${name}`, 'made', (row) => (row?.shimPid ?? 0) > 0)));
  await fixture.phase('test/deaf', 'Running');
  fixture.reconciler.close();
  const status = join(fixture.folder(rows[0]!), 'status.json');
  writeFileSync(status, readFileSync(status, 'utf8').replace(/"shimPid":\d+/, `"shimPid":${process.pid}`));
  expect(await cleanupWorkloads(fixture.instance, fixture.cgroupFolder)).toBe(2);
  expect(rows.filter((row) => processOf(row.shimPid) !== undefined)).toEqual([]);
  expect(existsSync(fixture.cgroupFolder) || existsSync(join(fixture.instance.stateDir, 'pods'))).toBe(false);
  expect(await cleanupWorkloads(fixture.instance, fixture.cgroupFolder)).toBe(0);
  await fixture.close();
});
