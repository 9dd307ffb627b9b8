// SPDX-License-Identifier: Apache-2.0
// weir-shim: one process per pod. It owns the pod's namespaces, its containers' processes, logs and exit codes,
// and outlives the agent. spec.c reads what to run; main.c is the way through; the agent reads status.json.
#pragma once
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

enum {
  max_containers = 16,
  max_words = 1024,           // of one command, or variables of one environment
  max_hidden = 16,
  max_binds = 8,
  max_spec_bytes = 1 << 20,
  max_line_bytes = 16 << 10,  // a longer line of output is cut into several
  max_log_bytes = 10 << 20,   // then it becomes NAME.log.1
  reason_bytes = 256,
};

struct container_spec {
  const char *name;
  const char *working_dir;
  uid_t user;
  const char *argv[max_words + 1];
  const char *env[max_words + 1];
  int argc, envc;
};

/** Read-only; the source is the machine's. */
struct binding { const char *source, *target; };

enum restart_policy { restart_always, restart_on_failure, restart_never };

struct pod_spec {
  const char *name, *namespace, *hostname, *folder, *cgroup, *hosts;
  const char *hidden[max_hidden];
  int hidden_count;
  struct binding binds[max_binds];
  int bind_count;
  uid_t user;
  enum restart_policy restart;
  int64_t grace_ms;
  struct container_spec containers[max_containers];
  int container_count;
};

enum container_state { state_waiting, state_running, state_terminated };
enum { stdout_stream, stderr_stream, stream_count };

struct log_stream {
  int fd;          // read end of the container's pipe; -1 when closed
  size_t length;   // bytes of a line that has not ended yet
  char line[max_line_bytes];
};

struct container {
  const struct container_spec *spec;
  enum container_state state;
  pid_t init;      // 0 when nothing runs
  int reports;     // read end of the init's report pipe
  int life;        // write end that nobody writes to: its end tells the init that the shim is gone
  bool reported;   // the init said how this run ended
  int restarts, exit_code, signal;
  bool ended_once;
  char reason[reason_bytes];
  int64_t started_ms, next_start_ms, backoff_ms;
  struct log_stream streams[stream_count];
  int log;
  off_t log_bytes;
};

struct pod {
  struct pod_spec spec;
  struct container containers[max_containers];
  bool released, terminating;
  int64_t kill_at_ms;
  int go;          // FIFO on which the agent says that the network stands
  int signals;
  int news;        // the agent watches this file: one write for every new status
  uint64_t start_ticks;
};

enum report_kind { report_started, report_refused, report_exited, report_signaled };

/** What a container's init tells the shim; smaller than PIPE_BUF, so one write is one record. */
struct report {
  int32_t kind;
  int32_t value;
  char text[reason_bytes];
};

// spec.c
void read_spec(struct pod_spec *spec, const char *path);

// status.c
void write_status(const struct pod *pod);
uint64_t start_ticks_of(pid_t pid);
int64_t now_ms(void);

// container.c
void start_container(struct pod *pod, struct container *container);
void read_reports(struct container *container);
void close_reports(struct container *container);
void finish_container(struct pod *pod, struct container *container, int wait_status);

// init.c
_Noreturn void run_init(const struct pod_spec *pod, const struct container_spec *spec, int reports, int out, int err, int life);

// program.c
void drop_privileges(uid_t user);
void filter_calls(void);
int execute(const struct container_spec *spec, char *reason);
void reset_signals(void);

// mounts.c
bool isolate_mounts(const struct pod_spec *pod, const struct container_spec *spec, char *reason);
/** Fills the reason with `WHAT PATH: errno`; false. */
bool failed(char *reason, const char *what, const char *path);

/** resolv.conf of the machine, kept while /run is covered. */
struct resolv {
  char path[4096];
  char text[4096];
  size_t length;
};

// bind.c
bool open_trees(const struct pod_spec *pod, int trees[max_binds], char *reason);
bool move_trees(const struct pod_spec *pod, const int trees[max_binds], char *reason);

// resolv.c
void read_resolv(struct resolv *resolv);
bool write_resolv(struct resolv *resolv, char *reason);

// proc.c
bool mount_proc(char *reason);
// device.c
bool mount_dev(char *reason);

// log.c
void open_log(const struct pod *pod, struct container *container);
void drain_stream(const struct pod *pod, struct container *container, int stream);

void close_stream(const struct pod *pod, struct container *container, int stream);

// loop.c
int follow(struct pod *pod);

// exec.c
int exec_in(const char *folder, const char *name, char **argv);

// seal.c
void run_sealed(char **argv);

// main.c
_Noreturn void die(const char *what);
void join_cgroup(const char *folder);
