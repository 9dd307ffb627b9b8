/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* cgroup hooks after a bind: a process of the node cannot have a port that is a NodePort. */
#include <linux/errno.h>
#include "lib/socket.h"
#include "lib/socket_error.h"

static __always_inline int is_node_port(struct frontend_key *key)
{
	struct frontend *frontend = frontend_lookup(key);

	return frontend && frontend->flags & FRONTEND_NODE_PORT;
}

/* `key`: the end that was bound, without its port. */
static __always_inline int bound(struct bpf_sock *ctx, struct frontend_key *key)
{
	__u64 netns = bpf_get_netns_cookie(ctx);
	struct service_client *client = bpf_map_lookup_elem(&service_clients, &netns);

	if (!client || client->ifindex)
		return 1;
	key->port = bpf_htons(ctx->src_port);
	key->protocol = ctx->protocol;
	key->scope = SCOPE_CLUSTER;
	if (is_node_port(key))
		return refused(EADDRINUSE);
	/* All addresses of IPv6 are those of IPv4 too, unless the socket was told otherwise, which is not to be seen here. */
	if (key->addr.word[0] | key->addr.word[1] | key->addr.word[2] | key->addr.word[3])
		return 1;
	addr_from_ipv4(&key->addr, 0);
	return is_node_port(key) ? refused(EADDRINUSE) : 1;
}

SEC("cgroup/post_bind4")
int post_bind4(struct bpf_sock *ctx)
{
	struct frontend_key key = {};

	addr_from_ipv4(&key.addr, ctx->src_ip4);
	return bound(ctx, &key);
}

SEC("cgroup/post_bind6")
int post_bind6(struct bpf_sock *ctx)
{
	struct frontend_key key = {};

	key.addr.word[0] = ctx->src_ip6[0];
	key.addr.word[1] = ctx->src_ip6[1];
	key.addr.word[2] = ctx->src_ip6[2];
	key.addr.word[3] = ctx->src_ip6[3];
	return bound(ctx, &key);
}
