// Network namespaces: made and removed by their path, and work inside of one: only sockets opened there stay there, the thread comes back at once.
import { closeSync, mkdirSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { mount, setns, unmount, unshare } from './libc.ts';
import { Netlink } from './netlink.ts';

/** Calls `work` (synchronous) with the calling thread in the namespace at `path` (`/proc/PID/ns/net`). */
export function inNetns<Result>(path: string, work: () => Result): Result {
  const home = openSync('/proc/thread-self/ns/net', 'r');
  try {
    const there = openSync(path, 'r');
    try {
      setns(there, path);
    } finally {
      closeSync(there);
    }
    try {
      return work();
    } finally {
      setns(home, 'back to the own network namespace');
    }
  } finally {
    closeSync(home);
  }
}

/** `protocol`: of netlink; absent: rtnetlink. */
export function withNetlinkIn<Result>(path: string, work: (netlink: Netlink) => Result, protocol?: number): Result {
  return inNetns(path, () => {
    const netlink = new Netlink(protocol);
    try {
      return work(netlink);
    } finally {
      closeSync(netlink.fd);
    }
  });
}

const newNetwork = 0x40000000; // CLONE_NEWNET
const bind = 4096; // MS_BIND

export const isNetns = (path: string): boolean => readFileSync('/proc/self/mountinfo', 'utf8').split('\n').some((line) => line.split(' ')[4] === path);

/** A new one, kept by a mount at `path` as ip-netns(8) keeps its own; one that is there stays. */
export function makeNetns(path: string): void {
  if (isNetns(path)) return;
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, '', { mode: 0o444 });
  const home = openSync('/proc/thread-self/ns/net', 'r');
  try {
    unshare(newNetwork, 'new network namespace');
    mount('/proc/thread-self/ns/net', path, 'none', bind, '');
  } finally {
    setns(home, 'back to the own network namespace');
    closeSync(home);
  }
}

/** An absent one is fine. It ends with the last process in it. */
export function removeNetns(path: string): void {
  if (isNetns(path)) unmount(path);
  rmSync(path, { force: true });
}
