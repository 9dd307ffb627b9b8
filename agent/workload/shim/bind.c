// SPDX-License-Identifier: Apache-2.0
// Folders and files of the agent's that a container sees read-only: resolv.conf, and what weir's own pods run on. They lie where a
// container sees nothing, so each is opened as a tree of its own before that is covered, and put in its place after.
#include "shim.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

// Kernel 5.2; the headers of older systems do not have them.
enum { call_open_tree = 428, call_move_mount = 429, tree_clone = 1, tree_cloexec = O_CLOEXEC, from_empty_path = 4, to_symlinks = 0x10 };

bool open_trees(const struct pod_spec *pod, int trees[max_binds], char *reason) {
  for (int i = 0; i < pod->bind_count; i++) {
    trees[i] = (int)syscall(call_open_tree, AT_FDCWD, pod->binds[i].source, tree_clone | tree_cloexec);
    if (trees[i] < 0) return failed(reason, "open", pod->binds[i].source);
  }
  return true;
}

/** Every folder of `path` up to itself. */
static bool make_folders(const char *path, char *reason) {
  char part[4096];
  if (strlen(path) >= sizeof part) return failed(reason, "create", "a path that is too long");
  for (const char *slash = strchr(path + 1, '/'); ; slash = strchr(slash + 1, '/')) {
    size_t length = slash == NULL ? strlen(path) : (size_t)(slash - path);
    memcpy(part, path, length);
    part[length] = 0;
    if (mkdir(part, 0755) == 0 ? chmod(part, 0755) != 0 : errno != EEXIST && errno != EROFS) return failed(reason, "create", part);
    if (slash == NULL) return true;
  }
}

/** A folder is made in the container's own /run; a file has to be there: a machine without /etc/resolv.conf has none inside either. */
bool move_trees(const struct pod_spec *pod, const int trees[max_binds], char *reason) {
  for (int i = 0; i < pod->bind_count; i++) {
    struct stat source, target;
    const char *path = pod->binds[i].target;
    if (fstat(trees[i], &source) != 0) return failed(reason, "stat", pod->binds[i].source);
    bool folder = S_ISDIR(source.st_mode);
    if (folder && !make_folders(path, reason)) return false;
    if (!folder && stat(path, &target) != 0 && errno == ENOENT) { close(trees[i]); continue; }
    if (syscall(call_move_mount, trees[i], "", AT_FDCWD, path, from_empty_path | to_symlinks) != 0) return failed(reason, "bind", path);
    close(trees[i]);
    unsigned long flags = MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV;
    if (mount(NULL, path, NULL, flags, NULL) != 0) return failed(reason, "remount", path);
  }
  return true;
}
