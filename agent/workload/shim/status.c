// SPDX-License-Identifier: Apache-2.0
// status.json of the pod's folder: what the shim tells the agent, whichever agent that is. Written whole, then renamed.
#include "shim.h"
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

int64_t now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/** Field 22 of /proc/PID/stat: with the pid it names one process for the whole uptime. 0 when there is none. */
uint64_t start_ticks_of(pid_t pid) {
  char path[64], text[1024];
  snprintf(path, sizeof path, "/proc/%d/stat", pid);
  FILE *file = fopen(path, "re");
  if (file == NULL) return 0;
  size_t length = fread(text, 1, sizeof text - 1, file);
  fclose(file);
  text[length] = 0;
  char *at = strrchr(text, ')');  // the name before it may hold spaces and brackets
  for (int field = 2; at != NULL && field < 22; field++) at = strchr(at + 1, ' ');
  return at == NULL ? 0 : strtoull(at + 1, NULL, 10);
}

/** Length of the UTF-8 sequence at `text`; 0 when it is none (RFC 3629, overlong forms let through). */
static int sequence_length(const unsigned char *text) {
  int length = text[0] < 0xc2 ? 0 : text[0] < 0xe0 ? 2 : text[0] < 0xf0 ? 3 : text[0] < 0xf5 ? 4 : 0;
  for (int i = 1; i < length; i++) {
    if ((text[i] & 0xc0) != 0x80) return 0;
  }
  return length;
}

static void write_string(FILE *file, const char *string) {
  fputc('"', file);
  for (const unsigned char *at = (const unsigned char *)string; *at != 0; at++) {
    int length = *at < 0x80 ? 1 : sequence_length(at);
    if (length == 0) fputs("\\ufffd", file);
    else if (*at == '"' || *at == '\\') fprintf(file, "\\%c", *at);
    else if (*at < 0x20 || *at == 0x7f) fprintf(file, "\\u%04x", *at);
    else {
      fwrite(at, 1, length, file);
      at += length - 1;
    }
  }
  fputc('"', file);
}

static void write_container(FILE *file, const struct container *container) {
  static const char *const states[] = { "waiting", "running", "terminated" };
  fputs("{\"name\":", file);
  write_string(file, container->spec->name);
  fprintf(file, ",\"state\":\"%s\",\"pid\":%d,\"restarts\":%d", states[container->state], container->init, container->restarts);
  if (container->ended_once) fprintf(file, ",\"exitCode\":%d", container->exit_code);
  if (container->signal != 0) fprintf(file, ",\"signal\":%d", container->signal);
  if (container->reason[0] != 0) {
    fputs(",\"reason\":", file);
    write_string(file, container->reason);
  }
  fputc('}', file);
}

static const char *phase_of(const struct pod *pod) {
  if (pod->terminating) return "Terminating";
  if (!pod->released) return "Pending";
  bool running = false, failed = false;
  for (int i = 0; i < pod->spec.container_count; i++) {
    const struct container *container = &pod->containers[i];
    if (container->state == state_waiting && container->ended_once) return "CrashLoopBackOff";
    running |= container->state != state_terminated;
    failed |= container->exit_code != 0;
  }
  return running ? "Running" : failed ? "Failed" : "Completed";
}

static char *status_text(const struct pod *pod, size_t *length) {
  char *text = NULL;
  FILE *file = open_memstream(&text, length);
  if (file == NULL) die("open_memstream");
  fprintf(file, "{\"phase\":\"%s\",\"shimPid\":%d,\"startTicks\":%" PRIu64 ",\"containers\":[",
          phase_of(pod), getpid(), pod->start_ticks);
  for (int i = 0; i < pod->spec.container_count; i++) {
    if (i > 0) fputc(',', file);
    write_container(file, &pod->containers[i]);
  }
  fputs("]}\n", file);
  fclose(file);
  return text;
}

/** Called after every turn of the loop; writes only what is new. */
void write_status(const struct pod *pod) {
  static char *last;
  char path[4096], draft[4096];
  size_t length;
  char *text = status_text(pod, &length);
  if (last != NULL && strcmp(last, text) == 0) {
    free(text);
    return;
  }
  free(last);
  last = text;
  snprintf(path, sizeof path, "%s/status.json", pod->spec.folder);
  snprintf(draft, sizeof draft, "%s/status.json.draft", pod->spec.folder);
  int fd = open(draft, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0) return;  // the folder is gone or the disk is full: the containers go on, the agent sees old news
  bool whole = write(fd, text, length) == (ssize_t)length;
  close(fd);
  if (whole && rename(draft, path) == 0 && pwrite(pod->news, "\n", 1, 0) < 0) return;  // the agent also looks now and then
}
