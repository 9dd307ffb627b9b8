// SPDX-License-Identifier: Apache-2.0
// One workload beside others on a shared proxy: a victim that asks now and then and says how long it waited, and those that take all they
// can get. One thread around epoll; an abuser tells its answers when its time is over, or it is ended.
//   weir-abuse victim ADDRESS PORT GAP_US MS
//   weir-abuse connections|requests|headers|slow|resets ADDRESS PORT MS
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { most_samples = 1 << 20, read_bytes = 65536, events_at_once = 256, header_bytes = 58 * 1024, header_lines = 58, streams_at_once = 256, last_stream = 1 << 30, drip_ms = 20, answer_ms = 10000 };

static const char request[] = "GET /ok HTTP/1.1\r\nhost: bench\r\n\r\n";

struct connection {
  int fd;
  size_t sent, length;
  uint32_t stream;
  char *out;
};

struct kind {
  const char *name;
  int connections;
  bool fresh;		// a connection for each request
};
static const struct kind kinds[] = { { "connections", 64, true }, { "requests", 64, false }, { "headers", 64, false }, { "slow", 1000, false }, { "resets", 16, false } };

static struct sockaddr_in6 v6;
static struct sockaddr_in v4;
static bool ipv4;
static char heavy[header_bytes + 4096];
static uint64_t answers, opened, failed;
static volatile sig_atomic_t over;

static void die(const char *what) {
  fprintf(stderr, "weir-abuse: %s: %s\n", what, strerror(errno));
  exit(1);
}

static void end(int signal) {
  (void)signal;
  over = 1;
}

static uint64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void aim(const char *address, int port) {
  ipv4 = inet_pton(AF_INET, address, &v4.sin_addr) == 1;
  v4.sin_family = AF_INET;
  v4.sin_port = htons((uint16_t)port);
  v6.sin6_family = AF_INET6;
  v6.sin6_port = htons((uint16_t)port);
  if (!ipv4 && inet_pton(AF_INET6, address, &v6.sin6_addr) != 1) die(address);
}

static int dial(int flags) {
  int fd = socket(ipv4 ? AF_INET : AF_INET6, SOCK_STREAM | flags, 0), on = 1;
  if (fd < 0) die("socket");
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  const struct sockaddr *to = ipv4 ? (const struct sockaddr *)&v4 : (const struct sockaddr *)&v6;
  if (connect(fd, to, ipv4 ? sizeof v4 : sizeof v6) == 0 || errno == EINPROGRESS) return fd;
  close(fd);
  return -1;
}

// ---- victim ----

static int by_size(const void *a, const void *b) {
  uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
  return (x > y) - (x < y);
}

/** One connection, one request at a time; one that ends is opened again. */
static void suffer(uint64_t gap_ns, uint64_t for_ns) {
  uint32_t *samples = malloc(most_samples * sizeof *samples);
  struct timespec gap = { .tv_sec = (time_t)(gap_ns / 1000000000), .tv_nsec = (long)(gap_ns % 1000000000) };
  struct timeval patience = { .tv_sec = answer_ms / 1000 };
  char answer[read_bytes];
  size_t count = 0;
  int fd = -1;
  if (samples == NULL) die("malloc");
  for (uint64_t start = now_ns(); now_ns() - start < for_ns && count < most_samples; nanosleep(&gap, NULL)) {
    uint64_t asked = now_ns();
    if (fd < 0) {
      fd = dial(0);
      if (fd >= 0) setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    }
    ssize_t got = fd < 0 || send(fd, request, sizeof request - 1, MSG_NOSIGNAL) < 0 ? -1 : recv(fd, answer, sizeof answer, 0);
    if (got <= 0) {
      failed++;
      if (fd >= 0) close(fd);
      fd = -1;
      continue;
    }
    samples[count++] = (uint32_t)((now_ns() - asked) / 1000);
  }
  if (count == 0) die("no answer");
  qsort(samples, count, sizeof *samples, by_size);
  printf("{\"requests\":%zu,\"failed\":%llu,\"p50Us\":%u,\"p99Us\":%u,\"mostUs\":%u}\n", count, (unsigned long long)failed, samples[count / 2], samples[count * 99 / 100], samples[count - 1]);
}

// ---- abusers ----

static void write_heavy(void) {
  size_t at = (size_t)sprintf(heavy, "GET /ok HTTP/1.1\r\nhost: bench\r\n");
  for (int line = 0; line < header_lines; line++) {
    at += (size_t)sprintf(heavy + at, "x-%02d: ", line);
    memset(heavy + at, 'a', header_bytes / header_lines - 10);
    at += header_bytes / header_lines - 10;
    at += (size_t)sprintf(heavy + at, "\r\n");
  }
  sprintf(heavy + at, "\r\n");
}

static size_t frame(char *to, uint8_t type, uint8_t flags, uint32_t stream, const void *payload, size_t length) {
  const unsigned char head[9] = { 0, (unsigned char)(length >> 8), (unsigned char)length, type, flags, (unsigned char)(stream >> 24), (unsigned char)(stream >> 16), (unsigned char)(stream >> 8), (unsigned char)stream };
  memcpy(to, head, sizeof head);
  memcpy(to + sizeof head, payload, length);
  return sizeof head + length;
}

/** Requests that are taken back at once (RFC 9113, 6.4): :method GET, :scheme http, :path /ok, :authority bench (RFC 7541). */
static void write_resets(struct connection *one) {
  static const unsigned char fields[] = { 0x82, 0x86, 0x04, 3, '/', 'o', 'k', 0x01, 5, 'b', 'e', 'n', 'c', 'h' };
  static const unsigned char cancel[] = { 0, 0, 0, 8 };
  one->sent = one->length = 0;
  if (one->stream == 0) {
    memcpy(one->out, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24);
    one->length = 24 + frame(one->out + 24, 4, 0, 0, "", 0);
    one->stream = 1;
  }
  for (int i = 0; i < streams_at_once; i++, one->stream += 2) {
    one->length += frame(one->out + one->length, 1, 5, one->stream, fields, sizeof fields);
    one->length += frame(one->out + one->length, 3, 0, one->stream, cancel, sizeof cancel);
  }
}

static void refill(const struct kind *kind, struct connection *one) {
  if (strcmp(kind->name, "resets") == 0) {
    write_resets(one);
    return;
  }
  bool big = strcmp(kind->name, "headers") == 0;
  one->out = big ? heavy : (char *)request;
  one->length = big ? strlen(heavy) : sizeof request - 1;
  one->sent = 0;
}

static void again(int poll, const struct kind *kind, struct connection *one) {
  if (one->fd >= 0) close(one->fd);
  one->stream = 0;
  one->fd = dial(SOCK_NONBLOCK);
  if (one->fd < 0) return;
  opened++;
  refill(kind, one);
  struct epoll_event event = { .events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = one };
  if (epoll_ctl(poll, EPOLL_CTL_ADD, one->fd, &event) != 0) die("epoll_ctl");
}

/** false: the connection is gone. */
static bool push(const struct kind *kind, struct connection *one, size_t most) {
  bool endless = strcmp(kind->name, "resets") == 0;
  while (one->sent < one->length) {
    size_t left = one->length - one->sent;
    ssize_t sent = send(one->fd, one->out + one->sent, left < most ? left : most, MSG_NOSIGNAL);
    if (sent < 0) return errno == EAGAIN || errno == ENOTCONN;
    one->sent += (size_t)sent;
    if (most == 1) return true;
    if (one->sent == one->length && endless && one->stream < last_stream) {
      answers += streams_at_once;
      write_resets(one);
      return true;	/* others first; the next look comes by the timer */
    }
  }
  return true;
}

static void tend(int poll, const struct kind *kind, struct connection *one) {
  static char answer[read_bytes];
  bool slow = strcmp(kind->name, "slow") == 0, endless = strcmp(kind->name, "resets") == 0;
  ssize_t got;
  while ((got = recv(one->fd, answer, sizeof answer, 0)) > 0) {
    if (endless) continue;
    answers++;
    if (kind->fresh) {
      again(poll, kind, one);
      return;
    }
    refill(kind, one);
  }
  if (got == 0 || (errno != EAGAIN && errno != ENOTCONN) || (!slow && !push(kind, one, SIZE_MAX))) {
    failed++;
    again(poll, kind, one);
  }
}

static void abuse(const struct kind *kind, uint64_t for_ns) {
  struct connection *all = calloc((size_t)kind->connections, sizeof *all);
  struct epoll_event events[events_at_once];
  int poll = epoll_create1(0), turn = 0;
  bool slow = strcmp(kind->name, "slow") == 0, endless = strcmp(kind->name, "resets") == 0;
  if (all == NULL || poll < 0) die("start");
  write_heavy();
  for (int i = 0; i < kind->connections; i++) {
    all[i].fd = -1;
    if (endless) all[i].out = malloc(64 + streams_at_once * 64);
    again(poll, kind, &all[i]);
  }
  for (uint64_t start = now_ns(), tick = start; now_ns() - start < for_ns && !over;) {
    int count = epoll_wait(poll, events, events_at_once, endless ? 0 : 1);
    for (int i = 0; i < count; i++) tend(poll, kind, events[i].data.ptr);
    if (endless) for (int i = 0; i < kind->connections; i++) if (all[i].fd < 0 || !push(kind, &all[i], SIZE_MAX)) again(poll, kind, &all[i]);
    if (now_ns() - tick < 1000000) continue;
    tick = now_ns();
    // A byte of each connection's request every drip_ms, and what could not be opened.
    for (int i = 0; i < kind->connections / drip_ms + 1; i++, turn = (turn + 1) % kind->connections) {
      if (all[turn].fd < 0 || (slow && !push(kind, &all[turn], 1))) again(poll, kind, &all[turn]);
    }
  }
  printf("{\"answers\":%llu,\"opened\":%llu,\"failed\":%llu}\n", (unsigned long long)answers, (unsigned long long)opened, (unsigned long long)failed);
}

int main(int count, char **words) {
  signal(SIGTERM, end);
  if (count == 6 && strcmp(words[1], "victim") == 0) {
    aim(words[2], atoi(words[3]));
    suffer(strtoull(words[4], NULL, 10) * 1000, strtoull(words[5], NULL, 10) * 1000000);
    return 0;
  }
  for (size_t i = 0; count == 5 && i < sizeof kinds / sizeof *kinds; i++) {
    if (strcmp(words[1], kinds[i].name) != 0) continue;
    aim(words[2], atoi(words[3]));
    abuse(&kinds[i], strtoull(words[4], NULL, 10) * 1000000);
    return 0;
  }
  fputs("usage: weir-abuse victim ADDRESS PORT GAP_US MS | connections|requests|headers|slow|resets ADDRESS PORT MS\n", stderr);
  return 2;
}
