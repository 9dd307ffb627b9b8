/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* cgroup hooks at the root of the tree: a service's address becomes a backend's when a socket asks for it, so that no packet has to be
 * translated, and the socket is shown the service's address when it asks whom it talks to. Network namespaces that are not in
 * `service_clients` are left alone. SCTP has no such hooks: its packets are translated. */
#include <linux/errno.h>
#include "lib/socket.h"
#include "lib/socket_error.h"

enum occasion { OCCASION_DATAGRAM, OCCASION_CONNECT };

static __always_inline int ask(struct bpf_sock_addr *ctx, struct frontend_key *from, struct backend *to, enum occasion occasion)
{
	struct asker asker = { .netns = bpf_get_netns_cookie(ctx) };
	int answer;

	if (ctx->protocol != IPPROTO_TCP && ctx->protocol != IPPROTO_UDP)
		return ANSWER_LEAVE;
	asker.key.cookie = bpf_get_socket_cookie(ctx);
	asker.lasting = ctx->protocol == IPPROTO_UDP;
	from->port = ctx->user_port;
	from->protocol = ctx->protocol;
	from->scope = SCOPE_CLUSTER;
	answer = translate(&asker, from, to);
	if (answer == ANSWER_LEAVE && occasion == OCCASION_CONNECT)
		forget(asker.key.cookie);
	return answer;
}

static __always_inline int ask_ipv4(struct bpf_sock_addr *ctx, enum occasion occasion)
{
	struct frontend_key from = {};
	struct backend to = {};
	int answer;

	addr_from_ipv4(&from.addr, ctx->user_ip4);
	answer = ask(ctx, &from, &to, occasion);
	if (answer == ANSWER_BACKEND) {
		ctx->user_ip4 = to.addr.word[3];
		ctx->user_port = to.port;
	}
	return answer == ANSWER_REFUSE ? refused(ECONNREFUSED) : 1;
}

static __always_inline void read_ipv6(const struct bpf_sock_addr *ctx, struct addr *addr)
{
	addr->word[0] = ctx->user_ip6[0];
	addr->word[1] = ctx->user_ip6[1];
	addr->word[2] = ctx->user_ip6[2];
	addr->word[3] = ctx->user_ip6[3];
}

static __always_inline void write_ipv6(struct bpf_sock_addr *ctx, const struct addr *addr)
{
	ctx->user_ip6[0] = addr->word[0];
	ctx->user_ip6[1] = addr->word[1];
	ctx->user_ip6[2] = addr->word[2];
	ctx->user_ip6[3] = addr->word[3];
}

/* IPv4 in an IPv6 socket has the form that the tables have. */
static __always_inline int ask_ipv6(struct bpf_sock_addr *ctx, enum occasion occasion)
{
	struct frontend_key from = {};
	struct backend to = {};
	int answer;

	read_ipv6(ctx, &from.addr);
	answer = ask(ctx, &from, &to, occasion);
	if (answer == ANSWER_BACKEND) {
		write_ipv6(ctx, &to.addr);
		ctx->user_port = to.port;
	}
	return answer == ANSWER_REFUSE ? refused(ECONNREFUSED) : 1;
}

static __always_inline int show_ipv4(struct bpf_sock_addr *ctx)
{
	__be16 port = ctx->user_port;
	struct addr addr;

	addr_from_ipv4(&addr, ctx->user_ip4);
	if (frontend_of(bpf_get_socket_cookie(ctx), &addr, &port)) {
		ctx->user_ip4 = addr.word[3];
		ctx->user_port = port;
	}
	return 1;
}

static __always_inline int show_ipv6(struct bpf_sock_addr *ctx)
{
	__be16 port = ctx->user_port;
	struct addr addr;

	read_ipv6(ctx, &addr);
	if (frontend_of(bpf_get_socket_cookie(ctx), &addr, &port)) {
		write_ipv6(ctx, &addr);
		ctx->user_port = port;
	}
	return 1;
}

SEC("cgroup/connect4")
int connect4(struct bpf_sock_addr *ctx) { return ask_ipv4(ctx, OCCASION_CONNECT); }

SEC("cgroup/connect6")
int connect6(struct bpf_sock_addr *ctx) { return ask_ipv6(ctx, OCCASION_CONNECT); }

SEC("cgroup/sendmsg4")
int sendmsg4(struct bpf_sock_addr *ctx) { return ask_ipv4(ctx, OCCASION_DATAGRAM); }

SEC("cgroup/sendmsg6")
int sendmsg6(struct bpf_sock_addr *ctx) { return ask_ipv6(ctx, OCCASION_DATAGRAM); }

SEC("cgroup/recvmsg4")
int recvmsg4(struct bpf_sock_addr *ctx) { return show_ipv4(ctx); }

SEC("cgroup/recvmsg6")
int recvmsg6(struct bpf_sock_addr *ctx) { return show_ipv6(ctx); }

SEC("cgroup/getpeername4")
int getpeername4(struct bpf_sock_addr *ctx) { return show_ipv4(ctx); }

SEC("cgroup/getpeername6")
int getpeername6(struct bpf_sock_addr *ctx) { return show_ipv6(ctx); }

SEC("cgroup/sock_release")
int sock_release(struct bpf_sock *ctx)
{
	forget(bpf_get_socket_cookie(ctx));
	return 1;
}
