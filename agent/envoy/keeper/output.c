// SPDX-License-Identifier: Apache-2.0
// What it writes -> output.log in its folder; at 4 MiB the file becomes output.log.1 (one old file is kept).
#include "keeper.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

void open_log(struct keeper *keeper) {
  struct stat status;
  keeper->log = openat(keeper->folder, "output.log", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  keeper->log_bytes = keeper->log >= 0 && fstat(keeper->log, &status) == 0 ? status.st_size : 0;
}

/** A full disk loses lines, never Envoy. */
void drain_output(struct keeper *keeper) {
  enum { rounds = 16 };
  char chunk[16 << 10];
  for (int round = 0; round < rounds && keeper->output >= 0; round++) {
    ssize_t got = read(keeper->output, chunk, sizeof chunk);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) {
      if (got < 0 && errno == EAGAIN) return;
      close(keeper->output);
      keeper->output = -1;
      return;
    }
    ssize_t written = write(keeper->log, chunk, got);
    if (written > 0) keeper->log_bytes += written;
    if (keeper->log_bytes < max_log_bytes) continue;
    close(keeper->log);
    renameat(keeper->folder, "output.log", keeper->folder, "output.log.1");
    open_log(keeper);
  }
}
