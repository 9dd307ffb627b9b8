// SPDX-License-Identifier: Apache-2.0
// weir-keeper: the parent of Envoy, and of the proxy of DNS by TCP. It starts it without privileges, starts another when it died or no longer answers, keeps its log
// bounded, and outlives the agent, which reads status.json.
#pragma once
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

enum {
  max_log_bytes = 4 << 20,  // then it becomes output.log.1
  probe_every_ms = 500,
  first_probe_every_ms = 50,
  silent_ms = 3000,         // no answer for so long, and no work: it is frozen
  busy_ms = 30000,          // no answer for so long, whatever it works at
  first_answer_ms = 15000,  // it does not even listen: read from a slow disk
  first_pause_ms = 10,      // between a death and the next start
  last_pause_ms = 5000,
  steady_ms = 10000,        // who ran for so long starts again without a pause
  grace_ms = 2000,          // between SIGTERM and SIGKILL
};

struct keeper {
  int folder, binary, signals, null;
  uid_t user;
  char **arguments;
  pid_t envoy;       // 0: none runs
  int output;        // read end of its output; -1
  int log;
  off_t log_bytes;
  int64_t started_ms, asked_ms, answered_ms, worked_ms, next_start_ms, probe_at_ms, kill_at_ms;
  bool answered;     // since it started
  int probe;         // a question that is not answered yet; -1
  int pause_ms;
  int restarts, frozen, last_status;
  bool ending;
};

int64_t now_ms(void);
_Noreturn void die(const char *what);

// start.c
void start_envoy(struct keeper *keeper);
// probe.c
void follow_probe(struct keeper *keeper, bool readable);
void end_probe(struct keeper *keeper);
// output.c
void open_log(struct keeper *keeper);
void drain_output(struct keeper *keeper);
// status.c
void write_status(const struct keeper *keeper);
