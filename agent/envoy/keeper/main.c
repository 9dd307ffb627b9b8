// SPDX-License-Identifier: Apache-2.0
// `weir-keeper FOLDER CGROUP USER KEPT BINARY ARGUMENT...` (KEPT: so many descriptors from 3 on are for what it starts): joins the cgroup, binds FOLDER/run over /run/weir in a mount namespace of its own
// (the agent's sockets are not there), then one loop: signals, output, probes, the next start.
#include "keeper.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { at_signals, at_output, at_probe, poll_count };

int64_t now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

_Noreturn void die(const char *what) {
  fprintf(stderr, "weir-keeper: %s: %s\n", what, strerror(errno));
  exit(126);
}

static void join_cgroup(const char *folder) {
  char path[4096];
  snprintf(path, sizeof path, "%s/cgroup.procs", folder);
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0 || write(fd, "0", 1) != 1) die(path);
  close(fd);
}

static void cover(const char *folder) {
  char path[4096];
  snprintf(path, sizeof path, "%s/run", folder);
  if (unshare(CLONE_NEWNS) != 0) die("unshare");
  if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0) die("make mounts private");
  if (mkdir("/run/weir", 0700) != 0 && errno != EEXIST) die("/run/weir");
  if (mount(path, "/run/weir", NULL, MS_BIND, NULL) != 0) die("bind /run/weir");
}

static int open_signals(void) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGCHLD);
  if (sigprocmask(SIG_SETMASK, &set, NULL) != 0) die("sigprocmask");
  signal(SIGHUP, SIG_IGN);
  signal(SIGINT, SIG_IGN);
  signal(SIGPIPE, SIG_IGN);
  int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
  if (fd < 0) die("signalfd");
  return fd;
}

static void reap(struct keeper *keeper) {
  int status;
  if (keeper->envoy == 0 || waitpid(keeper->envoy, &status, WNOHANG) != keeper->envoy) return;
  int64_t now = now_ms();
  keeper->last_status = status;
  keeper->envoy = 0;
  end_probe(keeper);
  drain_output(keeper);
  if (keeper->output >= 0) close(keeper->output);
  keeper->output = -1;
  if (keeper->ending) return;
  bool steady = now - keeper->started_ms >= steady_ms;
  keeper->pause_ms = steady || keeper->pause_ms == 0 ? first_pause_ms : keeper->pause_ms * 2;
  if (keeper->pause_ms > last_pause_ms) keeper->pause_ms = last_pause_ms;
  keeper->next_start_ms = now + keeper->pause_ms;
  keeper->restarts++;
}

static void take_signals(struct keeper *keeper) {
  struct signalfd_siginfo info;
  while (read(keeper->signals, &info, sizeof info) == sizeof info) {
    if (info.ssi_signo != SIGTERM || keeper->ending) continue;
    keeper->ending = true;
    keeper->kill_at_ms = now_ms() + grace_ms;
    if (keeper->envoy > 0) kill(keeper->envoy, SIGTERM);
  }
  reap(keeper);
}

static int wait_ms(const struct keeper *keeper) {
  if (keeper->envoy > 0) return keeper->ending || !keeper->answered ? first_probe_every_ms : probe_every_ms;
  int64_t rest = keeper->next_start_ms - now_ms();
  return rest < 0 ? 0 : (int)rest;
}

static int follow(struct keeper *keeper) {
  start_envoy(keeper);
  for (;;) {
    write_status(keeper);
    if (keeper->ending && keeper->envoy == 0) return 0;
    struct pollfd fds[poll_count] = { { .fd = keeper->signals, .events = POLLIN }, { .fd = keeper->output, .events = POLLIN }, { .fd = keeper->probe, .events = POLLIN } };
    if (poll(fds, poll_count, wait_ms(keeper)) < 0 && errno != EINTR) die("poll");
    if (fds[at_output].revents != 0) drain_output(keeper);
    take_signals(keeper);
    follow_probe(keeper, keeper->probe >= 0 && fds[at_probe].fd == keeper->probe && fds[at_probe].revents != 0);
    if (keeper->ending && keeper->envoy > 0 && now_ms() >= keeper->kill_at_ms) kill(keeper->envoy, SIGKILL);
    if (!keeper->ending && keeper->envoy == 0 && now_ms() >= keeper->next_start_ms) start_envoy(keeper);
  }
}

int main(int argc, char **argv) {
  if (argc < 6) {
    fprintf(stderr, "usage: weir-keeper FOLDER CGROUP USER KEPT BINARY ARGUMENT...\n");
    return 2;
  }
  static struct keeper keeper = { .output = -1, .probe = -1 };
  umask(077);
  // Nothing of the agent's may stay open in what outlives it: its lock, its sockets.
  if (syscall(SYS_close_range, 3 + (unsigned)strtoul(argv[4], NULL, 10), ~0U, 0) != 0) die("close_range");
  keeper.folder = open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (keeper.folder < 0) die(argv[1]);
  keeper.user = (uid_t)strtoul(argv[3], NULL, 10);
  if (keeper.user == 0) { errno = EINVAL; die("user"); }
  keeper.binary = open(argv[5], O_RDONLY | O_CLOEXEC);
  if (keeper.binary < 0) die(argv[5]);
  keeper.arguments = argv + 5;
  keeper.null = open("/dev/null", O_RDWR | O_CLOEXEC);
  if (keeper.null < 0) die("/dev/null");
  keeper.signals = open_signals();
  setsid();
  join_cgroup(argv[2]);
  cover(argv[1]);
  open_log(&keeper);
  return follow(&keeper);
}
