// For a test, as a process of its own in a mount namespace: a log on a disk that is full, and that has room again. Prints what became of it.
import { readFileSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { RotatingFile } from './file.ts';

const folder = process.argv[2]!;
const path = join(folder, 'log');
const line = (n: number): string => `line ${n} ${'x'.repeat(200)}`;

// What takes the disk beside the log, and goes later.
writeFileSync(join(folder, 'filler'), Buffer.alloc(32 << 10));
const file = new RotatingFile({ path, maxBytes: 10_000_000, backups: 1, compress: false });
let lateMs = 0;
let beforeMs = performance.now();
const timer = setInterval(() => { lateMs = Math.max(lateMs, performance.now() - beforeMs - 10); beforeMs = performance.now(); }, 10);
const offered = 1_000;
for (let n = 0; n < offered; n += 1) {
  file.append(line(n));
  if (n % 50 === 49) await sleep(20);
}
for (let turn = 0; turn < 200 && file.stats.written + file.stats.lost < offered; turn += 1) await sleep(20);
const full = { ...file.stats };
rmSync(join(folder, 'filler'));
await sleep(1_100); // it tries again after a second
for (let n = 0; n < 10; n += 1) file.append(line(offered + n));
await file.close();
clearInterval(timer);
const lines = readFileSync(path, 'utf8').split('\n');
const broken = lines.slice(0, -1).filter((one) => !/^line \d+ x{200}$/.test(one)).length + (lines.at(-1) === '' ? 0 : 1);
process.stdout.write(JSON.stringify({ offered, full, again: file.stats, lines: lines.length - 1, broken, lateMs, room: statfsSync(folder).blocks }));
