// SPDX-License-Identifier: Apache-2.0
// The last steps of a workload's own process, shared by a container's init and by exec: privileges away, then its program.
#include "shim.h"
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/keyctl.h>
#include <linux/securebits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/**
 * No way back: no_new_privs, every capability set empty (also for uid 0), no extra groups, no session keyring of the
 * agent's, no core files. Ends the process when the kernel refuses one of them: nothing may run with more.
 */
void drop_privileges(uid_t user) {
  struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3, .pid = 0 };
  struct __user_cap_data_struct none[2] = {0};
  const struct rlimit no_core = {0};
  if (setrlimit(RLIMIT_CORE, &no_core) != 0) die("setrlimit");
  if (syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL) < 0 && errno != ENOSYS) die("keyctl(JOIN_SESSION_KEYRING)");
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) die("prctl(NO_NEW_PRIVS)");
  if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) != 0) die("prctl(CAP_AMBIENT)");
  for (unsigned long bit = 0; prctl(PR_CAPBSET_READ, bit, 0, 0, 0) >= 0; bit++) {
    if (prctl(PR_CAPBSET_DROP, bit, 0, 0, 0) != 0) die("prctl(CAPBSET_DROP)");
  }
  if (prctl(PR_SET_SECUREBITS, SECBIT_NOROOT | SECBIT_NOROOT_LOCKED, 0, 0, 0) != 0) die("prctl(SECUREBITS)");
  if (setgroups(0, NULL) != 0) die("setgroups");
  if (setresgid(user, user, user) != 0) die("setresgid");
  if (setresuid(user, user, user) != 0) die("setresuid");
  if (syscall(SYS_capset, &header, none) != 0) die("capset");
  umask(022);
  filter_calls();
}

/** Handlers and the mask survive an exec, so the workload would start with the shim's. */
void reset_signals(void) {
  for (int number = 1; number < NSIG; number++) signal(number, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
}

static const char *variable(const struct container_spec *spec, const char *name) {
  size_t length = strlen(name);
  for (int i = 0; i < spec->envc; i++) {
    if (strncmp(spec->env[i], name, length) == 0 && spec->env[i][length] == '=') return spec->env[i] + length + 1;
  }
  return NULL;
}

static int explain(char *reason, const char *why, const char *what) {
  snprintf(reason, reason_bytes, "%s: %.180s", why, what);
  return strcmp(why, "command not found") == 0 ? 127 : 126;
}

static int refused(char *reason, const char *path, const char *name) {
  if (errno == EACCES || errno == EPERM) return explain(reason, "permission denied", name);
  if (errno == ENOEXEC) return explain(reason, "not a program (a script needs a #! line)", name);
  // execve says ENOENT also for a script whose interpreter is missing.
  if (errno == ENOENT && access(path, F_OK) == 0) return explain(reason, "its interpreter was not found", name);
  if (errno == ENOENT || errno == ENOTDIR) return explain(reason, "command not found", name);
  return explain(reason, strerror(errno), name);
}

/** Not execvp: that hands a file without a #! line to a shell. */
static int search(const struct container_spec *spec, char **argv, char **env, char *reason) {
  const char *path = variable(spec, "PATH");
  bool denied = false;
  for (const char *at = path == NULL ? "" : path; *at != 0;) {
    size_t length = strcspn(at, ":");
    char file[4096];
    if (length > 0 && (size_t)snprintf(file, sizeof file, "%.*s/%s", (int)length, at, argv[0]) < sizeof file) {
      execve(file, argv, env);
      if (errno == EACCES) denied = true;
      else if (errno != ENOENT && errno != ENOTDIR) return refused(reason, file, argv[0]);
      else if (access(file, F_OK) == 0) return refused(reason, file, argv[0]);
    }
    at += length + (at[length] == ':');
  }
  errno = denied ? EACCES : ENOENT;
  return refused(reason, "", argv[0]);
}

/** Returns only when the program could not be started: the exit code, with the reason filled in. */
int execute(const struct container_spec *spec, char *reason) {
  char **argv = (char **)spec->argv, **env = (char **)spec->env;
  if (chdir(spec->working_dir) != 0) {
    snprintf(reason, reason_bytes, "workingDir %.160s: %s", spec->working_dir, strerror(errno));
    return 126;
  }
  if (strchr(argv[0], '/') == NULL) return search(spec, argv, env, reason);
  execve(argv[0], argv, env);
  return refused(reason, argv[0], argv[0]);
}
