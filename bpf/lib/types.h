/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Every layout that user space shares: map keys and values, flow records, and the numbers in them.
 * This is the only definition: agent/kernel reads it from BTF, bpf/types.gen.ts is generated from it. */
#pragma once
#include <linux/types.h>

/* An address of either family; IPv4 as ::ffff:a.b.c.d (RFC 4291, 2.5.5.2), so that no table needs a family. */
struct addr {
	__be32 word[4];
};

/* Hubble's numbers (flow.TrafficDirection). */
enum direction {
	DIRECTION_UNKNOWN = 0,
	DIRECTION_INGRESS = 1,
	DIRECTION_EGRESS = 2,
};

/* What a policy says of a packet. */
enum action {
	ACTION_NONE = 0,	/* no policy of the endpoint covers this direction */
	ACTION_ALLOW = 1,
	ACTION_DENY = 2,	/* a deny rule matched */
	ACTION_DEFAULT_DENY = 3,	/* no rule matched and the direction is enforced */
};

/* Hubble's numbers (flow.DropReason); only those that the programs use. */
enum drop_reason {
	DROP_NONE = 0,
	DROP_INVALID_SOURCE_MAC = 130,
	DROP_INVALID_SOURCE_IP = 132,
	DROP_POLICY_DENIED = 133,	/* default deny */
	DROP_INVALID_PACKET = 134,
	DROP_CT_TRUNCATED_OR_INVALID_HEADER = 135,
	DROP_UNSUPPORTED_L3_PROTOCOL = 139,
	DROP_CT_MAP_INSERTION_FAILED = 155,
	DROP_INVALID_IPV6_EXTENSION_HEADER = 156,
	DROP_FRAGMENTATION_NOT_SUPPORTED = 157,
	DROP_UNSUPPORTED_L2_PROTOCOL = 166,
	DROP_NO_MAPPING_FOR_NAT_MASQUERADE = 167,
	DROP_UNSUPPORTED_PROTOCOL_FOR_NAT = 168,
	DROP_FIB_LOOKUP_FAILED = 169,
	DROP_FORBIDDEN_ICMPV6_MESSAGE = 176,
	DROP_POLICY_DENY = 181,	/* a deny rule */
	DROP_TTL_EXCEEDED = 196,
	DROP_EP_NOT_READY = 203,
};

/* Why a record was written. */
enum flow_event {
	FLOW_NEW = 1,		/* first packet of a connection that may pass */
	FLOW_CHANGE = 2,	/* a later packet of it, judged otherwise than before */
	FLOW_ACTIVE = 3,	/* still passing, once per interval */
	FLOW_CLOSE = 4,		/* FIN or RST seen */
	FLOW_DROP = 5,		/* this packet was dropped */
};

/* Hubble's numbers (flow.TraceObservationPoint): where a packet that passed went. */
enum observation_point {
	TO_HOST = 2,
	TO_STACK = 3,
	TO_NETWORK = 11,
	TO_ENDPOINT = 101,
};

/* One policy's answer for one packet, with what took part in it, so that user space can name the rules:
 * bits `bits` of word `word` of policy `policy`, at its interval number `interval`. */
struct judgement {
	__u64 bits;		/* entries whose peers and ports matched (0: none did) */
	__u32 policy;		/* merged policy id; 0: the direction is not enforced */
	__u32 interval;
	__u16 word;
	__u8 action;		/* enum action */
	__u8 pad[5];
};

/* 176 bytes. Source and destination are those of the packet, not of the connection. */
struct flow_record {
	__u64 time_ns;		/* CLOCK_MONOTONIC */
	struct addr saddr;
	struct addr daddr;
	struct judgement egress;	/* by the policies of the connection's source endpoint */
	struct judgement ingress;	/* by the policies of the connection's destination endpoint */
	__u64 packets;		/* of the connection, both ways, since its first record */
	__u64 bytes;
	__be16 sport;		/* ICMP: type in the high, code in the low byte (as __u16 in host order after swap) */
	__be16 dport;
	__u32 source_identity;
	__u32 destination_identity;
	__u32 generation;
	__u32 ifindex;		/* of the workload where it was seen */
	__u8 smac[6];
	__u8 dmac[6];
	__u8 protocol;
	__u8 tcp_flags;
	__u8 event;		/* enum flow_event */
	__u8 reason;		/* enum drop_reason */
	__u8 direction;		/* enum direction: the judgement that denied, else where it was seen */
	__u8 is_reply;
	__u8 observation_point;	/* enum observation_point, when not dropped */
	__u8 pad;
};

enum counter {
	COUNTER_RECORDS_LOST = 0,	/* flow records that found the ring full */
	COUNTER_FORWARDED = 1,		/* packets */
	COUNTER_DROPPED = 2,		/* packets */
	COUNTER_CT_FULL = 3,
	COUNTERS = 4,
};

/* ---- map rows ---- */

/* What a row said before and says from generation `since` on: readers compare `since` with the generation
 * word they read at the start of the packet, so a whole set of rows changes at one instant. */

struct ipcache_key {
	__u32 prefixlen;	/* IPv4: 96 + length */
	struct addr addr;
};

struct peer {
	__u32 identity;
	__u32 class_id;
};

struct ipcache_value {
	struct peer peer[2];	/* [0] before `since`, [1] from then on */
	__u32 since;
	__u32 ifindex;		/* host side of the local workload's veth; 0: not local */
	__u32 flags;		/* enum ipcache_flag */
};

enum ipcache_flag {
	IPCACHE_HOST = 1,	/* an address of this node */
};

/* Key: ifindex of the host side of the veth. */
struct endpoint {
	struct addr ipv4;
	struct addr ipv6;
	__u32 id;
	__u32 since;
	__u32 ingress_policy[2];	/* merged policy ids; 0: not enforced */
	__u32 egress_policy[2];
	struct peer peer[2];
	__u8 mac[6];		/* of the workload's own interface */
	__u8 host_mac[6];	/* of the host side */
};

struct policy {
	__u32 first_interval;
	__u32 intervals;
	__u32 column;		/* first word of this policy in every class row */
	__u32 default_action;	/* ACTION_ALLOW or ACTION_DEFAULT_DENY */
};

/* Holds for keys from `lower` up to the next interval's: (protocol << 16) | port, ICMP: type as the port. */
struct interval {
	__u32 lower;
	__u32 first_step;
};

/* Tried in order: the first with a common bit decides. */
struct step {
	__u64 mask;
	__u16 word;
	__u8 action;		/* enum action */
	__u8 last;		/* 1: no step follows */
	__u32 pad;
};
