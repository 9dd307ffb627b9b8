// Logs as a user reads them: the tail over a rotation, and following through one; long lines as the shim cuts them.
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { appendFileSync, mkdtempSync, renameSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { container, Fixture, pod, shell } from './fixture.ts';
import { followLog, readLog } from './logs.ts';

const folder = (): string => mkdtempSync(join(tmpdir(), 'logs-'));

let fixture: Fixture;
beforeAll(() => { fixture = new Fixture('logs'); });
afterAll(() => fixture.close());

test.each([
  { name: 'no file', tail: 5, lines: [] },
  { name: 'fewer lines than asked for', now: 'a\nb\n', tail: 5, lines: ['a', 'b'] },
  { name: 'the last ones', now: 'a\nb\nc\n', tail: 2, lines: ['b', 'c'] },
  { name: 'over the rotation', old: 'a\nb\n', now: 'c\n', tail: 2, lines: ['b', 'c'] },
  { name: 'none', now: 'a\n', tail: 0, lines: [] },
  { name: 'a line being written is left out', now: 'a\nhal', tail: 5, lines: ['a'] },
])('readLog: $name', ({ old, now, tail, lines }) => {
  const pods = folder();
  if (old !== undefined) writeFileSync(join(pods, 'c.log.1'), old);
  if (now !== undefined) writeFileSync(join(pods, 'c.log'), now);
  expect(readLog(pods, 'c', { tail })).toEqual(lines);
});

test('followLog: from now on, in whole lines, through a rotation', async () => {
  const pods = folder();
  const path = join(pods, 'c.log');
  writeFileSync(path, 'before\n');
  const stop = new AbortController();
  const seen: string[] = [];
  const reading = (async () => { for await (const line of followLog(pods, 'c', { signal: stop.signal })) seen.push(line); })();
  await sleep(50);
  appendFileSync(path, 'one\ntw');
  await sleep(150);
  appendFileSync(path, 'o é\n');
  renameSync(path, `${path}.1`);
  writeFileSync(path, 'three\n');
  await sleep(400);
  stop.abort();
  await reading;
  expect(seen).toEqual(['one', 'two é', 'three']);
});

test('a container: long lines are cut, the file is rotated, nothing of the last output is lost', async () => {
  const script = 'head -c 40000 /dev/zero | tr "\\0" x; echo; yes 0123456789012345678901234567890123456789 | head -n 150000; printf end';
  await fixture.run(pod('chatty', [container(shell(script))]));
  const row = await fixture.phase('test/chatty', 'Completed');
  const lines = readLog(fixture.folder(row), 'main', { tail: 200_000 });
  expect(lines.slice(0, 3).map((line) => line.length - line.indexOf('x'))).toEqual([16384, 16384, 7232]);
  expect(lines.at(-1)).toMatch(/ stdout end$/);
  expect(lines).toHaveLength(150_004);
  expect(statSync(join(fixture.folder(row), 'main.log.1')).size).toBeGreaterThan(10 << 20);
});
