// SPDX-License-Identifier: Apache-2.0
// `weir-shim exec`: one more process in a running container: its cgroup, namespaces, uid and nothing more.
// Standard input and output are the caller's own, so a terminal works.
#include "shim.h"
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static const struct container_spec *find_container(const struct pod_spec *pod, const char *name) {
  for (int i = 0; i < pod->container_count; i++) {
    if (strcmp(pod->containers[i].name, name) == 0) return &pod->containers[i];
  }
  fprintf(stderr, "weir-shim: no container %s\n", name);
  exit(126);
}

static pid_t pid_of_status(const char *text, const char *name) {
  char start[128];
  snprintf(start, sizeof start, "{\"name\":\"%s\",", name);
  const char *container = strstr(text, start);
  const char *state = container == NULL ? NULL : strstr(container, "\"state\":\"running\",\"pid\":");
  const char *next = container == NULL ? NULL : strchr(container + 1, '{');
  if (state == NULL || (next != NULL && state > next)) return 0;
  return atoi(state + strlen("\"state\":\"running\",\"pid\":"));
}

static pid_t read_init_pid(const char *folder, const char *name) {
  char path[4096];
  static char text[64 << 10];
  snprintf(path, sizeof path, "%s/status.json", folder);
  FILE *file = fopen(path, "re");
  if (file == NULL) die(path);
  text[fread(text, 1, sizeof text - 1, file)] = 0;
  fclose(file);
  return pid_of_status(text, name);
}

/** The pidfd is opened first and the status read again after it: a pid that was given out anew is noticed. */
static int open_init(const char *folder, const char *name) {
  pid_t init = read_init_pid(folder, name);
  int fd = init > 0 ? (int)syscall(SYS_pidfd_open, init, 0) : -1;
  if (fd >= 0 && read_init_pid(folder, name) == init && syscall(SYS_pidfd_send_signal, fd, 0, NULL, 0) == 0) return fd;
  fprintf(stderr, "weir-shim: container %s does not run\n", name);
  exit(126);
}

static void pass_nothing(int number) { (void)number; }

static int wait_for(pid_t child) {
  int status;
  while (waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) die("waitpid");
  }
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

int exec_in(const char *folder, const char *name, char **argv) {
  static struct pod_spec pod;
  static struct container_spec spec;
  char path[4096], reason[reason_bytes];
  snprintf(path, sizeof path, "%s/spec", folder);
  read_spec(&pod, path);
  spec = *find_container(&pod, name);
  for (spec.argc = 0; argv[spec.argc] != NULL; spec.argc++) {
    if (spec.argc == max_words) { fprintf(stderr, "weir-shim: more than %d words\n", max_words); return 126; }
    spec.argv[spec.argc] = argv[spec.argc];
  }
  spec.argv[spec.argc] = NULL;
  int init = open_init(folder, name);
  join_cgroup(pod.cgroup);
  int namespaces = CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP;
  if (setns(init, namespaces) != 0) die("setns");
  // Ctrl-C of a terminal goes to the whole group: the command decides, this process waits for it.
  signal(SIGINT, pass_nothing);
  signal(SIGQUIT, pass_nothing);
  pid_t child = fork();
  if (child < 0) die("fork");
  if (child > 0) return wait_for(child);
  if (syscall(SYS_close_range, 3, ~0U, 0) != 0) die("close_range");
  drop_privileges(spec.user);
  prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
  reset_signals();
  int code = execute(&spec, reason);
  fprintf(stderr, "weir-shim: %s\n", reason);
  _exit(code);
}
