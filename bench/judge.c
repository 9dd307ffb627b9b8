/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The shipped programs, and beside them their steps one by one over pairs picked at random, so that each can be timed alone:
 * the cost of a step is its program's less that of `pick`. */
#include "../bpf/weir.c"

enum bench { MAX_PAIRS = 16384 };

struct pair {
	struct addr source;
	struct addr destination;
	__be16 sport;
	__be16 dport;
	__u32 policy_id;	/* of the destination, ingress */
	__u32 class_id;		/* of the source */
	__u32 pad;
};

MAP(pairs, BPF_MAP_TYPE_ARRAY, __u32, struct pair, MAX_PAIRS, BPF_F_MMAPABLE);
MAP(pair_mask, BPF_MAP_TYPE_ARRAY, __u32, __u32, 1, 0);

static __always_inline struct pair *pick_pair(void)
{
	__u32 key = 0;
	__u32 *mask = bpf_map_lookup_elem(&pair_mask, &key);

	if (!mask)
		return 0;
	key = bpf_get_prandom_u32() & *mask;
	return bpf_map_lookup_elem(&pairs, &key);
}

static __always_inline __u32 key_of(const struct pair *pair)
{
	return (__u32)IPPROTO_TCP << 16 | bpf_ntohs(pair->dport);
}

/* What every other program here does first. */
SEC("tc")
int pick(struct __sk_buff *skb)
{
	struct pair *pair = pick_pair();

	(void)skb;
	return pair ? key_of(pair) ^ pair->class_id ^ pair->policy_id ^ pair->source.word[3] ^ pair->destination.word[3] : 0;
}

/* The destination in the ipcache. */
SEC("tc")
int address(struct __sk_buff *skb)
{
	struct pair *pair = pick_pair();
	struct ipcache_value *to;

	(void)skb;
	if (!pair)
		return 0;
	to = ipcache_lookup(&pair->destination);
	return to ? to->ifindex ^ key_of(pair) ^ pair->source.word[3] : 0;
}

/* Class row, port interval, steps. */
SEC("tc")
int one_policy(struct __sk_buff *skb)
{
	struct pair *pair = pick_pair();
	struct judgement judgement;

	(void)skb;
	if (!pair)
		return 0;
	judge(pair->policy_id, pair->class_id, key_of(pair), &judgement);
	return judgement.action ^ pair->source.word[3] ^ pair->destination.word[3];
}

/* Both addresses in the ipcache, both endpoints, both policies. */
SEC("tc")
int both_ends(struct __sk_buff *skb)
{
	struct pair *pair = pick_pair();
	struct connection connection;

	(void)skb;
	return pair ? judge_connection(current_generation(), &pair->source, &pair->destination, key_of(pair), &connection) : 0;
}

/* All of an established packet's way that depends on its flow: conntrack row, counters, the destination's endpoint. */
SEC("tc")
int established(struct __sk_buff *skb)
{
	struct pair *pair = pick_pair();
	__be16 ether_type;
	struct work *w = begin(skb, &ether_type);

	if (!pair || !w)
		return 0;
	w->packet.saddr = pair->source;
	w->packet.daddr = pair->destination;
	w->packet.sport = pair->sport;
	w->packet.dport = pair->dport;
	w->packet.protocol = IPPROTO_TCP;
	w->packet.tcp_flags = TCP_ACK;
	if (judge_packet(skb, w))
		return TC_ACT_SHOT;
	return bpf_map_lookup_elem(&endpoints, &w->to.ifindex) ? TC_ACT_OK : TC_ACT_SHOT;
}

/* A connection that is new, judged and remembered, and taken away again: without its record, for which the ring has no room by then. */
SEC("tc")
int opened(struct __sk_buff *skb)
{
	struct pair *pair = pick_pair();
	__be16 ether_type;
	struct work *w = begin(skb, &ether_type);
	struct usage *used;

	if (!pair || !w)
		return 0;
	w->packet.saddr = pair->source;
	w->packet.daddr = pair->destination;
	w->packet.sport = bpf_get_prandom_u32();
	w->packet.dport = pair->dport;
	w->packet.protocol = IPPROTO_TCP;
	w->packet.tcp_flags = TCP_SYN;
	if (judge_packet(skb, w))
		return TC_ACT_SHOT;
	bpf_map_delete_elem(&conntrack, &w->ct_key);
	used = bpf_map_lookup_elem(&usage, &w->connection.owner);
	if (used)
		__sync_fetch_and_add(&used->connections, -1);
	return TC_ACT_OK;
}

/* Frames that an XDP program sent on, where they come out. */
MAP(sunk, BPF_MAP_TYPE_PERCPU_ARRAY, __u32, __u64, 1, 0);

SEC("xdp")
int sink(struct xdp_md *ctx)
{
	__u32 zero = 0;
	__u64 *frames = bpf_map_lookup_elem(&sunk, &zero);

	(void)ctx;
	if (frames)
		*frames += 1;
	return XDP_DROP;
}

/* Live frames are used again as the programs left them: each gets its headers back. */
struct headers { __u64 words[12]; };

MAP(fresh, BPF_MAP_TYPE_ARRAY, __u32, struct headers, 1, 0);

static __always_inline int refresh(struct xdp_md *ctx)
{
	struct headers *head = (void *)(long)ctx->data;
	__u32 zero = 0;
	struct headers *as_sent = bpf_map_lookup_elem(&fresh, &zero);

	if (!as_sent || (void *)(head + 1) > (void *)(long)ctx->data_end)
		return -1;
	__builtin_memcpy(head, as_sent, sizeof(*head));
	return 0;
}

SEC("xdp")
int by_xdp(struct xdp_md *ctx)
{
	return refresh(ctx) ? XDP_ABORTED : forward_xdp(ctx);
}

/* To the stack, and so to from_netdev. */
SEC("xdp")
int by_tc(struct xdp_md *ctx)
{
	return refresh(ctx) ? XDP_ABORTED : XDP_PASS;
}
