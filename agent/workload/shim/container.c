// SPDX-License-Identifier: Apache-2.0
// One container's life inside the shim: a new init for every start, what the init reports, and when to start again.
#include "shim.h"
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { first_backoff_ms = 1000, last_backoff_ms = 60000, steady_ms = 60000 };

static bool should_restart(const struct pod *pod, const struct container *container) {
  if (pod->terminating) return false;
  if (pod->spec.restart == restart_on_failure) return container->exit_code != 0;
  return pod->spec.restart == restart_always;
}

static void end_run(struct pod *pod, struct container *container) {
  int64_t now = now_ms();
  container->init = 0;
  container->ended_once = true;
  container->state = state_terminated;
  if (!should_restart(pod, container)) return;
  bool steady = now - container->started_ms >= steady_ms;
  if (container->backoff_ms == 0 || steady) container->backoff_ms = first_backoff_ms;
  else if (container->backoff_ms < last_backoff_ms) container->backoff_ms *= 2;
  if (container->backoff_ms > last_backoff_ms) container->backoff_ms = last_backoff_ms;
  container->next_start_ms = now + container->backoff_ms;
  container->state = state_waiting;
}

static void refuse(struct pod *pod, struct container *container, const char *what) {
  snprintf(container->reason, sizeof container->reason, "%s: %s", what, strerror(errno));
  container->exit_code = 126;
  container->signal = 0;
  end_run(pod, container);
}

static void close_both(const int ends[2]) {
  close(ends[0]);
  close(ends[1]);
}

/** The pipes are the container's own files: it may open /dev/stdout as any program does. */
static bool open_pipes(const struct container *container, int out[2], int err[2], int reports[2], int life[2]) {
  if (pipe2(out, O_CLOEXEC) != 0) return false;
  if (pipe2(err, O_CLOEXEC) != 0) { close_both(out); return false; }
  if (pipe2(reports, O_CLOEXEC) != 0) { close_both(out); close_both(err); return false; }
  if (pipe2(life, O_CLOEXEC) != 0) { close_both(out); close_both(err); close_both(reports); return false; }
  fchown(out[1], container->spec->user, container->spec->user);
  fchown(err[1], container->spec->user, container->spec->user);
  fcntl(out[0], F_SETFL, O_NONBLOCK);
  fcntl(err[0], F_SETFL, O_NONBLOCK);
  fcntl(reports[0], F_SETFL, O_NONBLOCK);
  return true;
}

void start_container(struct pod *pod, struct container *container) {
  int out[2], err[2], reports[2], life[2];
  if (container->ended_once) container->restarts++;
  container->next_start_ms = 0;
  container->started_ms = now_ms();
  if (!open_pipes(container, out, err, reports, life)) { refuse(pod, container, "pipe2"); return; }
  unsigned long flags = CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWCGROUP | SIGCHLD;
  pid_t init = syscall(SYS_clone, flags, 0, 0, 0, 0);
  if (init == 0) {
    close(life[1]);
    run_init(&pod->spec, container->spec, reports[1], out[1], err[1], life[0]);
  }
  close(out[1]);
  close(err[1]);
  close(reports[1]);
  close(life[0]);
  if (init < 0) {
    int error = errno;
    close(out[0]);
    close(err[0]);
    close(reports[0]);
    close(life[1]);
    errno = error;
    refuse(pod, container, "clone");
    return;
  }
  container->init = init;
  container->life = life[1];
  container->reports = reports[0];
  container->streams[stdout_stream].fd = out[0];
  container->streams[stderr_stream].fd = err[0];
}

void read_reports(struct container *container) {
  struct report report;
  while (read(container->reports, &report, sizeof report) == sizeof report) {
    report.text[sizeof report.text - 1] = 0;
    if (report.kind == report_started) {
      container->state = state_running;
      container->reason[0] = 0;
      continue;
    }
    container->reported = true;
    container->signal = report.kind == report_signaled ? report.value : 0;
    container->exit_code = report.kind == report_signaled ? 128 + report.value : report.value;
    memcpy(container->reason, report.text, sizeof container->reason);
  }
}

void close_reports(struct container *container) {
  if (container->reports >= 0) close(container->reports);
  container->reports = -1;
}

/** The init is reaped and with it everything of its PID namespace: what the pipes still hold is the last output. */
void finish_container(struct pod *pod, struct container *container, int wait_status) {
  read_reports(container);
  if (!container->reported) {
    container->signal = WIFSIGNALED(wait_status) ? WTERMSIG(wait_status) : 0;
    container->exit_code = WIFSIGNALED(wait_status) ? 128 + WTERMSIG(wait_status) : WEXITSTATUS(wait_status);
    container->reason[0] = 0;
  }
  container->reported = false;
  close_reports(container);
  close(container->life);
  for (int stream = 0; stream < stream_count; stream++) close_stream(pod, container, stream);
  end_run(pod, container);
}
