// Lines of real consoles: what fails a run and what does not.
import { describe, expect, test } from '@jest/globals';
import { complaintOf } from './console.ts';

const rows = [
  { name: 'a panic', line: '[    1.2] Kernel panic - not syncing: VFS: Unable to mount root fs', fails: true },
  { name: 'an oops', line: '[    9.9] Oops: 0000 [#1] PREEMPT SMP NOPTI', fails: true },
  { name: 'a bad access', line: '[    9.9] BUG: kernel NULL pointer dereference, address: 0000000000000008', fails: true },
  { name: 'an assertion', line: '[    9.9] kernel BUG at net/core/skbuff.c:110!', fails: true },
  { name: 'a warning', line: '[   12.0] WARNING: CPU: 0 PID: 77 at kernel/bpf/verifier.c:1200 foo+0x1/0x2', fails: true },
  { name: 'a stuck CPU', line: '[   60.1] watchdog: BUG: soft lockup - CPU#0 stuck for 26s! [node:99]', fails: true },
  { name: 'a task that waits for ever', line: '[  242.1] INFO: task node:99 blocked for more than 120 seconds.', fails: true },
  { name: 'no memory', line: '[   60.1] Out of memory: Killed process 99 (node)', fails: true },
  { name: 'the host\'s own init fails', line: 'BUG: weir init: mount vda', fails: true },
  { name: 'a module without a signature', line: '[    1.1] Loading of module with unavailable key is rejected', fails: false },
  { name: 'a filesystem', line: '[    2.0] EXT4-fs (vda): mounted filesystem ro without journal.', fails: false },
  { name: 'an advice of the clock', line: '[    0.9] clocksource: Switched to clocksource tsc', fails: false },
] as const;

describe('console', () => {
  test.each(rows)('$name', ({ line, fails }) => { expect(complaintOf(['[    0.0] Linux version', line])).toBe(fails ? line : undefined); });
});
