/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Layouts of connections that go through Envoy, a part of types.h. Such a connection has two legs: from its opener to Envoy (leg 0, at the
 * port that proxy_ports has), and from Envoy on, under the opener's address and a port of its own (leg 1). */
#pragma once

/* Which rules of a policy's interval hold for a peer: those of its class, and the bits that matched, some of which may be of names. */
struct proxy_key {
	__u64 bits;		/* as struct judgement has them */
	__u32 policy;
	__u32 interval;
	__u32 class_id;
	__u32 pad;
};

/* One row; all zero: this node has no Envoy. Marks are those of packets: by them routes lead what Envoy emits to from_proxy.c, and what is
 * for its sockets up the stack. */
struct proxy {
	__u32 ifindex;		/* of the device where both come in */
	__u32 to_proxy;
	__u32 downstream;	/* of Envoy's listeners, and so of the connections that they accepted */
	__u32 egress_done;	/* of Envoy's own connections: egress is judged already */
	__u32 both_done;	/* egress and ingress are */
	__u16 first_port;	/* its listeners have these */
	__u16 ports;
	__u8 mac[6];		/* of the device */
	__u16 dns_port;		/* where the proxy of DNS by TCP listens; 0: nowhere */
};

/* Key of proxy_listeners. */
struct proxy_listener {
	__u32 port;
	__u32 family;		/* AF_INET, AF_INET6 */
};
