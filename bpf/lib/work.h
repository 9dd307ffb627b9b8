/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What one packet needs on its way through a hook. It is too much for BPF's stack of 512 bytes, so it stands in a per-CPU
 * map row: a tc program is never interrupted by another on the same CPU. */
#pragma once
#include "maps.h"
#include "packet.h"

/* One end of a connection: where it is. */
struct place {
	__u32 ifindex;		/* host side of the local workload's veth; 0: not local */
	__u16 host;		/* 1: this node */
	__u16 remote;		/* 1: another node of the cluster */
	__u32 proxy;		/* 1: a socket of Envoy's, wherever else it is */
};

/* Everything that a verdict depends on, and where both ends are, read under one generation. */
struct connection {
	struct judgement egress;
	struct judgement ingress;
	__u32 source_identity;
	__u32 destination_identity;
	struct place source;
	struct place destination;
	__u32 owner;		/* id of the endpoint that it counts against */
	__u16 proxy_port;	/* of Envoy, which it has to go through; 0: it does not */
	__u16 refused;		/* enum direction: whose L7 rules cannot be enforced */
};

/* Of Envoy's own packets: enum ct_service for a connection that it opened, or */
#define PROXY_ANSWER 1	/* on one that it accepted */

/* What services have to do with this packet. */
enum service_step {
	SERVICE_ASK = 1,	/* where no connection is known, its destination may be a service */
	SERVICE_TO_BACKEND = 2,	/* it was; w->translation */
	SERVICE_REPLY = 4,	/* from a backend: goes on from w->frontend */
	SERVICE_ERROR = 8,	/* an ICMP error about what was translated */
	SERVICE_FROM_NODE = 16,	/* another node sends it in a tunnel for a client */
	SERVICE_DSR = 32,	/* and has this one answer from w->frontend */
	SERVICE_ONE_WAY = 64,	/* another node will answer it */
	SERVICE_HAIRPIN = 128,	/* from and to the same workload */
	SERVICE_REFUSED = 256,	/* observation.reason says why */
	SERVICE_VANISHED = 512,	/* that its connection's backend is gone */
	SERVICE_RESET = 1024,	/* its sender is told: no way through Envoy */
	SERVICE_RESET_ON = 2048,	/* or, first, who opened its connection, to whom it goes */
	SERVICE_ERROR_BACK = 4096,	/* an ICMP error of a client about what a backend on another node answered through this one */
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
	__u32 length;		/* of the frame */
	__u64 fresh_packets;	/* of the connection since its rules were counted */
	__u64 fresh_bytes;
	enum flow_event live;	/* of FLOW_AUDIT: what was done */
	int judged_again;	/* the generation has moved since its connection was judged */
	__u32 service;		/* enum service_step */
	int dns;		/* it is a query or an answer that is to be read */
	__u32 proxy;		/* where Envoy's own packets belong; 0: not Envoy's */
	__u32 leg;		/* 1: unmasqueraded, and of a connection of Envoy's */
};

struct work {
	struct packet packet;
	struct packet inner;	/* what an ICMP error is about */
	struct connection connection;	/* filled when a packet is judged or told of */
	struct place to;	/* where a packet that may pass goes */
	__u32 from_identity;	/* whose it is; 0: not known from its connection */
	__u32 pad;
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
	struct judgement judged;	/* what judge_named says */
	struct translation_key translation_key;
	struct translation translation;
	struct frontend_key frontend_key;
	struct affinity_key affinity_key;
	struct source_range_key source_range_key;
	struct addr frontend;	/* of the packet's connection */
	__be16 frontend_port;
	__u8 pad_end[2];
	__u32 device;	/* where the client outside came in, or this packet */
};

MAP(work_rows, BPF_MAP_TYPE_PERCPU_ARRAY, __u32, struct work, 1, 0);

/* Of the packet under way: for functions that are global. */
static __always_inline struct work *this_work(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&work_rows, &zero);
}

/* A clean slate for this packet, with its MAC addresses. 0: there is not even an Ethernet header. */
static __always_inline struct work *begin(struct __sk_buff *skb, __be16 *ether_type)
{
	struct work *w = this_work();
	void *data = (void *)(long)skb->data;
	struct ethhdr *eth = data;

	if (!w)
		return 0;
	__builtin_memset(&w->packet, 0, sizeof(w->packet));
	__builtin_memset(&w->observation, 0, sizeof(w->observation));
	w->observation.length = skb->len;
	*ether_type = 0;
	if (data + sizeof(*eth) <= (void *)(long)skb->data_end) {
		mac_copy(w->packet.smac, eth->h_source);
		mac_copy(w->packet.dmac, eth->h_dest);
		*ether_type = eth->h_proto;
	}
	return w;
}
