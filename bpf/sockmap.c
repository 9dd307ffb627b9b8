/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* TCP between two workloads of this node, from socket to socket: an object of its own, loaded where it is asked for, on the maps of weir.c.
 * sockmap_join puts a socket that is connected into `sockets`; sockmap_send then looks at each message of it: what is not handed over
 * goes as packets, and is judged as packets are. */
#include <linux/in.h>
#include "lib/ct_key.h"
#include "lib/tcp_sock.h"

/* One end's view of its connection. */
struct socket_key {
	struct addr local;
	struct addr remote;
	__be16 local_port;
	__be16 remote_port;
};

MAP(sockets, BPF_MAP_TYPE_SOCKHASH, struct socket_key, __u64, MAX_SOCKETS, 0);
/* enum sockmap_mode. */
MAP(sockmap_controls, BPF_MAP_TYPE_ARRAY, __u32, __u32, 1, 0);

#define AF_INET 2

/* Both contexts have the same fields: addresses of IPv6 sockets are mapped where they speak IPv4. Those of IPv4 are read before the branch,
 * so that clang makes no pointer into the context out of the two. */
#define READ_ENDS(ctx, key)								\
	do {										\
		__be32 local = (ctx)->local_ip4, remote = (ctx)->remote_ip4;		\
											\
		asm volatile("" : "+r"(local), "+r"(remote));				\
		if ((ctx)->family == AF_INET) {						\
			addr_from_ipv4(&(key)->local, local);				\
			addr_from_ipv4(&(key)->remote, remote);				\
		} else {								\
			(key)->local.word[0] = (ctx)->local_ip6[0];			\
			(key)->local.word[1] = (ctx)->local_ip6[1];			\
			(key)->local.word[2] = (ctx)->local_ip6[2];			\
			(key)->local.word[3] = (ctx)->local_ip6[3];			\
			(key)->remote.word[0] = (ctx)->remote_ip6[0];			\
			(key)->remote.word[1] = (ctx)->remote_ip6[1];			\
			(key)->remote.word[2] = (ctx)->remote_ip6[2];			\
			(key)->remote.word[3] = (ctx)->remote_ip6[3];			\
		}									\
		(key)->local_port = bpf_htons((ctx)->local_port);			\
		(key)->remote_port = bpf_htons(bpf_ntohl((ctx)->remote_port));		\
	} while (0)

static __always_inline __u32 mode(void)
{
	__u32 zero = 0, *word = bpf_map_lookup_elem(&sockmap_controls, &zero);

	return word ? *word : SOCKMAP_OFF;
}

/* In a process, which may be moved or interrupted: others count on the same CPU meanwhile. */
static __always_inline void count_by(__u32 which, __u64 by)
{
	__u64 *value = bpf_map_lookup_elem(&sockmap_counters, &which);

	if (value)
		__sync_fetch_and_add(value, by);
}

/* The row of a socket's connection; `end`: which end (0, 1) the socket is. A connection from Envoy on (proxy_types.h) has its own, by `key`
 * with a leg: it may have the ends of another. */
static __always_inline struct ct_entry *row_of(const struct socket_key *ends, struct ct_key *key, __u8 *end)
{
	*end = ct_key_between(&ends->local, ends->local_port, &ends->remote, ends->remote_port, IPPROTO_TCP, key) & 1;
	return bpf_map_lookup_elem(&conntrack, key);
}

static __always_inline int has_second_leg(struct ct_key *key)
{
	key->leg = 1;
	return !!bpf_map_lookup_elem(&conntrack, key);
}

/* Between two workloads, judged once and for all packets alike, by addresses that nobody changes on the way (CT_SERVICE: nor is Envoy on it). */
static __always_inline int is_direct(const struct ct_entry *entry)
{
	return !entry->reason && entry->ifindex[0] && entry->ifindex[1] && !(entry->flags & (CT_SERVICE | CT_DNS)) &&
	       entry->egress.action != ACTION_PROXY && entry->ingress.action != ACTION_PROXY;
}

SEC("sockops")
int sockmap_join(struct bpf_sock_ops *ctx)
{
	struct service_client *client;
	struct socket_key ends = {};
	struct ct_entry *entry;
	struct bpf_sock *sk;
	struct ct_key key;
	__u64 cookie;
	__u8 end;

	if (ctx->op != BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB && ctx->op != BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB)
		return 1;
	cookie = bpf_get_netns_cookie(ctx);
	client = bpf_map_lookup_elem(&service_clients, &cookie);
	if (!client || !client->ifindex || mode() < (client->marked ? SOCKMAP_MARKED : SOCKMAP_ALL))
		return 1;
	READ_ENDS(ctx, &ends);
	entry = row_of(&ends, &key, &end);
	sk = ctx->sk;
	/* Its end must be in this network namespace: others of the machine may have the same addresses. */
	if (!entry || !sk || !is_direct(entry) || (end ? entry->ifindex[1] : entry->ifindex[0]) != client->ifindex ||
	    has_second_leg(&key))
		return 1;
	if (bpf_sock_hash_update(ctx, &sockets, &ends, BPF_ANY)) {
		count_by(SOCKMAP_FULL, 1);
		return 1;
	}
	if (end)
		entry->socket[1] = (__u64)sk;
	else
		entry->socket[0] = (__u64)sk;
	return 1;
}

/* The judgement that packets have left, while it holds. A message each RECORD_INTERVAL goes as packets, for the flow record. */
static __always_inline int may_pass(const struct ct_entry *entry, __u32 now)
{
	return entry->generation == current_generation() && is_direct(entry) && (entry->state == CT_ESTABLISHED || entry->state == CT_HALF_CLOSED) &&
	       (__s32)(now - entry->recorded) <= (__s32)RECORD_INTERVAL;
}

/* Whether the other end takes one more: neither bytes nor messages that nobody reads may pile up. */
static __always_inline int has_room(struct sk_msg_md *msg, struct ct_entry *entry, __u8 to)
{
	const struct tcp_sock *peer = (const void *)(to ? entry->socket[1] : entry->socket[0]);
	const struct tcp_sock *own = bpf_skc_to_tcp_sock(msg->sk);
	__u16 *messages = to ? &entry->unread[1] : &entry->unread[0];
	int unread;

	if (!own || !peer || !in_step(own, peer))
		return 0;
	unread = unread_bytes(peer);
	if ((int)msg->size > spare_bytes(peer, unread))
		return 0;
	if (!unread)
		*messages = 0;
	else if (*messages >= SOCKET_UNREAD)
		return 0;
	*messages += 1;
	return 1;
}

SEC("sk_msg")
int sockmap_send(struct sk_msg_md *msg)
{
	__u32 now = ticks();
	struct socket_key ends = {}, peer = {};
	struct ct_entry *entry;
	struct ct_key key;
	__u8 end;

	READ_ENDS(msg, &ends);
	entry = row_of(&ends, &key, &end);
	if (mode() == SOCKMAP_OFF || !entry || !may_pass(entry, now) || !has_room(msg, entry, !end))
		goto packets;
	peer.local = ends.remote;
	peer.remote = ends.local;
	peer.local_port = ends.remote_port;
	peer.remote_port = ends.local_port;
	if (bpf_msg_redirect_hash(msg, &sockets, &peer, BPF_F_INGRESS) != SK_PASS)
		goto packets;
	entry->seen = now;
	__sync_fetch_and_add(&entry->packets, 1);
	__sync_fetch_and_add(&entry->bytes, msg->size);
	count_by(SOCKMAP_MESSAGES, 1);
	count_by(SOCKMAP_BYTES, msg->size);
	return SK_PASS;
packets:
	count_by(SOCKMAP_PACKETS, 1);
	return SK_PASS;
}

char sockmap_license[] SEC("license") = "Dual BSD/GPL";
