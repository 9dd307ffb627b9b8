// SPDX-License-Identifier: Apache-2.0
// The shim's one loop: the agent's word, signals, output of the containers, and the next thing that is due.
#include "shim.h"
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

enum { fixed_polls = 2, polls_per_container = 1 + stream_count };

static void reap(struct pod *pod) {
  int status;
  for (pid_t ended; (ended = waitpid(-1, &status, WNOHANG)) > 0;) {
    for (int i = 0; i < pod->spec.container_count; i++) {
      if (pod->containers[i].init == ended) finish_container(pod, &pod->containers[i], status);
    }
  }
}

static void signal_all(const struct pod *pod, int number) {
  for (int i = 0; i < pod->spec.container_count; i++) {
    if (pod->containers[i].init > 0) kill(pod->containers[i].init, number);
  }
}

/** The first SIGTERM begins the grace period, a second one ends it. */
static void terminate(struct pod *pod) {
  if (pod->terminating) pod->kill_at_ms = now_ms();
  else {
    pod->terminating = true;
    pod->kill_at_ms = now_ms() + pod->spec.grace_ms;
    signal_all(pod, SIGTERM);
  }
}

static void read_signals(struct pod *pod) {
  struct signalfd_siginfo info;
  while (read(pod->signals, &info, sizeof info) == sizeof info) {
    if (info.ssi_signo == SIGTERM) terminate(pod);
    else reap(pod);
  }
}

static void start_due(struct pod *pod) {
  if (!pod->released || pod->terminating) return;
  for (int i = 0; i < pod->spec.container_count; i++) {
    struct container *container = &pod->containers[i];
    if (container->state == state_waiting && container->init == 0 && container->next_start_ms <= now_ms()) start_container(pod, container);
  }
}

/** Milliseconds until something is due; -1 for never. */
static int time_left(const struct pod *pod) {
  int64_t due = pod->terminating ? pod->kill_at_ms : INT64_MAX;
  for (int i = 0; pod->released && !pod->terminating && i < pod->spec.container_count; i++) {
    const struct container *container = &pod->containers[i];
    if (container->state == state_waiting && container->init == 0 && container->next_start_ms < due) due = container->next_start_ms;
  }
  if (due == INT64_MAX) return -1;
  int64_t left = due - now_ms();
  return left < 0 ? 0 : (int)left;
}

static bool anything_runs(const struct pod *pod) {
  for (int i = 0; i < pod->spec.container_count; i++) {
    if (pod->containers[i].init > 0) return true;
  }
  return false;
}

static int fill_polls(const struct pod *pod, struct pollfd *polls) {
  int count = 0;
  polls[count++] = (struct pollfd){ .fd = pod->signals, .events = POLLIN };
  polls[count++] = (struct pollfd){ .fd = pod->go, .events = POLLIN };
  for (int i = 0; i < pod->spec.container_count; i++) {
    const struct container *container = &pod->containers[i];
    polls[count++] = (struct pollfd){ .fd = container->init > 0 ? container->reports : -1, .events = POLLIN };
    for (int stream = 0; stream < stream_count; stream++) polls[count++] = (struct pollfd){ .fd = container->streams[stream].fd, .events = POLLIN };
  }
  return count;
}

/** POLLHUP alone is no work: poll would come back at once until the init is reaped, so that end is polled no more. */
static void handle_polls(struct pod *pod, const struct pollfd *polls) {
  for (int i = 0; i < pod->spec.container_count; i++) {
    struct container *container = &pod->containers[i];
    const struct pollfd *own = polls + fixed_polls + i * polls_per_container;
    if (own[0].revents & POLLIN) read_reports(container);
    else if (own[0].revents != 0) close_reports(container);
    for (int stream = 0; stream < stream_count; stream++) {
      if (own[1 + stream].revents & POLLIN) drain_stream(pod, container, stream);
      else if (own[1 + stream].revents != 0) close_stream(pod, container, stream);
    }
  }
  char word[16];
  if (polls[1].revents != 0 && read(pod->go, word, sizeof word) > 0) pod->released = true;
  if (polls[0].revents != 0) read_signals(pod);
}

/** Until the agent ends the pod and nothing runs any more. */
int follow(struct pod *pod) {
  struct pollfd polls[fixed_polls + max_containers * polls_per_container];
  for (;;) {
    start_due(pod);
    write_status(pod);
    if (pod->terminating && !anything_runs(pod)) return 0;
    int count = fill_polls(pod, polls);
    if (poll(polls, count, time_left(pod)) < 0) {
      if (errno != EINTR) die("poll");
      continue;
    }
    handle_polls(pod, polls);
    if (pod->terminating && now_ms() >= pod->kill_at_ms) {
      signal_all(pod, SIGKILL);
      pod->kill_at_ms = INT64_MAX;
    }
  }
}
