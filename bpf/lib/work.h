/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What one packet needs on its way through a hook. It is too much for BPF's stack of 512 bytes, so it stands in a per-CPU
 * map row: a tc program is never interrupted by another on the same CPU. */
#pragma once
#include "maps.h"
#include "packet.h"

/* Everything that a verdict depends on, read under one generation. */
struct connection {
	struct judgement egress;
	struct judgement ingress;
	__u32 source_identity;
	__u32 destination_identity;
};

/* What a record says beyond the packet itself; `event` 0: nothing to tell. */
struct observation {
	__u64 packets;
	__u64 bytes;
	__u32 generation;
	__u32 ifindex;
	enum flow_event event;
	enum drop_reason reason;
	enum direction direction;
	enum observation_point point;
	int is_reply;
};

struct work {
	struct packet packet;
	struct packet inner;	/* what an ICMP error is about */
	struct connection connection;
	struct observation observation;
	struct ct_key ct_key;
	struct ct_entry ct_entry;
	struct fragment_key fragment_key;
	struct fragment_value fragment_value;
	struct nat_key nat_key;
	struct nat_key nat_back;
	struct nat_key nat_gone;	/* row of a connection that is over */
	struct nat_value nat_value;
	struct nat_value nat_inside;
	struct addr source;
	struct addr destination;
};

MAP(work_rows, BPF_MAP_TYPE_PERCPU_ARRAY, __u32, struct work, 1, 0);

/* A clean slate for this packet, with its MAC addresses. 0: there is not even an Ethernet header. */
static __always_inline struct work *begin(struct __sk_buff *skb, __be16 *ether_type)
{
	__u32 key = 0;
	struct work *w = bpf_map_lookup_elem(&work_rows, &key);
	struct ethhdr eth;

	if (!w)
		return 0;
	__builtin_memset(&w->packet, 0, sizeof(w->packet));
	__builtin_memset(&w->connection, 0, sizeof(w->connection));
	__builtin_memset(&w->observation, 0, sizeof(w->observation));
	*ether_type = 0;
	if (bpf_skb_load_bytes(skb, 0, &eth, sizeof(eth)))
		return w;
	__builtin_memcpy(w->packet.smac, eth.h_source, 6);
	__builtin_memcpy(w->packet.dmac, eth.h_dest, 6);
	*ether_type = eth.h_proto;
	return w;
}
