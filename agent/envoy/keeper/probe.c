// SPDX-License-Identifier: Apache-2.0
// Whether Envoy still goes round: its admin socket is asked twice a second, and any answer will do. Who has none, but runs or would like to (a
// thousand listeners at once, a machine that is busy), is not frozen yet.
#include "keeper.h"
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static const char question[] = "GET /ready HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n";
static const struct sockaddr_un admin = { .sun_family = AF_UNIX, .sun_path = "/run/weir/own/admin.sock" };

void end_probe(struct keeper *keeper) {
  if (keeper->probe >= 0) close(keeper->probe);
  keeper->probe = -1;
}

/** A full backlog is no answer; the next turn asks again. */
static void begin_probe(struct keeper *keeper) {
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) die("socket");
  if (connect(fd, (const struct sockaddr *)&admin, sizeof admin) != 0 || send(fd, question, sizeof question - 1, MSG_NOSIGNAL) < 0) close(fd);
  else {
    keeper->probe = fd;
    keeper->asked_ms = now_ms();
  }
}

/** Its main thread has or wants a processor, or waits for a disk: proc_pid_stat(5). */
static bool is_at_work(pid_t envoy) {
  char path[64], stat[512];
  snprintf(path, sizeof path, "/proc/%d/stat", envoy);
  FILE *file = fopen(path, "re");
  if (file == NULL) return false;
  size_t length = fread(stat, 1, sizeof stat - 1, file);
  fclose(file);
  stat[length] = 0;
  const char *state = strrchr(stat, ')');
  return state != NULL && (strncmp(state, ") R", 3) == 0 || strncmp(state, ") D", 3) == 0);
}

void follow_probe(struct keeper *keeper, bool readable) {
  int64_t now = now_ms();
  if (readable) {
    char answer[64];
    if (recv(keeper->probe, answer, sizeof answer, MSG_DONTWAIT) > 0) {
      keeper->answered_ms = now;
      keeper->answered = true;
    }
    end_probe(keeper);
  }
  if (keeper->envoy == 0 || keeper->ending) return;
  if (keeper->probe < 0 && now >= keeper->probe_at_ms) {
    keeper->probe_at_ms = now + (keeper->answered ? probe_every_ms : first_probe_every_ms);
    begin_probe(keeper);
  }
  // Until it listens it starts; from then on it has to answer.
  int64_t since_ms = keeper->probe >= 0 ? keeper->asked_ms : keeper->answered_ms;
  if (is_at_work(keeper->envoy)) keeper->worked_ms = now;
  int64_t idle_since_ms = keeper->worked_ms > since_ms ? keeper->worked_ms : since_ms;
  if (now - since_ms < busy_ms && now - idle_since_ms < (keeper->answered || keeper->probe >= 0 ? silent_ms : first_answer_ms)) return;
  keeper->frozen++;
  keeper->answered_ms = now;
  kill(keeper->envoy, SIGKILL);
}
