// SPDX-License-Identifier: Apache-2.0
// PID 1 of a container: shuts the view, starts the program, reaps, passes SIGTERM on and the exit code back.
// It runs with the workload's uid but is not dumpable, so the workload can neither trace it nor open its files.
#include "shim.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { report_fd = 3, exec_fd = 4 };

static void tell(enum report_kind kind, int value, const char *text) {
  struct report report = { .kind = kind, .value = value };
  snprintf(report.text, sizeof report.text, "%s", text);
  // The shim is the only reader; without it PR_SET_PDEATHSIG has already ended this process.
  if (write(report_fd, &report, sizeof report) < 0) _exit(1);
}

_Noreturn static void refuse(int code, const char *reason) {
  tell(report_refused, code, reason);
  _exit(code);
}

static void move(int from, int to, int flags) {
  if (dup3(from, to, flags) < 0) refuse(126, "dup3 failed");
}

static void close_from(unsigned int first) {
  if (syscall(SYS_close_range, first, ~0U, 0) != 0) refuse(126, "close_range failed");
}

/** Only 0 to 3 and what `life` is stay; all numbers are chosen so that no move overwrites another's source. */
static void arrange_files(int reports, int out, int err, int *life) {
  int high_reports = fcntl(reports, F_DUPFD_CLOEXEC, 64), high_out = fcntl(out, F_DUPFD_CLOEXEC, 64);
  int high_err = fcntl(err, F_DUPFD_CLOEXEC, 64), high_life = fcntl(*life, F_DUPFD_CLOEXEC, 64);
  if (high_reports < 0 || high_out < 0 || high_err < 0 || high_life < 0) _exit(126);
  int null = open("/dev/null", O_RDONLY);
  move(high_reports, report_fd, O_CLOEXEC);
  if (null < 0) refuse(126, "/dev/null cannot be opened");
  if (null != 0) move(null, 0, 0);
  move(high_out, 1, 0);
  move(high_err, 2, 0);
  move(high_life, exec_fd, O_CLOEXEC);
  *life = exec_fd;
  close_from(exec_fd + 1);
}

/** The shim holds the other end of `life`; PDEATHSIG alone would miss a shim that died before it was set. */
static void die_with_shim(int life) {
  if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0) refuse(126, "prctl(PDEATHSIG) failed");
  struct pollfd end = { .fd = life, .events = POLLIN };
  if (poll(&end, 1, 0) != 0) _exit(1);
  close(life);
}

static pid_t start_program(const struct container_spec *spec) {
  int started[2];
  if (pipe2(started, O_CLOEXEC) != 0) refuse(126, "pipe2 failed");
  pid_t child = fork();
  if (child < 0) refuse(126, "fork failed");
  if (child == 0) {
    char reason[reason_bytes];
    setsid();
    reset_signals();
    prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
    int code = execute(spec, reason);
    struct report report = { .kind = report_refused, .value = code };
    memcpy(report.text, reason, sizeof report.text);
    _exit(write(started[1], &report, sizeof report) < 0 ? 126 : code);
  }
  close(started[1]);
  struct report report;
  ssize_t got;
  do got = read(started[0], &report, sizeof report); while (got < 0 && errno == EINTR);
  if (got > 0) refuse(report.value, report.text);
  close(started[0]);
  tell(report_started, 0, "");
  return child;
}

/** Everything else in the PID namespace ends with this process, as it does with any container's main program. */
_Noreturn static void reap_until(pid_t child) {
  sigset_t all;
  sigfillset(&all);
  for (;;) {
    siginfo_t info;
    int signal = sigwaitinfo(&all, &info);
    if (signal == SIGTERM || signal == SIGINT || signal == SIGHUP || signal == SIGQUIT) kill(child, signal);
    if (signal != SIGCHLD) continue;
    int status;
    for (pid_t ended; (ended = waitpid(-1, &status, WNOHANG)) > 0;) {
      if (ended != child) continue;
      if (WIFSIGNALED(status)) tell(report_signaled, WTERMSIG(status), "");
      else tell(report_exited, WEXITSTATUS(status), "");
      _exit(WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status));
    }
  }
}

_Noreturn void run_init(const struct pod_spec *pod, const struct container_spec *spec, int reports, int out, int err, int life) {
  char reason[reason_bytes] = "";
  sigset_t all;
  sigfillset(&all);
  sigprocmask(SIG_SETMASK, &all, NULL);
  arrange_files(reports, out, err, &life);
  if (!isolate_mounts(pod, spec, reason)) refuse(126, reason);
  drop_privileges(spec->user);
  // After the change of uid, which clears both.
  if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) refuse(126, "prctl(DUMPABLE) failed");
  die_with_shim(life);
  prctl(PR_SET_NAME, "weir-init", 0, 0, 0);
  reap_until(start_program(spec));
}
