// SPDX-License-Identifier: Apache-2.0
// HTTP between two places: a server with one small answer, and a client that keeps so many connections busy, one request at a time each,
// and prints a line of JSON. Both are one thread around epoll.
//   weir-http server PORT
//   weir-http client ADDRESS PORT PATH CONNECTIONS MS
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { most_connections = 4096, message_bytes = 128 * 1024, most_samples = 1 << 22, events_at_once = 256, idle_ms = 2000 };

static const char answer[] = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 2\r\n\r\nok";

struct connection {
  int fd;
  size_t got;		// bytes of the message under way
  uint64_t asked_ns;
  char message[message_bytes];
};

static void die(const char *what) {
  fprintf(stderr, "weir-http: %s: %s\n", what, strerror(errno));
  exit(1);
}

static uint64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void set(int fd, int level, int option, int value) {
  if (setsockopt(fd, level, option, &value, sizeof value) != 0) die("setsockopt");
}

static void watch(int poll, struct connection *one) {
  struct epoll_event event = { .events = EPOLLIN, .data.ptr = one };
  if (epoll_ctl(poll, EPOLL_CTL_ADD, one->fd, &event) != 0) die("epoll_ctl");
}

/** Reads what is there. 1: a whole head (and the body that content-length tells) stands in the message; 0: not yet; -1: the other end is gone. */
static int receive(struct connection *one) {
  ssize_t got = recv(one->fd, one->message + one->got, message_bytes - 1 - one->got, 0);
  if (got <= 0) return got < 0 && errno == EAGAIN ? 0 : -1;
  one->got += (size_t)got;
  one->message[one->got] = 0;
  char *end = strstr(one->message, "\r\n\r\n");
  if (end == NULL) return one->got == message_bytes - 1 ? -1 : 0;
  char *length = strcasestr(one->message, "content-length:");
  size_t body = length != NULL && length < end ? strtoul(length + 15, NULL, 10) : 0;
  return one->got >= (size_t)(end + 4 - one->message) + body ? 1 : 0;
}

// ---- server ----

static int listening(int port) {
  struct sockaddr_in6 any = { .sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port) };
  int fd = socket(AF_INET6, SOCK_STREAM, 0);
  if (fd < 0) die("socket");
  set(fd, IPPROTO_IPV6, IPV6_V6ONLY, 0);
  set(fd, SOL_SOCKET, SO_REUSEADDR, 1);
  if (bind(fd, (struct sockaddr *)&any, sizeof any) != 0 || listen(fd, 1024) != 0) die("bind");
  return fd;
}

static void take(int poll, int listener) {
  struct connection *one = calloc(1, sizeof *one);
  if (one == NULL) die("calloc");
  one->fd = accept(listener, NULL, NULL);
  if (one->fd < 0) die("accept");
  set(one->fd, IPPROTO_TCP, TCP_NODELAY, 1);
  watch(poll, one);
}

static void serve(int port) {
  int listener = listening(port), poll = epoll_create1(0);
  struct epoll_event events[events_at_once];
  struct epoll_event event = { .events = EPOLLIN };
  if (poll < 0 || epoll_ctl(poll, EPOLL_CTL_ADD, listener, &event) != 0) die("epoll");
  puts("ready");
  fflush(stdout);
  for (;;) {
    int count = epoll_wait(poll, events, events_at_once, -1);
    for (int i = 0; i < count; i++) {
      struct connection *one = events[i].data.ptr;
      if (one == NULL) {
        take(poll, listener);
        continue;
      }
      int whole = receive(one);
      if (whole == 0) continue;
      one->got = 0;
      if (whole > 0 && send(one->fd, answer, sizeof answer - 1, MSG_NOSIGNAL) == sizeof answer - 1) continue;
      close(one->fd);
      free(one);
    }
  }
}

// ---- client ----

struct target { struct sockaddr_storage address; socklen_t length; };

static struct target target_of(const char *text, int port) {
  struct target target = { 0 };
  struct sockaddr_in *v4 = (struct sockaddr_in *)&target.address;
  struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&target.address;
  bool ipv4 = inet_pton(AF_INET, text, &v4->sin_addr) == 1;
  if (ipv4) {
    v4->sin_family = AF_INET;
    v4->sin_port = htons((uint16_t)port);
  } else if (inet_pton(AF_INET6, text, &v6->sin6_addr) == 1) {
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons((uint16_t)port);
  } else {
    fprintf(stderr, "weir-http: not an address: %s\n", text);
    exit(2);
  }
  target.length = ipv4 ? sizeof *v4 : sizeof *v6;
  return target;
}

static int by_size(const void *a, const void *b) {
  uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
  return (x > y) - (x < y);
}

static void ask(struct connection *one, const char *request, size_t length) {
  one->got = 0;
  one->asked_ns = now_ns();
  if (send(one->fd, request, length, MSG_NOSIGNAL) != (ssize_t)length) die("send");
}

/** A connection that fails ends the run: what is compared must not lose any. Any status counts as an answer; the first one is told. */
static void load(const struct target *to, const char *host, const char *path, int connections, uint64_t for_ns) {
  static char request[message_bytes];
  int length = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nhost: %s\r\nuser-agent: weir-http\r\naccept: */*\r\n\r\n", path, host);
  int poll = epoll_create1(0), status = 0;
  struct connection *all = calloc((size_t)connections, sizeof *all);
  uint32_t *samples = malloc(most_samples * sizeof *samples);
  struct epoll_event events[events_at_once];
  if (poll < 0 || all == NULL || samples == NULL) die("start");
  for (int i = 0; i < connections; i++) {
    all[i].fd = socket(to->address.ss_family, SOCK_STREAM, 0);
    if (all[i].fd < 0 || connect(all[i].fd, (const struct sockaddr *)&to->address, to->length) != 0) die("connect");
    set(all[i].fd, IPPROTO_TCP, TCP_NODELAY, 1);
    watch(poll, &all[i]);
  }
  uint64_t start = now_ns(), now = start;
  size_t answered = 0;
  for (int i = 0; i < connections; i++) ask(&all[i], request, (size_t)length);
  while (now - start < for_ns && answered < most_samples) {
    int count = epoll_wait(poll, events, events_at_once, idle_ms);
    if (count <= 0) die("no answer");
    for (int i = 0; i < count && answered < most_samples; i++) {
      struct connection *one = events[i].data.ptr;
      int whole = receive(one);
      if (whole < 0) die("the connection ended");
      if (whole == 0) continue;
      now = now_ns();
      samples[answered++] = (uint32_t)(now - one->asked_ns);
      if (status == 0) status = atoi(one->message + 9);
      ask(one, request, (size_t)length);
    }
  }
  qsort(samples, answered, sizeof *samples, by_size);
  printf("{\"status\":%d,\"requests\":%zu,\"perSecond\":%.0f,\"p50Ns\":%u,\"p99Ns\":%u}\n", status, answered,
         (double)answered * 1e9 / (double)(now - start), samples[answered / 2], samples[answered * 99 / 100]);
}

int main(int count, char **words) {
  if (count == 3 && strcmp(words[1], "server") == 0) serve(atoi(words[2]));
  if (count != 7 || strcmp(words[1], "client") != 0) {
    fputs("usage: weir-http server PORT | client ADDRESS PORT PATH CONNECTIONS MS\n", stderr);
    return 2;
  }
  int connections = atoi(words[5]);
  if (connections < 1 || connections > most_connections) {
    fprintf(stderr, "weir-http: connections: expected 1 to %d\n", most_connections);
    return 2;
  }
  struct target target = target_of(words[2], atoi(words[3]));
  load(&target, words[2], words[4], connections, strtoull(words[6], NULL, 10) * 1000000);
  return 0;
}
