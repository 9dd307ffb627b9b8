// SPDX-License-Identifier: Apache-2.0
// Runs the shim from a sealed copy in memory. A workload may name /proc/self/exe as its program, which is the shim until the
// exec; with uid 0 it could then write to the machine's file behind it (CVE-2019-5736 of runc). The copy cannot be written.
#include "shim.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

extern char **environ;

enum { seals = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE };

void run_sealed(char **argv) {
  int self = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
  if (self < 0) die("/proc/self/exe");
  if (fcntl(self, F_GET_SEALS) == seals) {
    close(self);
    return;
  }
  struct stat status;
  int copy = memfd_create("weir-shim", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (copy < 0 || fstat(self, &status) != 0) die("memfd_create");
  for (off_t done = 0; done < status.st_size;) {
    if (sendfile(copy, self, &done, status.st_size - done) <= 0) die("copy the shim");
  }
  if (fcntl(copy, F_ADD_SEALS, seals) != 0) die("seal the shim");
  fexecve(copy, argv, environ);
  die("fexecve");
}
