// What on a kernel's console makes a run a failure, whatever the tests in it said.

const complaints: readonly RegExp[] = [
  /Kernel panic - not syncing/, /\bOops\b/, /\bBUG:/, /\bkernel BUG at\b/, /\bWARNING:/, /general protection fault/, /soft lockup|hung_task|blocked for more than/, /Out of memory: Killed/,
];

/** The first line that is one. */
export const complaintOf = (lines: readonly string[]): string | undefined => lines.find((line) => complaints.some((one) => one.test(line)));
