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

/* Envoy's main thread listens for one worker after another: the first of a thread's sockets is the first worker's, also where another
 * Envoy's is there, which it takes over from. */
static __always_inline __u32 worker_of(struct proxy_listening *listening, int alone)
{
	__u64 task = bpf_get_current_task();

	if (alone || listening->task != task || listening->next >= PROXY_WORKERS) {
		listening->task = task;
		listening->next = 0;
	}
	return listening->next++;
}

SEC("sockops")
int proxy_listens(struct bpf_sock_ops *ctx)
{
	struct proxy_listener first = { .port = ctx->local_port, .family = ctx->family };
	struct proxy_worker key = { .port = first.port, .family = first.family };
	struct proxy *proxy = proxy_row();
	struct proxy_listening *listening;
	__u32 index;
	int alone;

	if (ctx->op != BPF_SOCK_OPS_TCP_LISTEN_CB || !proxy || !is_proxy_port(proxy, first.port))
		return 1;
	index = 2 * (first.port - proxy->first_port) + (first.family != 2);
	listening = bpf_map_lookup_elem(&proxy_listening, &index);
	alone = !bpf_sock_hash_update(ctx, &proxy_listeners, &first, BPF_NOEXIST);
	if (listening && first.port != proxy->dns_port)
		key.worker = worker_of(listening, alone);
	/* The later socket of a port and a worker is the one that new connections get. */
	if (key.worker)
		bpf_sock_hash_update(ctx, &proxy_workers, &key, BPF_ANY);
	else if (!alone)
		bpf_sock_hash_update(ctx, &proxy_listeners, &first, BPF_ANY);
	return 1;
}

/* The row of such a connection's opener; 0: it is not led to Envoy. */
static __always_inline struct ct_entry *row_for(struct ct_key *key, __u8 from)
{
	struct ct_entry *entry;

	entry = bpf_map_lookup_elem(&conntrack, key);
	if (entry && is_proxied(entry) && entry->origin == from)
		return entry;
	key->leg = 1;
	entry = bpf_map_lookup_elem(&conntrack, key);
	return entry && is_proxied(entry) && entry->origin == from ? entry : 0;
}

/* Who has a workload's connections. */
static __always_inline __u16 worker_for(__u32 owner)
{
	__u32 *moves = bpf_map_lookup_elem(&proxy_moves, &owner);

	return (owner + (moves ? *moves : 0)) % PROXY_WORKERS;
}

/* Nobody comes to Envoy's ports but by conntrack. */
SEC("sk_lookup")
int find_listener(struct bpf_sk_lookup *ctx)
{
	struct proxy *proxy = proxy_row();
	struct addr source, destination;
	struct proxy_listener listener;
	struct proxy_worker worker;
	struct bpf_sock *socket = 0;
	struct ct_entry *entry;
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
	entry = row_for(&key, from);
	if (!entry || !entry->proxy_port)
		return is_proxy_port(proxy, ctx->local_port) ? SK_DROP : SK_PASS;
	listener.port = worker.port = entry->proxy_port;
	listener.family = worker.family = ctx->family;
	worker.worker = worker_for(entry->owner);
	if (worker.worker)
		socket = bpf_map_lookup_elem(&proxy_workers, &worker);
	/* A proxy that has one socket. */
	if (!socket)
		socket = bpf_map_lookup_elem(&proxy_listeners, &listener);
	if (!socket)
		return SK_DROP;
	/* This one, whoever else listens on its port: of two Envoys the later one. */
	failed = bpf_sk_assign(ctx, socket, BPF_SK_LOOKUP_F_NO_REUSEPORT);
	bpf_sk_release(socket);
	return failed ? SK_DROP : SK_PASS;
}
