// SPDX-License-Identifier: Apache-2.0
// DNS by UDP between two places: a server whose answers have four addresses each, and a client that asks so many times a second, whether
// answers come or not, and prints a line of JSON. Both are one thread that sleeps between packets.
//   weir-dns server PORT
//   weir-dns client ADDRESS PORT NAMES PER-SECOND MS
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { head_bytes = 12, message_bytes = 512, answers = 4, client_sockets = 64, ids = 1 << 16, most_samples = 1 << 21, receive_bytes = 64 << 20, type_a = 1, type_aaaa = 28 };
static const uint64_t second = 1000000000, wait_ns = 5000000000;

static void die(const char *what) {
  fprintf(stderr, "weir-dns: %s: %s\n", what, strerror(errno));
  exit(1);
}

static uint64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * second + (uint64_t)now.tv_nsec;
}

static void put16(uint8_t *at, unsigned value) {
  at[0] = (uint8_t)(value >> 8);
  at[1] = (uint8_t)value;
}

/** What others on the machine take of its time must not make a socket drop what it was given. */
static void patient(int fd) {
  int bytes = receive_bytes;
  if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes) != 0) die("SO_RCVBUFFORCE");
}

// ---- server ----

/** The query in `message` becomes its answer: for nNUMBER, four addresses of its own below 198.18.0.0/16 or 2001:db8:18::. Returns its length; 0: it is none. */
static size_t answer(uint8_t *message, size_t length) {
  static const uint8_t ipv6_prefix[14] = { 0x20, 0x01, 0x0d, 0xb8, 0, 0x18 }, ipv4_prefix[2] = { 198, 18 };
  size_t at = head_bytes;
  unsigned number = 0;
  for (size_t i = at + 2; i <= at + message[at] && i < length; i++) number = number * 10 + (message[i] - '0') % 10u;
  while (at < length && message[at] != 0) at += message[at] + 1u;
  if (at + 5 > length) return 0;
  bool ipv6 = message[at + 2] == type_aaaa;
  const uint8_t *prefix = ipv6 ? ipv6_prefix : ipv4_prefix;
  size_t size = ipv6 ? sizeof ipv6_prefix : sizeof ipv4_prefix;
  put16(message + 2, 0x8180);
  put16(message + 6, answers);
  at += 5;
  for (unsigned i = 0; i < answers; i++) {
    static const uint8_t head[10] = { 0xc0, head_bytes, 0, 0, 0, 1, 0, 0, 1, 44 };	// the question's name, IN, 300 s
    memcpy(message + at, head, sizeof head);
    message[at + 3] = ipv6 ? type_aaaa : type_a;
    put16(message + at + 10, (unsigned)size + 2);
    memcpy(message + at + 12, prefix, size);
    put16(message + at + 12 + size, number * answers + i);
    at += 14 + size;
  }
  return at;
}

static void serve(int port) {
  struct sockaddr_in6 any = { .sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port) }, client;
  int fd = socket(AF_INET6, SOCK_DGRAM, 0), no = 0;
  uint8_t message[message_bytes];
  if (fd < 0 || setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &no, sizeof no) != 0 || bind(fd, (struct sockaddr *)&any, sizeof any) != 0) die("bind");
  patient(fd);
  puts("ready");
  fflush(stdout);
  for (;;) {
    socklen_t size = sizeof client;
    ssize_t got = recvfrom(fd, message, message_bytes - answers * 28, 0, (struct sockaddr *)&client, &size);
    if (got <= head_bytes) continue;
    size_t length = answer(message, (size_t)got);
    if (length > 0 && sendto(fd, message, length, 0, (struct sockaddr *)&client, size) < 0) die("sendto");
  }
}

// ---- client ----

struct load {
  int poll, fd[client_sockets];
  bool ipv6;
  uint64_t asked_ns[client_sockets][ids];	// 0: nothing waits
  size_t sent, answered, failed, waiting;
  uint32_t *samples;
};

static void open_sockets(struct load *load, const char *text, int port) {
  struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
  struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port) };
  load->ipv6 = inet_pton(AF_INET6, text, &v6.sin6_addr) == 1;
  if (!load->ipv6 && inet_pton(AF_INET, text, &v4.sin_addr) != 1) die(text);
  load->poll = epoll_create1(0);
  for (int i = 0; i < client_sockets; i++) {
    struct epoll_event event = { .events = EPOLLIN, .data.u32 = (uint32_t)i };
    load->fd[i] = socket(load->ipv6 ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    const struct sockaddr *to = load->ipv6 ? (struct sockaddr *)&v6 : (struct sockaddr *)&v4;
    if (load->fd[i] < 0 || connect(load->fd[i], to, load->ipv6 ? sizeof v6 : sizeof v4) != 0) die("connect");
    patient(load->fd[i]);
    if (epoll_ctl(load->poll, EPOLL_CTL_ADD, load->fd[i], &event) != 0) die("epoll_ctl");
  }
}

static void ask(struct load *load, unsigned names) {
  static const uint8_t tail[] = "\7example\4test";
  uint8_t query[message_bytes] = { 0 };
  unsigned at_socket = load->sent % client_sockets, id = load->sent / client_sockets % ids;
  size_t at = head_bytes;
  put16(query, id);
  put16(query + 2, 0x0100);
  put16(query + 4, 1);
  query[at] = (uint8_t)sprintf((char *)query + at + 1, "n%u", (unsigned)(load->sent % names));
  at += query[at] + 1u;
  memcpy(query + at, tail, sizeof tail);
  at += sizeof tail;
  put16(query + at, load->ipv6 ? type_aaaa : type_a);
  put16(query + at + 2, 1);
  load->waiting++;
  load->asked_ns[at_socket][id] = now_ns();
  if (send(load->fd[at_socket], query, at + 4, 0) < 0) die("send");
  load->sent++;
}

static void take(struct load *load, unsigned at_socket) {
  uint8_t message[message_bytes];
  for (ssize_t got; (got = recv(load->fd[at_socket], message, sizeof message, 0)) > 0;) {
    uint64_t *asked_ns = &load->asked_ns[at_socket][(unsigned)message[0] << 8 | message[1]];
    if (*asked_ns == 0) continue;
    load->samples[load->answered++] = (uint32_t)(now_ns() - *asked_ns);
    load->failed += got <= head_bytes || (message[3] & 15) != 0 || message[7] != answers;
    *asked_ns = 0;
    load->waiting--;
  }
}

static int by_size(const void *a, const void *b) {
  uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
  return (x > y) - (x < y);
}

/** Until `end`, or, with nothing more to send, until all has been answered. */
static void run(struct load *load, unsigned names, unsigned per_second, uint64_t for_ns) {
  uint64_t begin = now_ns(), now = begin, gap = second / per_second;
  size_t most = (size_t)(for_ns / gap);
  while (load->sent < most || (load->waiting > 0 && now < begin + for_ns + wait_ns)) {
    while (load->sent < most && begin + load->sent * gap <= now) {
      ask(load, names);
      now = now_ns();
    }
    uint64_t due = load->sent < most ? begin + load->sent * gap : begin + for_ns + wait_ns;
    struct timespec left = { .tv_sec = (time_t)((due - now) / second), .tv_nsec = (long)((due - now) % second) };
    if (due <= now) left = (struct timespec){ 0 };
    struct epoll_event events[client_sockets];
    int count = epoll_pwait2(load->poll, events, client_sockets, &left, NULL);
    for (int i = 0; i < count; i++) take(load, events[i].data.u32);
    now = now_ns();
  }
}

int main(int count, char **words) {
  static struct load load;
  if (count == 3 && strcmp(words[1], "server") == 0) serve(atoi(words[2]));
  unsigned names = count == 7 ? (unsigned)atoi(words[4]) : 0, per_second = count == 7 ? (unsigned)atoi(words[5]) : 0;
  uint64_t ms = count == 7 ? strtoull(words[6], NULL, 10) : 0;
  if (count != 7 || strcmp(words[1], "client") != 0 || names == 0 || per_second == 0 || per_second * ms / 1000 > most_samples) {
    fputs("usage: weir-dns server PORT | client ADDRESS PORT NAMES PER-SECOND MS\n", stderr);
    return 2;
  }
  load.samples = malloc(most_samples * sizeof *load.samples);
  if (load.samples == NULL || prctl(PR_SET_TIMERSLACK, 1) != 0) die("start");
  open_sockets(&load, words[2], atoi(words[3]));
  uint64_t begin = now_ns();
  run(&load, names, per_second, ms * 1000000);
  double seconds = (double)(now_ns() - begin) / 1e9;
  if (load.answered == 0) die("no answer");
  qsort(load.samples, load.answered, sizeof *load.samples, by_size);
  printf("{\"sent\":%zu,\"lost\":%zu,\"failed\":%zu,\"perSecond\":%.0f,\"p50Ns\":%u,\"p99Ns\":%u}\n", load.sent, load.sent - load.answered, load.failed,
         (double)load.answered / seconds, load.samples[load.answered / 2], load.samples[load.answered * 99 / 100]);
  return 0;
}
