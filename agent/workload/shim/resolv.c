// SPDX-License-Identifier: Apache-2.0
// /etc/resolv.conf of a container where it is a link into /run (systemd-resolved), which the container does not see.
// The stub resolver at 127.0.0.53 answers only in the machine's network, so the file with the real servers is preferred.
#include "shim.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char link_path[] = "/etc/resolv.conf";
static const char real_servers[] = "/run/systemd/resolve/resolv.conf";

/** Before /run is covered. An empty `path`: nothing has to be kept. */
void read_resolv(struct resolv *resolv) {
  resolv->path[0] = 0;
  resolv->length = 0;
  char *target = realpath(link_path, NULL);
  if (target != NULL && strncmp(target, "/run/", 5) == 0) {
    int fd = open(real_servers, O_RDONLY | O_CLOEXEC);
    if (fd < 0) fd = open(target, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? -1 : read(fd, resolv->text, sizeof resolv->text);
    if (fd >= 0) close(fd);
    if (got >= 0 && strlen(target) < sizeof resolv->path) {
      resolv->length = got;
      strcpy(resolv->path, target);
    }
  }
  free(target);
}

/** Into the container's own, new /run. */
bool write_resolv(struct resolv *resolv, char *reason) {
  if (resolv->path[0] == 0) return true;
  for (char *slash = strchr(resolv->path + 5, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
    *slash = 0;
    if (mkdir(resolv->path, 0755) != 0 && errno != EEXIST) return failed(reason, "create", resolv->path);
    if (chmod(resolv->path, 0755) != 0) return failed(reason, "chmod", resolv->path);
    *slash = '/';
  }
  int fd = open(resolv->path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
  if (fd < 0 || fchmod(fd, 0644) != 0) return failed(reason, "create", resolv->path);
  bool whole = write(fd, resolv->text, resolv->length) == (ssize_t)resolv->length;
  close(fd);
  return whole || failed(reason, "write", resolv->path);
}
