// SPDX-License-Identifier: Apache-2.0
// /proc of a container: its own processes; the kernel's switches read-only, what tells about the machine masked.
#include "shim.h"
#include <errno.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

enum { strict = MS_NOSUID | MS_NODEV | MS_NOEXEC };

static const char *const readonly_paths[] = {
  "/proc/sys", "/proc/irq", "/proc/bus", "/proc/fs", "/proc/sysrq-trigger", "/proc/mtrr", "/proc/driver", "/proc/tty", "/proc/pressure",
};

static const char *const masked_paths[] = {
  "/proc/kcore", "/proc/keys", "/proc/key-users", "/proc/kmsg", "/proc/kallsyms", "/proc/kpagecount", "/proc/kpageflags", "/proc/kpagecgroup",
  "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/latency_stats", "/proc/vmcore", "/proc/slabinfo", "/proc/vmallocinfo",
  "/proc/acpi", "/proc/asound", "/proc/scsi",
};

static bool absent(const char *path) {
  struct stat status;
  return lstat(path, &status) != 0;
}

static bool make_readonly(const char *path, char *reason) {
  if (absent(path)) return true;
  if (mount(path, path, NULL, MS_BIND | MS_REC, NULL) != 0) return failed(reason, "bind", path);
  if (mount(NULL, path, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | strict, NULL) != 0) return failed(reason, "make read-only", path);
  return true;
}

static bool mask(const char *path, char *reason) {
  struct stat status;
  if (absent(path)) return true;
  if (stat(path, &status) != 0) return failed(reason, "mask", path);
  int error = S_ISDIR(status.st_mode)
    ? mount("tmpfs", path, "tmpfs", MS_RDONLY | strict, "size=4k,mode=555")
    : mount("/dev/null", path, NULL, MS_BIND, NULL);
  return error == 0 || failed(reason, "mask", path);
}

/** Before mount_dev: masks are bound from the machine's /dev/null. */
bool mount_proc(char *reason) {
  if (mount("proc", "/proc", "proc", strict, NULL) != 0) return failed(reason, "mount proc on", "/proc");
  for (size_t i = 0; i < sizeof masked_paths / sizeof *masked_paths; i++) {
    if (!mask(masked_paths[i], reason)) return false;
  }
  for (size_t i = 0; i < sizeof readonly_paths / sizeof *readonly_paths; i++) {
    if (!make_readonly(readonly_paths[i], reason)) return false;
  }
  return true;
}
