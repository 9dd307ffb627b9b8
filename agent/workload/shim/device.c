// SPDX-License-Identifier: Apache-2.0
// /dev of a container: the harmless devices, a terminal folder of its own, shared memory; no disks.
#include "shim.h"
#include <errno.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

static const struct { const char *path; unsigned int major, minor; } devices[] = {
  { "/dev/null", 1, 3 }, { "/dev/zero", 1, 5 }, { "/dev/full", 1, 7 }, { "/dev/random", 1, 8 }, { "/dev/urandom", 1, 9 }, { "/dev/tty", 5, 0 },
};

static const struct { const char *path, *target; } links[] = {
  { "/dev/fd", "/proc/self/fd" }, { "/dev/stdin", "/proc/self/fd/0" }, { "/dev/stdout", "/proc/self/fd/1" },
  { "/dev/stderr", "/proc/self/fd/2" }, { "/dev/ptmx", "pts/ptmx" },
};

static bool mount_folder(const char *path, const char *type, unsigned long flags, const char *data, char *reason) {
  if (mkdir(path, 0755) != 0) return failed(reason, "create", path);
  return mount(type, path, type, flags, data) == 0 || failed(reason, "mount", path);
}

/** Read-only at the end: a device node is written through, its folder is not. */
bool mount_dev(char *reason) {
  if (mount("tmpfs", "/dev", "tmpfs", MS_NOSUID | MS_NOEXEC, "size=64k,mode=755") != 0) return failed(reason, "mount tmpfs on", "/dev");
  for (size_t i = 0; i < sizeof devices / sizeof *devices; i++) {
    if (mknod(devices[i].path, S_IFCHR, makedev(devices[i].major, devices[i].minor)) != 0) return failed(reason, "create", devices[i].path);
    if (chmod(devices[i].path, 0666) != 0) return failed(reason, "chmod", devices[i].path);
  }
  for (size_t i = 0; i < sizeof links / sizeof *links; i++) {
    if (symlink(links[i].target, links[i].path) != 0) return failed(reason, "create", links[i].path);
  }
  if (!mount_folder("/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620", reason)) return false;
  if (!mount_folder("/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "size=64m,mode=1777", reason)) return false;
  if (mount(NULL, "/dev", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NOEXEC, NULL) != 0) return failed(reason, "remount", "/dev");
  return true;
}
