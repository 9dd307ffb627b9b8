// Work inside another network namespace: only sockets opened there stay there, the thread comes back at once.
import { closeSync, openSync } from 'node:fs';
import { setns } from './libc.ts';
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

export function withNetlinkIn<Result>(path: string, work: (netlink: Netlink) => Result): Result {
  return inNetns(path, () => {
    const netlink = new Netlink();
    try {
      return work(netlink);
    } finally {
      closeSync(netlink.fd);
    }
  });
}
