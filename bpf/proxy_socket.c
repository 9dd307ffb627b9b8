/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Envoy's listeners. A socket of its cgroup that listens at one of the instance's ports is put into proxy_listeners (sockops); what
 * conntrack has sent up the stack finds it there by its connection's port (sk_lookup, in the node's namespace), whatever address it is for. The
 * kernel asks only where it knows no connection, a TIME_WAIT that a new SYN ends included. */
#include "lib/ct_row.h"
#include "lib/proxy.h"

static __always_inline int is_proxy_port(const struct proxy *proxy, __u32 port)
{
	return port >= proxy->first_port && port < (__u32)proxy->first_port + proxy->ports;
}

SEC("sockops")
int proxy_listens(struct bpf_sock_ops *ctx)
{
	struct proxy_listener key = { .port = ctx->local_port, .family = ctx->family };
	struct proxy *proxy = proxy_row();

	/* The later socket of a port is the one that new connections get. */
	if (ctx->op == BPF_SOCK_OPS_TCP_LISTEN_CB && proxy && is_proxy_port(proxy, key.port))
		bpf_sock_hash_update(ctx, &proxy_listeners, &key, BPF_ANY);
	return 1;
}

/* The port that the opener of such a connection is sent to; 0: to none. */
static __always_inline __u32 port_for(struct ct_key *key, __u8 from)
{
	struct ct_entry *entry;

	entry = bpf_map_lookup_elem(&conntrack, key);
	if (entry && is_proxied(entry) && entry->origin == from)
		return entry->proxy_port;
	key->leg = 1;
	entry = bpf_map_lookup_elem(&conntrack, key);
	return entry && is_proxied(entry) && entry->origin == from ? entry->proxy_port : 0;
}

/* Nobody comes to Envoy's ports but by conntrack. */
SEC("sk_lookup")
int find_listener(struct bpf_sk_lookup *ctx)
{
	struct proxy *proxy = proxy_row();
	struct addr source, destination;
	struct proxy_listener listener;
	struct bpf_sock *socket;
	__be32 remote, local;
	struct ct_key key;
	long failed;
	__u8 from;

	if (!proxy || ctx->protocol != IPPROTO_TCP)
		return SK_PASS;
	/* Read before the branch: the verifier wants each field at its own offset, where clang would share the load. */
	remote = ctx->remote_ip4;
	local = ctx->local_ip4;
	if (ctx->family == 2) {	/* AF_INET */
		addr_from_ipv4(&source, remote);
		addr_from_ipv4(&destination, local);
	} else {
		source.word[0] = ctx->remote_ip6[0];
		source.word[1] = ctx->remote_ip6[1];
		source.word[2] = ctx->remote_ip6[2];
		source.word[3] = ctx->remote_ip6[3];
		destination.word[0] = ctx->local_ip6[0];
		destination.word[1] = ctx->local_ip6[1];
		destination.word[2] = ctx->local_ip6[2];
		destination.word[3] = ctx->local_ip6[3];
	}
	from = ct_key_between(&source, ctx->remote_port, &destination, bpf_htons(ctx->local_port), IPPROTO_TCP, &key);
	listener.port = port_for(&key, from);
	if (!listener.port)
		return is_proxy_port(proxy, ctx->local_port) ? SK_DROP : SK_PASS;
	listener.family = ctx->family;
	socket = bpf_map_lookup_elem(&proxy_listeners, &listener);
	if (!socket)
		return SK_DROP;
	/* This one, whoever else listens on its port: of two Envoys the later one. */
	failed = bpf_sk_assign(ctx, socket, BPF_SK_LOOKUP_F_NO_REUSEPORT);
	bpf_sk_release(socket);
	return failed ? SK_DROP : SK_PASS;
}
