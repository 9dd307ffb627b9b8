// SPDX-License-Identifier: Apache-2.0
// What a container sees of the file system: the machine's own, without its kernel's control files, state folder and
// sockets. For uid 0 all of it is read-only, because uid 0 without capabilities still owns root's files.
#include "shim.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { max_mounts = 256 };

// mount_setattr is kernel 5.12: the headers of older systems do not have it, and its header clashes with <sys/mount.h>.
enum { call_mount_setattr = 442, attr_readonly = 1, attr_nosuid = 2, at_recursive = 0x8000 };
struct mount_attributes { uint64_t set, clear, propagation, user_namespace; };

/** Kernel control files: a workload has no business with them wherever they are mounted. */
static const char *const control_types[] = {
  "bpf", "cgroup", "cgroup2", "tracefs", "debugfs", "securityfs", "configfs", "pstore", "efivarfs", "fusectl", "binfmt_misc", "mqueue", "selinuxfs",
};

bool failed(char *reason, const char *what, const char *path) {
  snprintf(reason, reason_bytes, "%s %.150s: %s", what, path, strerror(errno));
  return false;
}

/** mountinfo writes space, tab, newline and backslash as `\` and three octal digits. */
static void unescape(char *text) {
  char *to = text;
  for (const char *from = text; *from != 0; to++) {
    if (from[0] == '\\' && from[1] >= '0' && from[1] <= '3' && from[2] != 0 && from[3] != 0) {
      *to = (char)((from[1] - '0') << 6 | (from[2] - '0') << 3 | (from[3] - '0'));
      from += 4;
    } else *to = *from++;
  }
  *to = 0;
}

static bool is_control(const char *type) {
  for (size_t i = 0; i < sizeof control_types / sizeof *control_types; i++) {
    if (strcmp(type, control_types[i]) == 0) return true;
  }
  return false;
}

/** Collects the mount points in order; the newest last, so that the caller unmounts from the end. */
static int control_mounts(char *points[max_mounts]) {
  FILE *file = fopen("/proc/self/mountinfo", "re");
  if (file == NULL) return -1;
  char *line = NULL;
  size_t size = 0;
  int count = 0;
  while (count < max_mounts && getline(&line, &size, file) > 0) {
    char point[4096], type[64];
    const char *tail = strstr(line, " - ");
    if (tail == NULL || sscanf(line, "%*s %*s %*s %*s %4095s", point) != 1 || sscanf(tail, " - %63s", type) != 1) continue;
    if (!is_control(type)) continue;
    unescape(point);
    points[count] = strdup(point);
    if (points[count] != NULL) count++;
  }
  free(line);
  fclose(file);
  return count;
}

static bool unmount_control(char *reason) {
  char *points[max_mounts];
  int count = control_mounts(points);
  if (count < 0) return failed(reason, "read", "/proc/self/mountinfo");
  bool done = true;
  for (int i = count - 1; i >= 0; i--) {
    // EINVAL and ENOENT: covered by another mount, or gone with the one above it.
    if (done && umount2(points[i], MNT_DETACH | UMOUNT_NOFOLLOW) != 0 && errno != EINVAL && errno != ENOENT) {
      done = failed(reason, "unmount", points[i]);
    }
    free(points[i]);
  }
  return done;
}

/** Set-uid bits and file capabilities are void everywhere (a program that carries some, such as ping, would else not even start
 * without them); for uid 0 nothing can be written. Kernels before 5.12 cannot do it for a whole tree. */
static bool restrict_mounts(bool readonly, char *reason) {
  struct mount_attributes attributes = { .set = attr_nosuid | (readonly ? attr_readonly : 0) };
  if (syscall(call_mount_setattr, AT_FDCWD, "/", at_recursive, &attributes, sizeof attributes) == 0) return true;
  if (errno != ENOSYS) return failed(reason, "restrict", "/");
  if (!readonly) return true;
  snprintf(reason, reason_bytes, "a container of uid 0 needs kernel 5.12 or newer (mount_setattr)");
  return false;
}

static bool bind_hosts(const char *hosts, char *reason) {
  if (mount(hosts, "/etc/hosts", NULL, MS_BIND, NULL) != 0) return failed(reason, "bind /etc/hosts to", hosts);
  unsigned long flags = MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC;
  if (mount(NULL, "/etc/hosts", NULL, flags, NULL) != 0) return failed(reason, "remount", "/etc/hosts");
  return true;
}

/** An empty, read-only folder over `path`. */
static bool hide(const char *path, char *reason) {
  struct stat status;
  if (stat(path, &status) != 0 && (errno == ENOENT || errno == ENOTDIR)) return true;
  if (mount("tmpfs", path, "tmpfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, "size=4k,mode=755") != 0) return failed(reason, "hide", path);
  return true;
}

/** /run/tmp is the one folder that every container may write to; nothing else of /run is left. */
static bool mount_run(char *reason) {
  if (mount("tmpfs", "/run", "tmpfs", MS_NOSUID | MS_NODEV, "size=256m,mode=755") != 0) return failed(reason, "mount tmpfs on", "/run");
  if (mkdir("/run/tmp", 0) != 0 || chmod("/run/tmp", 01777) != 0) return failed(reason, "create", "/run/tmp");
  // Where /var/run is a folder of its own, the machine's sockets live there too.
  struct stat run, var_run;
  if (stat("/var/run", &var_run) == 0 && stat("/run", &run) == 0 && run.st_dev != var_run.st_dev) return hide("/var/run", reason);
  return true;
}

static bool mount_sys(char *reason) {
  unsigned long flags = MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC;
  if (mount("sysfs", "/sys", "sysfs", flags, NULL) != 0) return failed(reason, "mount sysfs on", "/sys");
  return hide("/sys/firmware", reason) && hide("/sys/kernel/debug", reason) && hide("/sys/kernel/tracing", reason);
}

/** In the container's new mount namespace, still as root: all or nothing. */
bool isolate_mounts(const struct pod_spec *pod, const struct container_spec *spec, char *reason) {
  if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0) return failed(reason, "make private", "/");
  if (!unmount_control(reason)) return false;
  if (!restrict_mounts(spec->user == 0, reason)) return false;
  struct resolv resolv;
  read_resolv(&resolv);
  int trees[max_binds];
  if (!open_trees(pod, trees, reason)) return false;
  if (!bind_hosts(pod->hosts, reason)) return false;
  for (int i = 0; i < pod->hidden_count; i++) {
    if (!hide(pod->hidden[i], reason)) return false;
  }
  return mount_run(reason) && write_resolv(&resolv, reason) && move_trees(pod, trees, reason) && mount_proc(reason) && mount_sys(reason) && mount_dev(reason);
}
