/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Layouts of datagrams in pieces, a part of types.h. */
#pragma once

/* A place for a datagram in pieces: each workload has its own, so that it pushes out none of another's. */
struct fragment_key {
	__u32 ifindex;		/* of the workload's veth; 0: seen on one of the node's devices */
	__u16 slot;
	__u8 direction;		/* enum direction */
	__u8 pad;
};

/* What names the datagram on the wire (RFC 791; RFC 8200, 4.5: without the protocol, which later pieces need not repeat), and what its
 * first fragment said, as struct packet has it. */
struct fragment_value {
	__u64 time_ns;
	struct addr saddr;
	struct addr daddr;
	__be32 id;
	__be16 sport;
	__be16 dport;
	__u8 wire_protocol;	/* IPv4 only */
	__u8 protocol;
	__u8 icmp_type;
	__u8 icmp_code;
	__u8 pad[4];
};
