// SPDX-License-Identifier: Apache-2.0
// One start of Envoy: a user of its own, CAP_NET_ADMIN (transparent sockets, marks) and nothing else, no way to more.
#include "keeper.h"
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { most_files = 1 << 18 };

static void drop_bounding(void) {
  for (unsigned long bit = 0; prctl(PR_CAPBSET_READ, bit, 0, 0, 0) >= 0; bit++) {
    if (bit != CAP_NET_ADMIN && prctl(PR_CAPBSET_DROP, bit, 0, 0, 0) != 0) die("prctl(CAPBSET_DROP)");
  }
}

static void become(uid_t user) {
  struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3, .pid = 0 };
  struct __user_cap_data_struct only[2] = { { .effective = 1u << CAP_NET_ADMIN, .permitted = 1u << CAP_NET_ADMIN, .inheritable = 1u << CAP_NET_ADMIN } };
  unsigned long bits = SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_KEEP_CAPS;
  drop_bounding();
  if (prctl(PR_SET_SECUREBITS, bits, 0, 0, 0) != 0) die("prctl(SECUREBITS)");
  if (setgroups(0, NULL) != 0) die("setgroups");
  if (setresgid(user, user, user) != 0) die("setresgid");
  if (setresuid(user, user, user) != 0) die("setresuid");
  if (syscall(SYS_capset, &header, only) != 0) die("capset");
  if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_NET_ADMIN, 0, 0) != 0) die("prctl(CAP_AMBIENT)");
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) die("prctl(NO_NEW_PRIVS)");
}

_Noreturn static void run(const struct keeper *keeper, int output) {
  struct rlimit files, no_core = {0};
  setsid();
  if (dup2(keeper->null, 0) < 0 || dup2(output, 1) < 0 || dup2(output, 2) < 0) die("dup2");
  if (setrlimit(RLIMIT_CORE, &no_core) != 0) die("setrlimit");
  if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_max < most_files) files.rlim_max = most_files;
  files.rlim_cur = most_files;
  if (setrlimit(RLIMIT_NOFILE, &files) != 0 && errno != EPERM) die("setrlimit");
  become(keeper->user);
  prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
  for (int number = 1; number < NSIG; number++) signal(number, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
  umask(077);
  if (chdir("/") != 0) die("chdir");
  char *no_environment[] = { NULL };
  fexecve(keeper->binary, keeper->arguments, no_environment);
  die("fexecve");
}

void start_envoy(struct keeper *keeper) {
  int output[2];
  keeper->next_start_ms = 0;
  if (pipe2(output, O_CLOEXEC) != 0) die("pipe2");
  fcntl(output[0], F_SETFL, O_NONBLOCK);
  pid_t pid = fork();
  if (pid < 0) die("fork");
  if (pid == 0) run(keeper, output[1]);
  close(output[1]);
  keeper->envoy = pid;
  keeper->output = output[0];
  keeper->started_ms = keeper->answered_ms = now_ms();
  keeper->answered = false;
  keeper->probe_at_ms = keeper->started_ms + first_probe_every_ms;
}
