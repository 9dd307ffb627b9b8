// SPDX-License-Identifier: Apache-2.0
// Reads the spec file that the agent wrote: `key\0value\0` pairs, in order; `container` begins the next container.
// Everything after it up to the next one belongs to that container. Unknown keys and wrong sizes are refused.
#include "shim.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

_Noreturn static void refuse(const char *key, const char *why) {
  fprintf(stderr, "weir-shim: spec: %s: %s\n", key, why);
  exit(2);
}

static int64_t number_of(const char *key, const char *value, int64_t max) {
  char *end;
  errno = 0;
  long long number = strtoll(value, &end, 10);
  if (errno != 0 || end == value || *end != 0 || number < 0 || number > max) refuse(key, "expected a number");
  return number;
}

static enum restart_policy restart_of(const char *value) {
  if (strcmp(value, "Always") == 0) return restart_always;
  if (strcmp(value, "OnFailure") == 0) return restart_on_failure;
  if (strcmp(value, "Never") == 0) return restart_never;
  refuse("restartPolicy", "unknown");
}

static void begin_container(struct pod_spec *pod, const char *name) {
  if (pod->container_count == max_containers) refuse("container", "more than 16");
  if (*name == 0 || strlen(name) > 63 || strchr(name, '/') || *name == '.') refuse("container", "not a name");
  struct container_spec *container = &pod->containers[pod->container_count++];
  container->name = name;
  container->working_dir = "/";
  container->user = pod->user;
}

static void add_word(const char *key, const char **list, int *count, const char *value) {
  if (*count == max_words) refuse(key, "more than 1024");
  list[(*count)++] = value;
}

static void container_pair(struct container_spec *container, const char *key, const char *value) {
  if (strcmp(key, "arg") == 0) add_word(key, container->argv, &container->argc, value);
  else if (strcmp(key, "env") == 0) add_word(key, container->env, &container->envc, value);
  else if (strcmp(key, "workingDir") == 0) container->working_dir = value;
  else if (strcmp(key, "runAsUser") == 0) container->user = number_of(key, value, UINT32_MAX - 1);
  else refuse(key, "unknown key");
}

static void pod_pair(struct pod_spec *pod, const char *key, const char *value) {
  if (strcmp(key, "name") == 0) pod->name = value;
  else if (strcmp(key, "namespace") == 0) pod->namespace = value;
  else if (strcmp(key, "hostname") == 0) pod->hostname = value;
  else if (strcmp(key, "folder") == 0) pod->folder = value;
  else if (strcmp(key, "cgroup") == 0) pod->cgroup = value;
  else if (strcmp(key, "hosts") == 0) pod->hosts = value;
  else if (strcmp(key, "user") == 0) pod->user = number_of(key, value, UINT32_MAX - 1);
  else if (strcmp(key, "graceMs") == 0) pod->grace_ms = number_of(key, value, INT32_MAX);
  else if (strcmp(key, "restartPolicy") == 0) pod->restart = restart_of(value);
  else if (strcmp(key, "hide") == 0) {
    if (pod->hidden_count == max_hidden) refuse(key, "more than 16");
    pod->hidden[pod->hidden_count++] = value;
  } else if (strcmp(key, "bind") == 0) {
    if (pod->bind_count == max_binds) refuse(key, "more than 8");
    pod->binds[pod->bind_count++].source = value;
  } else if (strcmp(key, "bindTo") == 0) {
    if (pod->bind_count == 0 || pod->binds[pod->bind_count - 1].target != NULL) refuse(key, "without a bind");
    pod->binds[pod->bind_count - 1].target = value;
  } else refuse(key, "unknown key");
}

static char *read_all(const char *path, size_t *length) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) die(path);
  char *text = malloc(max_spec_bytes + 1);
  if (text == NULL) die("spec");
  ssize_t got;
  *length = 0;
  while ((got = read(fd, text + *length, max_spec_bytes + 1 - *length)) > 0) *length += got;
  if (got < 0) die(path);
  close(fd);
  if (*length > max_spec_bytes) refuse(path, "larger than 1 MiB");
  if (*length == 0 || text[*length - 1] != 0) refuse(path, "does not end with a NUL");
  return text;
}

/** Fills `spec`, which points into memory that stays; ends the process when the file is not right. */
void read_spec(struct pod_spec *spec, const char *path) {
  size_t length;
  char *text = read_all(path, &length);
  *spec = (struct pod_spec){0};
  for (char *at = text, *end = text + length; at < end;) {
    const char *key = at;
    at += strlen(at) + 1;
    if (at >= end) refuse(key, "has no value");
    const char *value = at;
    at += strlen(at) + 1;
    if (strcmp(key, "container") == 0) begin_container(spec, value);
    else if (spec->container_count > 0) container_pair(&spec->containers[spec->container_count - 1], key, value);
    else pod_pair(spec, key, value);
  }
  if (!spec->name || !spec->namespace || !spec->hostname || !spec->folder || !spec->cgroup || !spec->hosts) refuse(path, "a key is missing");
  for (int i = 0; i < spec->bind_count; i++) {
    if (spec->binds[i].target == NULL) refuse(spec->binds[i].source, "has no bindTo");
  }
  if (spec->container_count == 0) refuse(path, "has no container");
  for (int i = 0; i < spec->container_count; i++) {
    if (spec->containers[i].argc == 0) refuse(spec->containers[i].name, "has no command");
  }
}
