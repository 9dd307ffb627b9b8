// SPDX-License-Identifier: Apache-2.0
// Test traffic between two places: a server, and clients that measure one thing each and print it as a line of JSON.
//   weir-peer server PORT                 echo on PORT (TCP, UDP), one answer and close on PORT+1, sink on PORT+2
//   weir-peer TCP_RR|TCP_CRR|TCP_STREAM|UDP_RR ADDRESS PORT MS
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
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { chunk_bytes = 128 << 10, most_samples = 1 << 22, answer_timeout_s = 2 };
enum service { echo_tcp, answer_and_close, sink, echo_udp, services };

static char chunk[chunk_bytes];

static void die(const char *what) {
  fprintf(stderr, "weir-peer: %s: %s\n", what, strerror(errno));
  exit(1);
}

static uint64_t clock_ns(clockid_t clock) {
  struct timespec now;
  clock_gettime(clock, &now);
  return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static uint64_t now_ns(void) { return clock_ns(CLOCK_MONOTONIC); }

static void set(int fd, int level, int option, int value) {
  if (setsockopt(fd, level, option, &value, sizeof value) != 0) die("setsockopt");
}

/** Blocks up to answer_timeout_s for each call, also where the kernel gives up earlier: a joined socket does at a wake-up without data. */
static ssize_t received(int fd, void *to, size_t size) {
  ssize_t got = recv(fd, to, size, 0);
  if (got >= 0 || errno != EAGAIN) return got;
  for (uint64_t start = now_ns(); got < 0 && errno == EAGAIN && now_ns() - start < (uint64_t)answer_timeout_s * 1000000000;) got = recv(fd, to, size, 0);
  return got;
}

// ---- server ----

/** Both families on one socket. */
static int bound(int type, int port) {
  struct sockaddr_in6 any = { .sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port) };
  int fd = socket(AF_INET6, type, 0);
  if (fd < 0) die("socket");
  set(fd, IPPROTO_IPV6, IPV6_V6ONLY, 0);
  set(fd, SOL_SOCKET, SO_REUSEADDR, 1);
  if (bind(fd, (struct sockaddr *)&any, sizeof any) != 0) die("bind");
  if (type == SOCK_STREAM && listen(fd, 128) != 0) die("listen");
  return fd;
}

static void serve_connection(int fd, enum service service) {
  size_t size = service == sink ? sizeof chunk : 1;
  for (ssize_t got; (got = received(fd, chunk, size)) > 0;) {
    if (service != sink && send(fd, chunk, (size_t)got, MSG_NOSIGNAL) != got) return;
    if (service == answer_and_close) return;
  }
}

/** One connection after the other: clients come one at a time. */
static void serve_tcp(int listener, enum service service) {
  for (;;) {
    int fd = accept(listener, NULL, NULL);
    if (fd < 0) die("accept");
    set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    serve_connection(fd, service);
    close(fd);
  }
}

static void serve_udp(int fd) {
  for (;;) {
    struct sockaddr_in6 from;
    socklen_t length = sizeof from;
    ssize_t got = recvfrom(fd, chunk, sizeof chunk, 0, (struct sockaddr *)&from, &length);
    if (got >= 0) sendto(fd, chunk, (size_t)got, 0, (struct sockaddr *)&from, length);
  }
}

/** A process for each service; says `ready` when all are bound. */
static void serve(int port) {
  int fds[services] = { bound(SOCK_STREAM, port), bound(SOCK_STREAM, port + 1), bound(SOCK_STREAM, port + 2), bound(SOCK_DGRAM, port) };
  for (int service = 0; service < services; service++) {
    pid_t child = fork();
    if (child < 0) die("fork");
    if (child > 0) continue;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (service == echo_udp) serve_udp(fds[service]);
    else serve_tcp(fds[service], (enum service)service);
  }
  puts("ready");
  fflush(stdout);
  wait(NULL);
}

// ---- clients ----

struct target { struct sockaddr_storage address; socklen_t length; };

static struct target target_of(const char *text, int port) {
  struct target target = { 0 };
  struct sockaddr_in *v4 = (struct sockaddr_in *)&target.address;
  struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&target.address;
  if (inet_pton(AF_INET, text, &v4->sin_addr) == 1) {
    v4->sin_family = AF_INET;
    v4->sin_port = htons((uint16_t)port);
    target.length = sizeof *v4;
  } else if (inet_pton(AF_INET6, text, &v6->sin6_addr) == 1) {
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons((uint16_t)port);
    target.length = sizeof *v6;
  } else {
    fprintf(stderr, "weir-peer: not an address: %s\n", text);
    exit(2);
  }
  return target;
}

static int connected(const struct target *to, int type) {
  struct timeval timeout = { .tv_sec = answer_timeout_s };
  int fd = socket(to->address.ss_family, type, 0);
  if (fd < 0) die("socket");
  if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout) != 0) die("setsockopt");
  if (connect(fd, (const struct sockaddr *)&to->address, to->length) != 0) die("connect");
  if (type == SOCK_STREAM) set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  return fd;
}

static void exchange(int fd) {
  char byte = 'x';
  if (send(fd, &byte, 1, MSG_NOSIGNAL) != 1) die("send");
  if (received(fd, &byte, 1) != 1) die("recv");
}

static int by_size(const void *a, const void *b) {
  uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
  return (x > y) - (x < y);
}

static void tell(const char *test, uint32_t *samples, size_t count, uint64_t took_ns, uint64_t cpu_ns) {
  qsort(samples, count, sizeof *samples, by_size);
  printf("{\"test\":\"%s\",\"p50Ns\":%u,\"p99Ns\":%u,\"perSecond\":%.0f,\"count\":%zu,\"cpuNs\":%llu}\n", test, samples[count / 2],
         samples[count * 99 / 100], (double)count * 1e9 / (double)took_ns, count, (unsigned long long)cpu_ns);
}

/** Transactions one after the other: over one connection, or each over its own. */
static void transact(const char *test, const struct target *to, int type, bool anew, uint64_t for_ns) {
  uint32_t *samples = malloc(most_samples * sizeof *samples);
  if (samples == NULL) die("malloc");
  int fd = anew ? -1 : connected(to, type);
  uint64_t start = now_ns(), before = start, after = start, cpu = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
  size_t count = 0;
  while (after - start < for_ns && count < most_samples) {
    char end;
    if (anew) fd = connected(to, type);
    exchange(fd);
    if (anew && received(fd, &end, 1) != 0) die("close");
    if (anew) close(fd);
    after = now_ns();
    samples[count++] = (uint32_t)(after - before);
    before = after;
  }
  tell(test, samples, count, after - start, clock_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu);
}

/** Bytes count once the other side has read them all. */
static void stream(const struct target *to, uint64_t for_ns) {
  int fd = connected(to, SOCK_STREAM);
  uint64_t start = now_ns(), bytes = 0;
  while (now_ns() - start < for_ns) {
    ssize_t sent = send(fd, chunk, sizeof chunk, MSG_NOSIGNAL);
    if (sent < 0) die("send");
    bytes += (uint64_t)sent;
  }
  char end;
  if (shutdown(fd, SHUT_WR) != 0 || received(fd, &end, 1) != 0) die("end of stream");
  printf("{\"test\":\"TCP_STREAM\",\"bytesPerSecond\":%.0f}\n", (double)bytes * 1e9 / (double)(now_ns() - start));
}

int main(int count, char **words) {
  if (count == 3 && strcmp(words[1], "server") == 0) {
    serve(atoi(words[2]));
    return 1;
  }
  if (count != 5) {
    fputs("usage: weir-peer server PORT | TCP_RR|TCP_CRR|TCP_STREAM|UDP_RR ADDRESS PORT MS\n", stderr);
    return 2;
  }
  const char *test = words[1];
  int port = atoi(words[3]);
  uint64_t for_ns = strtoull(words[4], NULL, 10) * 1000000;
  struct target echo = target_of(words[2], port), closing = target_of(words[2], port + 1), sinking = target_of(words[2], port + 2);
  if (strcmp(test, "TCP_RR") == 0) transact(test, &echo, SOCK_STREAM, false, for_ns);
  else if (strcmp(test, "TCP_CRR") == 0) transact(test, &closing, SOCK_STREAM, true, for_ns);
  else if (strcmp(test, "UDP_RR") == 0) transact(test, &echo, SOCK_DGRAM, false, for_ns);
  else if (strcmp(test, "TCP_STREAM") == 0) stream(&sinking, for_ns);
  else {
    fprintf(stderr, "weir-peer: no such test: %s\n", test);
    return 2;
  }
  return 0;
}
