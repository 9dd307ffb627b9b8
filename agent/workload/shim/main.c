// SPDX-License-Identifier: Apache-2.0
// `weir-shim run SPEC`: namespaces, cgroup, then wait for the agent's word (network and policy stand), then the containers.
// `weir-shim exec FOLDER CONTAINER -- COMMAND...`: one more command inside a running container.
#include "shim.h"
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

_Noreturn void die(const char *what) {
  fprintf(stderr, "weir-shim: %s: %s\n", what, strerror(errno));
  exit(126);
}

void join_cgroup(const char *folder) {
  char path[4096];
  snprintf(path, sizeof path, "%s/cgroup.procs", folder);
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0 || write(fd, "0", 1) != 1) die(path);
  close(fd);
}

static void bring_up_loopback(void) {
  struct ifreq request = { .ifr_name = "lo", .ifr_flags = IFF_UP };
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &request) != 0) die("bring lo up");
  close(fd);
}

/** Blocked for good and read from a descriptor; a container's init starts with them blocked and loses none. */
static int open_signals(void) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGCHLD);
  if (sigprocmask(SIG_SETMASK, &set, NULL) != 0) die("sigprocmask");
  signal(SIGHUP, SIG_IGN);
  signal(SIGINT, SIG_IGN);
  signal(SIGPIPE, SIG_IGN);
  signal(SIGCHLD, SIG_DFL);
  int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
  if (fd < 0) die("signalfd");
  return fd;
}

/** A FIFO keeps the agent's word whenever it comes, and nobody has to look for it. O_RDWR: it never reads as ended. */
static int open_go(const struct pod_spec *spec) {
  char path[4096];
  snprintf(path, sizeof path, "%s/go", spec->folder);
  if (mkfifo(path, 0600) != 0) die(path);
  int fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) die(path);
  return fd;
}

/** Made by the agent, which watches it: a watch of the folder would wake the agent for every line of a log. */
static int open_news(const struct pod_spec *spec) {
  char path[4096];
  snprintf(path, sizeof path, "%s/news", spec->folder);
  int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) die(path);
  return fd;
}

static int run(const char *spec_path) {
  static struct pod pod;
  umask(077);
  // Nothing of the agent's may stay open in what outlives it: its lock, its sockets.
  if (syscall(SYS_close_range, 3, ~0U, 0) != 0) die("close_range");
  read_spec(&pod.spec, spec_path);
  pod.signals = open_signals();
  setsid();
  join_cgroup(pod.spec.cgroup);
  if (unshare(CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS) != 0) die("unshare");
  if (sethostname(pod.spec.hostname, strnlen(pod.spec.hostname, 64)) != 0) die("sethostname");
  bring_up_loopback();
  pod.go = open_go(&pod.spec);
  pod.news = open_news(&pod.spec);
  pod.start_ticks = start_ticks_of(getpid());
  for (int i = 0; i < pod.spec.container_count; i++) {
    struct container *container = &pod.containers[i];
    container->spec = &pod.spec.containers[i];
    container->reports = container->life = -1;
    for (int stream = 0; stream < stream_count; stream++) container->streams[stream].fd = -1;
    open_log(&pod, container);
  }
  return follow(&pod);
}

int main(int argc, char **argv) {
  run_sealed(argv);
  if (argc == 3 && strcmp(argv[1], "run") == 0) return run(argv[2]);
  if (argc >= 6 && strcmp(argv[1], "exec") == 0 && strcmp(argv[4], "--") == 0) return exec_in(argv[2], argv[3], argv + 5);
  fprintf(stderr, "usage: weir-shim run SPEC | weir-shim exec FOLDER CONTAINER -- COMMAND...\n");
  return 2;
}
