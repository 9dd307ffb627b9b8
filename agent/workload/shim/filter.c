// SPDX-License-Identifier: Apache-2.0
// System calls that a workload does not get: those that make a user namespace (inside one it had every capability again and
// could mount cgroupfs), enter other namespaces, load BPF, and type into the terminal that `exec` lent to it.
#include "shim.h"
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#if defined(__x86_64__)
enum { own_arch = AUDIT_ARCH_X86_64 };
#elif defined(__aarch64__)
enum { own_arch = AUDIT_ARCH_AARCH64 };
#else
#error "the filter knows x86_64 and aarch64"
#endif

enum { x32_bit = 0x40000000 };  // of x86_64: a second set of numbers for the same calls

#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define RETURN(value) BPF_STMT(BPF_RET | BPF_K, value)
#define REFUSE(error) RETURN(SECCOMP_RET_ERRNO | (error))
#define IF(test, value, lines) BPF_JUMP(BPF_JMP | BPF_##test | BPF_K, value, 0, lines)  // else over so many lines
#define REFUSE_CALL(name) IF(JEQ, SYS_##name, 1), REFUSE(EPERM)

// All that is compared lies in the low half of an argument; both architectures are little-endian.
static struct sock_filter lines[] = {
  LOAD(arch),
  BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, own_arch, 1, 0),
  REFUSE(ENOSYS),  // 32-bit programs: their numbers are others
  LOAD(nr),
  IF(JGE, x32_bit, 1), REFUSE(ENOSYS),
  // Its flags lie behind a pointer, which a filter cannot follow; libraries fall back to clone.
  IF(JEQ, SYS_clone3, 1), REFUSE(ENOSYS),
  REFUSE_CALL(setns),
  REFUSE_CALL(bpf),
  REFUSE_CALL(perf_event_open),
  REFUSE_CALL(userfaultfd),
  REFUSE_CALL(keyctl),
  REFUSE_CALL(add_key),
  REFUSE_CALL(request_key),
  IF(JEQ, SYS_clone, 3), LOAD(args[0]), IF(JSET, CLONE_NEWUSER, 1), REFUSE(EPERM),
  LOAD(nr),
  IF(JEQ, SYS_unshare, 3), LOAD(args[0]), IF(JSET, CLONE_NEWUSER, 1), REFUSE(EPERM),
  LOAD(nr),
  IF(JEQ, SYS_ioctl, 5), LOAD(args[1]), IF(JEQ, TIOCSTI, 1), REFUSE(EPERM), IF(JEQ, TIOCLINUX, 1), REFUSE(EPERM),
  RETURN(SECCOMP_RET_ALLOW),
};

/** Needs no_new_privs; inherited by everything that is started from here. */
void filter_calls(void) {
  const struct sock_fprog program = { .len = sizeof lines / sizeof *lines, .filter = lines };
  if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) != 0) die("prctl(SECCOMP)");
}
