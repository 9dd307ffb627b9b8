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

/* One row: how much of Envoy a workload may have while others use it too. All zero: as much as it likes. */
struct proxy_share {
	__u32 stretch;		/* 256ths of a ns that pass for each ns of Envoy's time: 1,024 is a quarter of a core */
	__u32 connections;	/* open at the same time, whoever else is there; 0: any number */
	__u64 burst_ns;		/* of Envoy's time, that may come at once */
};

/* Key: an endpoint's id. Whose connection it is: who opens it, or who gets it from no endpoint here. */
struct proxy_use {
	__u64 paid_until;	/* CLOCK_MONOTONIC: when its share has paid for what it sent */
	__u64 spent_ns;		/* of Envoy's time, as estimated */
	__u64 dropped;		/* packets beyond its share */
	__u32 refused;		/* connections beyond `connections` */
	__u32 connections;	/* open ones; the sweeper puts right what CPUs counted at once */
};

/* One row: who came last, and when somebody else did. */
struct proxy_turn {
	__u64 last_ns;
	__u64 other_ns;
	__u32 last;		/* an endpoint's id */
	__u32 pad;
};

/* ns of a worker of Envoy's, as measured (agent/envoy/README.md). A request is paid for when it comes and again when it is answered, so that many in
 * one packet are too. */
enum proxy_cost {
	PROXY_COST_OPEN = 150000,
	PROXY_COST_PACKET = 10000,	/* with data */
	PROXY_COST_HEADER_BYTE = 15,	/* of the first PROXY_HEADER_UNITS since the last answer */
	PROXY_COST_BYTE = 1,		/* of what follows, and of answers */
	PROXY_COST_ANSWER = 75000,	/* a packet of it */
	PROXY_COST_RESET = 5000000,	/* a connection that Envoy ends by a reset: it had enough of it, as of streams that are taken back */
	PROXY_HEADER_UNITS = 3840,	/* of 16 bytes: as much as Envoy takes */
};

/* Key of proxy_listeners. */
struct proxy_listener {
	__u32 port;
	__u32 family;		/* AF_INET, AF_INET6 */
};

/* Key of proxy_workers. */
struct proxy_worker {
	__u32 port;
	__u16 family;
	__u16 worker;		/* from 1 on: the first one's socket is in proxy_listeners */
};

/* Who listened last at a port in one family. */
struct proxy_listening {
	__u64 task;		/* Envoy's main thread, which listens for each of its workers in turn */
	__u32 next;		/* the worker whose socket comes next */
	__u32 pad;
};
