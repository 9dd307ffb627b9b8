// SPDX-License-Identifier: Apache-2.0
// status.json of Envoy's folder: written whole, then renamed, and only when something is new.
#include "keeper.h"
#include <fcntl.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

void write_status(const struct keeper *keeper) {
  static char last[256];
  char text[256];
  int length = snprintf(text, sizeof text, "{\"keeper\":%d,\"envoy\":%d,\"restarts\":%d,\"frozen\":%d,\"exitCode\":%d,\"signal\":%d}\n", getpid(), keeper->envoy, keeper->restarts,
                        keeper->frozen, WIFEXITED(keeper->last_status) ? WEXITSTATUS(keeper->last_status) : 0, WIFSIGNALED(keeper->last_status) ? WTERMSIG(keeper->last_status) : 0);
  if (strcmp(text, last) == 0) return;
  int fd = openat(keeper->folder, "status.json.draft", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0) return;  // the folder is gone or the disk is full: Envoy goes on, the agent sees old news
  bool whole = write(fd, text, length) == length;
  close(fd);
  if (whole && renameat(keeper->folder, "status.json.draft", keeper->folder, "status.json") == 0) memcpy(last, text, sizeof last);
}
