// What a kernel may lack for a scenario: tried, not read from a list. A test without it is skipped by name; kernel-tests/vm has kernels that have it.
import { spawnSync } from 'node:child_process';

const sctp = 132;

export const hasSctp = (): boolean => spawnSync('python3', ['-c', `import socket; socket.socket(socket.AF_INET, socket.SOCK_STREAM, ${sctp})`], { stdio: 'ignore' }).status === 0;

/** In a network namespace that is gone with the command. */
export const hasNetem = (): boolean => spawnSync('unshare', ['--net', 'tc', 'qdisc', 'add', 'dev', 'lo', 'root', 'netem', 'delay', '1ms'], { stdio: 'ignore' }).status === 0;
