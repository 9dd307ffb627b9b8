// SPDX-License-Identifier: Apache-2.0
// A container's output -> NAME.log in the pod's folder, one line each: `2026-01-02T03:04:05.123456789Z stdout TEXT`.
// At 10 MiB the file becomes NAME.log.1 (one old file is kept).
#include "shim.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static void log_path(const struct pod *pod, const struct container *container, const char *suffix, char path[4096]) {
  snprintf(path, 4096, "%s/%s.log%s", pod->spec.folder, container->spec->name, suffix);
}

void open_log(const struct pod *pod, struct container *container) {
  char path[4096];
  struct stat status;
  log_path(pod, container, "", path);
  container->log = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  container->log_bytes = container->log >= 0 && fstat(container->log, &status) == 0 ? status.st_size : 0;
}

static void rotate(const struct pod *pod, struct container *container) {
  char path[4096], old[4096];
  log_path(pod, container, "", path);
  log_path(pod, container, ".1", old);
  close(container->log);
  rename(path, old);
  open_log(pod, container);
}

static void write_line(const struct pod *pod, struct container *container, int stream, const char *line, size_t length) {
  static const char *const names[] = { "stdout", "stderr" };
  struct timespec now;
  struct tm parts;
  char head[64];
  clock_gettime(CLOCK_REALTIME, &now);
  gmtime_r(&now.tv_sec, &parts);
  size_t begun = strftime(head, sizeof head, "%Y-%m-%dT%H:%M:%S", &parts);
  int rest = snprintf(head + begun, sizeof head - begun, ".%09ldZ %s ", now.tv_nsec, names[stream]);
  struct iovec whole[] = {
    { .iov_base = head, .iov_len = begun + rest }, { .iov_base = (char *)line, .iov_len = length }, { .iov_base = "\n", .iov_len = 1 },
  };
  ssize_t written = writev(container->log, whole, 3);  // a full disk loses lines, never the workload
  if (written > 0) container->log_bytes += written;
  if (container->log_bytes >= max_log_bytes) rotate(pod, container);
}

/** Writes a line that has not ended. */
static void flush_stream(const struct pod *pod, struct container *container, int index) {
  struct log_stream *stream = &container->streams[index];
  if (stream->length > 0) write_line(pod, container, index, stream->line, stream->length);
  stream->length = 0;
}

static void split_lines(const struct pod *pod, struct container *container, int index) {
  struct log_stream *stream = &container->streams[index];
  char *at = stream->line, *end = stream->line + stream->length;
  for (char *newline; (newline = memchr(at, '\n', end - at)) != NULL; at = newline + 1) {
    write_line(pod, container, index, at, newline - at);
  }
  stream->length = end - at;
  memmove(stream->line, at, stream->length);
  if (stream->length == max_line_bytes) flush_stream(pod, container, index);
}

/** Bounded, so that a container that writes without end does not keep the shim from its other work. */
void drain_stream(const struct pod *pod, struct container *container, int index) {
  enum { rounds = 64 };
  struct log_stream *stream = &container->streams[index];
  for (int round = 0; round < rounds && stream->fd >= 0; round++) {
    ssize_t got = read(stream->fd, stream->line + stream->length, max_line_bytes - stream->length);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return;
    stream->length += got;
    split_lines(pod, container, index);
  }
}

/** The last output of a run: what the pipe still holds and a line that has not ended. */
void close_stream(const struct pod *pod, struct container *container, int index) {
  struct log_stream *stream = &container->streams[index];
  if (stream->fd < 0) return;
  drain_stream(pod, container, index);
  flush_stream(pod, container, index);
  close(stream->fd);
  stream->fd = -1;
}
