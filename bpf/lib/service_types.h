/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Layouts of services, a part of types.h: the addresses at which they are reached, their backends, and what clients were told. */
#pragma once

/* Where a service is reached: each address and port of it, as clients of `scope` see it. A NodePort has a row for each address of the
 * node, and one of no address (::ffff:0.0.0.0, ::; SCOPE_CLUSTER), by which nobody else gets that port of the node. */
struct frontend_key {
	struct addr addr;
	__be16 port;
	__u8 protocol;
	__u8 scope;		/* enum frontend_scope */
};

enum frontend_scope {
	SCOPE_CLUSTER = 0,	/* workloads, nodes */
	SCOPE_EXTERNAL = 1,	/* all others; ClusterIPs have none */
};

/* Replaced as a whole when its backends change: `service_slots` from first to first + count - 1 are written before, and are free a
 * grace period after. */
struct frontend {
	__u32 service;		/* number; never 0 */
	__u32 first;		/* in `service_slots` */
	__u32 count;		/* 0: there is nobody, which is refused */
	__u32 maglev;		/* number of its table in `maglev_tables`; 0: any slot */
	__u32 affinity_seconds;	/* a client stays with its backend; 0: it does not */
	__u32 flags;		/* enum frontend_flag */
};

enum frontend_flag {
	FRONTEND_SOURCE_RANGES = 1,	/* only from `source_ranges` of this service */
	FRONTEND_NODE_PORT = 2,		/* an address of the node: hairpins and remote clients meet it too */
	FRONTEND_LOCAL = 4,		/* only backends of this node, so the client's address stays */
	FRONTEND_DSR = 8,		/* a backend on another node answers the client itself */
};

/* Key: backend number, from 1. Numbers are not used again before nobody can hold them (a grace period after the last slot went). */
struct backend {
	struct addr addr;
	__be16 port;
	__u8 protocol;
	__u8 state;		/* enum backend_state */
	__u32 connections;	/* opened, by socket and by packet */
};

enum backend_state {
	BACKEND_ACTIVE = 0,
	BACKEND_TERMINATING = 1,	/* terminating or not ready: gets no new connections, keeps those it has */
};

/* One row. */
struct service_control {
	__u32 maglev_size;	/* slots of each table in `maglev_tables`, a prime */
	__u32 pad;
};

/* Key: cookie of a network namespace whose sockets are translated. All others on this machine are left alone. */
struct service_client {
	__u32 ifindex;		/* host side of the workload's veth; 0: the node's own namespace */
	__u32 marked;		/* 1: its programs bear sockmap.c */
};

/* One row: user space writes the cookie of a socket and binds it; netns_cookie.c answers. */
struct netns_question {
	__u64 socket;
	__u64 netns;
};

/* What a socket was told when it asked for a service: for its recvmsg and getpeername, and so that it keeps its backend. */
struct sock_peer_key {
	__u64 cookie;		/* of the socket */
	__u32 slot;		/* below SOCK_PEER_SLOTS, from 0 on without a gap; TCP: 0 */
	__u32 pad;
};

struct sock_peer {
	struct addr frontend;
	struct addr backend;
	__be16 frontend_port;
	__be16 backend_port;
	__u8 protocol;
	__u8 pad[3];
	__u32 service;
	__u32 number;		/* of the backend */
	__u32 ifindex;		/* of the client, see struct service_client */
};

/* sessionAffinity: ClientIP. Sockets: the cookie of their network namespace as the address. */
struct affinity_key {
	struct addr client;
	__u32 service;
	__u32 by_socket;
};

struct affinity {
	__u32 backend;
	__u32 seen;		/* ticks */
};

/* loadBalancerSourceRanges. */
struct source_range_key {
	__u32 prefixlen;	/* 32 for the service, and of the address: IPv4 96 + length */
	__u32 service;
	struct addr addr;
};

/* What services have to do with a connection. */
enum ct_service {
	CT_TRANSLATED = 1,	/* its opener sent to `frontend`, and is answered from there */
	CT_HAIRPIN = 2,		/* a workload and itself: under the frontend's address as the opener */
	CT_FROM_NODE = 4,	/* another node opened it through a tunnel, for a client of its own: answered there */
	CT_ONE_WAY = 8,		/* the backend's node answers (DSR): no reply is seen here */
	CT_PROXIED = 16,	/* what its opener sends goes to Envoy, at proxy_port, which answers */
	CT_EGRESS_DONE = 32,	/* Envoy opened it, after it had judged what the policies of the source say */
	CT_BOTH_DONE = 64,	/* or what those of both ends say */
};

/* A connection to a service, as its client sees it. Its row lives as long as that of conntrack, which has the way back. */
struct translation_key {
	struct addr client;
	struct addr frontend;
	__be16 client_port;
	__be16 frontend_port;
	__u8 protocol;
	__u8 pad[3];
};

struct translation {
	struct addr addr;	/* of the backend */
	__be16 port;
	__u8 pad[2];
	__u32 backend;		/* number */
};
