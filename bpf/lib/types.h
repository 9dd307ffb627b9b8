/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Every layout that user space shares: map keys and values, flow records, and the numbers in them.
 * This is the only definition: agent/kernel reads it from BTF, bpf/types.gen.ts is generated from it. */
#pragma once
#include <linux/bpf.h>
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
	ACTION_DNS = 4,		/* a DNS rule matched: which names may be asked for is judged packet by packet */
	ACTION_PROXY = 5,	/* L7 rules matched: the connection goes through Envoy, at the port that proxy_ports has */
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
	DROP_MISSED_TAIL_CALL = 140,
	DROP_TUNNEL_KEY = 147,
	DROP_NO_WORKLOAD_HERE = 150,
	DROP_CT_MAP_INSERTION_FAILED = 155,
	DROP_INVALID_IPV6_EXTENSION_HEADER = 156,
	DROP_FRAGMENT_NOT_SUPPORTED = 157,	/* a piece of a query or answer that DNS rules would have to read */
	DROP_NO_SERVICE = 158,	/* a service without a backend, or its backend went */
	DROP_NO_TUNNEL = 160,
	DROP_UNKNOWN_CT_STATE = 163,	/* of a connection whose way through Envoy is another now, or that Envoy does not have */
	DROP_UNSUPPORTED_L2_PROTOCOL = 166,
	DROP_NO_MAPPING_FOR_NAT_MASQUERADE = 167,
	DROP_UNSUPPORTED_PROTOCOL_FOR_NAT = 168,
	DROP_FIB_LOOKUP_FAILED = 169,
	DROP_ENCAPSULATION_PROHIBITED = 170,
	DROP_INVALID_IDENTITY = 171,
	DROP_UNKNOWN_SENDER = 172,
	DROP_FRAGMENT_WITHOUT_FIRST = 175,
	DROP_FORBIDDEN_ICMPV6_MESSAGE = 176,
	DROP_NOT_IN_SRC_RANGE = 177,	/* loadBalancerSourceRanges */
	DROP_SOCKET_LOOKUP_FAILED = 178,	/* Envoy does not listen */
	DROP_SOCKET_ASSIGN_FAILED = 179,	/* L7 rules that have no port of Envoy */
	DROP_NOT_SUPPORTED_BY_PROXY = 180,	/* DNS that the programs do not read: answers that are too long or too many; L7 rules for what is not TCP or ends at the node itself */
	DROP_POLICY_DENY = 181,	/* a deny rule */
	DROP_VLAN_FILTERED = 182,	/* a tagged frame from or to a workload */
	DROP_TTL_EXCEEDED = 196,
	DROP_RATE_LIMITED = 198,	/* more than its share of Envoy */
	DROP_EP_NOT_READY = 203,
};

/* Why a record was written. */
enum flow_event {
	FLOW_NEW = 1,		/* first packet of a connection that may pass */
	FLOW_CHANGE = 2,	/* a later packet of it, judged otherwise than before */
	FLOW_ACTIVE = 3,	/* still passing, once per interval */
	FLOW_CLOSE = 4,		/* FIN or RST seen */
	FLOW_DROP = 5,		/* this packet was dropped */
	FLOW_AUDIT = 6,		/* audited policies would have judged otherwise; beside the record of what was done, if one was due */
};

/* Hubble's numbers (flow.TraceObservationPoint): where a packet that passed went. */
enum observation_point {
	TO_PROXY = 1,
	TO_HOST = 2,
	TO_STACK = 3,
	TO_OVERLAY = 4,
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

/* 144 bytes. Source and destination are those of the packet, not of the connection. */
struct flow_record {
	__u64 time_ns;		/* CLOCK_MONOTONIC */
	struct addr saddr;
	struct addr daddr;
	struct judgement egress;	/* by the policies of the connection's source endpoint; FLOW_AUDIT: with the audited ones */
	struct judgement ingress;	/* by the policies of the connection's destination endpoint */
	__u64 packets;		/* of the connection, both ways, since its first record */
	__u64 bytes;
	__be16 sport;		/* ICMP: the code */
	__be16 dport;		/* ICMP: the type */
	__u32 source_identity;
	__u32 destination_identity;
	__u32 generation;
	__u32 ifindex;		/* of the workload where it was seen */
	__u8 smac[6];
	__u8 dmac[6];
	__u8 protocol;
	__u8 tcp_flags;
	__u8 event;		/* enum flow_event */
	__u8 reason;		/* enum drop_reason; FLOW_AUDIT: the one that would be */
	__u8 direction;		/* enum direction: the judgement that denied, else where it was seen */
	__u8 is_reply;
	__u8 observation_point;	/* enum observation_point, when not dropped */
	__u8 live;		/* FLOW_AUDIT: enum flow_event of what was done; FLOW_DROP: dropped, else passed */
};

enum counter {
	COUNTER_RECORDS_LOST = 0,	/* flow records that found the ring full */
	COUNTER_FORWARDED = 1,		/* packets */
	COUNTER_CT_REFUSED = 2,		/* new connections beyond an endpoint's quota, or with the table full */
	COUNTER_RULES_UNCOUNTED = 3,	/* judgements that rule_counts had no room for */
	COUNTER_SOCK_PEERS_FULL = 4,	/* sockets that sock_peers had no room for: their packets are translated instead */
	COUNTER_SERVICE_RESETS = 5,	/* of TCP connections whose backend is gone */
	COUNTER_PROXY_CONNECTIONS = 6,	/* that went to Envoy */
	COUNTER_PROXY_RESETS = 7,	/* of TCP connections that nobody in Envoy listens for, or whose way through it is another now */
	COUNTERS = 8,
};

/* Key: reason << 2 | direction, of enum drop_reason and enum direction. */
struct drop_count {
	__u64 packets;
	__u64 bytes;
};

/* What took part in a judgement: as struct judgement says it. */
struct rule_key {
	__u64 bits;
	__u32 policy;
	__u16 word;
	__u8 action;
	__u8 pad;
};

/* Counted when a record is due, and by the sweeper what came since the last one. */
struct rule_count {
	__u64 packets;
	__u64 bytes;
	__u64 last_ns;		/* CLOCK_MONOTONIC */
};

/* How much fits; what goes beyond is refused whole by user space. */
enum limit {
	MAX_POLICIES = 8192,
	MAX_BOUND_LINES = 16384,	/* so many that steps are used up first */
	MAX_STEPS = 131072,	/* each interval of a policy takes at least one */
	MAX_CLASSES = 16384,
	ROW_WORDS = 256,	/* u64 words of one class row: a bit for each rule of each merged policy */
	LINE_WORDS = 8,
	MAX_ENDPOINTS = 16384,
	MAX_PREFIXES = 262144,	/* two addresses for each of 65,535 identities, and as many again */
	MAX_CONNECTIONS = 262144,	/* unless it is set (--conntrack-entries) */
	MAX_NAT = 524288,	/* two rows for each connection */
	SWEEP_KEYS = 48,	/* connections that one run of the sweeper looks at */
	SWEEP_FIRST = 16,	/* where their keys begin in its frame */
	MAX_FRAGMENTS = 65536,	/* datagrams whose first fragment is remembered */
	FRAGMENT_SLOTS = 256,	/* of one workload, each direction: a later datagram in the same slot takes it */
	FRAGMENT_SLOTS_NODE = 4096,	/* of the node's devices */
	FRAGMENT_SECONDS = 30,	/* as long as Linux waits (ipfrag_time); RFC 8200, 4.5: 60 s at most */
	MAX_NETDEVS = 64,
	MAX_DROP_COUNTS = 1024,	/* 256 reasons, 4 directions */
	MAX_RULE_COUNTS = 16384,
	RING_BYTES = 8388608,
	POLICY_STEPS = 32,	/* steps that one interval may have */
	ROOT_BOUNDS = 10,	/* of a policy, in its own row */
	LINE_BOUNDS = 16,
	POLICY_LEVELS = 3,	/* of lines below that row */
	POLICY_NAMED = 32768,	/* a bit beside the number of intervals */
	POLICY_INTERVALS = 16384,	/* as many as three levels hold, and more than anybody writes */
	NAT_PORT_FIRST = 61000,	/* above Linux's default ip_local_port_range, so that it never meets the host's own */
	NAT_PORT_COUNT = 4536,
	MAX_FRONTENDS = 131072,	/* 10,000 services: an address, a node's port in both families, both scopes */
	MAX_SERVICE_SLOTS = 524288,	/* backends, counted for each service port; what is and what comes */
	MAX_BACKENDS = 262144,
	MAX_MAGLEV_TABLES = 4096,
	MAGLEV_SIZE = 16381,	/* unless it is set */
	MAX_MAGLEV_SIZE = 131071,
	MAX_SOCK_PEERS = 131072,
	SOCK_PEER_SLOTS = 8,	/* services that one UDP socket is told of at a time */
	MAX_AFFINITIES = 65536,
	MAX_SOURCE_RANGES = 65536,
	MAX_PROXY_LISTENERS = 4096,	/* both families of each port, and those that go while others come */
	PROXY_WORKERS = 4,	/* threads of Envoy that serve, each with sockets of its own: see agent/envoy/workers.ts */
	MAX_PROXY_WORKERS = 8192,	/* sockets of all but the first: both families of each port of the range */
	PROXY_PORTS = 1024,	/* of the range */
	MAX_PROXY_PORTS = 65536,	/* rows: peers of different classes have the same port where the same rules hold for them */
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
	struct addr node;	/* IPCACHE_REMOTE: the other node's own address, where a tunnel to it ends */
};

enum ipcache_flag {
	IPCACHE_HOST = 1,	/* an address of this node */
	IPCACHE_REMOTE = 2,	/* of another node of the cluster: reached under the workload's own address */
	IPCACHE_NODE = 4,	/* another node itself, where there are tunnels: what it sends in them for clients of services is answered there */
};

/* Key: ifindex of the host side of the veth. */
struct endpoint {
	struct addr ipv4;
	struct addr ipv6;
	__u32 id;
	__u32 since;
	__u32 ingress_policy[2];	/* merged policy ids; 0: not enforced */
	__u32 egress_policy[2];
	__u8 mac[6];		/* of the workload's own interface */
	__u8 host_mac[6];	/* of the host side */
	__u32 ingress_audit[2];	/* what it would be with the audited policies; 0: the same */
	__u32 egress_audit[2];
};

/* 64 bytes, one cache line. Its ports are disjoint intervals of the keys (protocol << 16) | port, ICMP: type as the port; interval 0
 * begins at 0, the others at a lower bound each. The bounds are a tree of which this row is the root: of n children below a row or
 * line, the bounds are where children 1 to n - 1 begin; each is written as 2^31 less the bound, a place that is not taken as 0, so that
 * with the key added the high bit tells whether the bound is not above it. */
struct policy {
	__u32 room[ROOT_BOUNDS];
	__u32 first_line[POLICY_LEVELS];	/* of each level below, in `bounds` */
	__u32 first_step;	/* of interval 0; that of interval i is i further */
	__u32 first_bit;	/* of this policy in every class row. Up to 64 bits stand in one word, more begin with one */
	__u16 intervals;	/* how many; POLICY_NAMED: some of its steps are named */
	__u8 levels;		/* below this row */
	__u8 default_action;	/* ACTION_ALLOW or ACTION_DEFAULT_DENY; 0: there is no such policy */
};

struct bounds {
	__u32 room[LINE_BOUNDS];
};

/* Tried in order: the first with a common bit decides. An interval without any has one with an empty mask. */
struct step {
	__u64 mask;
	__u32 next;		/* 0: none */
	__u16 word;		/* of the policy's own words */
	__u8 action;		/* enum action */
	__u8 named;		/* 1: names may set bits of the mask */
};

/* A part of a class's row, one cache line; row n * MAX_CLASSES + c has words n * LINE_WORDS and on of class c. So what is in use
 * stands together. */
struct class_line {
	__u64 word[LINE_WORDS];
};

struct control {
	__u32 generation;	/* read once per packet; flips a prepared set of rows live */
	__u32 audits;		/* endpoints with an audit of their own; 0: nobody looks */
};

/* A connection: the lower (address, port) first, so that both directions find the same row. ICMP echo: the id as both ports. */
struct ct_key {
	struct addr addr[2];
	__be16 port[2];
	__u8 protocol;
	__u8 leg;		/* 1: from Envoy on; 0: all others */
	__u8 pad[2];
};

enum ct_state {
	CT_NEW = 0,		/* one direction seen */
	CT_ESTABLISHED = 1,	/* both directions seen */
	CT_CLOSING = 2,		/* FIN of both ends, or RST, seen */
	CT_HALF_CLOSED = 3,	/* FIN of one end seen: the other may still send */
};

/* Seconds without a packet after which a connection is over. */
enum ct_timeout {
	CT_TIMEOUT_SHORTEST = 3,
	CT_TIMEOUT_ANSWERED = 3,	/* DNS by UDP, nothing asked that has no answer (RFC 4787, REQ-5 a: shorter for a well-known port) */
	CT_TIMEOUT_TCP_CLOSING = 10,
	CT_TIMEOUT_NEW = 30,
	CT_TIMEOUT_SHORT_EXCHANGE = 30,	/* UDP, as Linux' own (nf_conntrack_udp_timeout) */
	CT_TIMEOUT_ICMP = 30,
	CT_TIMEOUT_TCP_NEW = 60,
	CT_TIMEOUT_REVOKED = 60,
	CT_TIMEOUT_TCP_HALF_CLOSED = 120,
	CT_TIMEOUT_ESTABLISHED = 180,
	CT_TIMEOUT_SCTP_ESTABLISHED = 210,	/* heartbeats come each 30 s (RFC 9260, 16) */
	CT_TIMEOUT_TCP_ESTABLISHED = 8000,
};

/* Bit 0 of each pair is of key.addr[0], bit 1 of key.addr[1]. */
enum ct_flag {
	CT_HOST = 1,		/* that end is this node */
	CT_FIN = 4,		/* that end has sent a FIN; of UDP both bits: how many packets of its opener wait for an answer (ct_row.h) */
	CT_REMOTE = 16,		/* that end is on another node */
	CT_SERVICE = 64,	/* one bit: ct_entry.service says more, of services or Envoy */
	CT_DNS = 128,		/* of the connection: queries and answers are read */
};

/* Times of connections: units of 2^20 ns of CLOCK_MONOTONIC, so that two of them and what every packet needs stand in one cache line. */
enum { TICK_SHIFT = 20 };

struct ct_entry {
	__u32 seen;		/* last packet, ticks */
	__u32 recorded;		/* last record, ticks */
	__u64 packets;
	__u64 bytes;
	__u32 generation;	/* in which it was judged, and found where its ends are */
	__u32 ifindex[2];	/* host side of the veth of key.addr[i]; 0: not local */
	__u8 origin;		/* which of key.addr opened it */
	__u8 state;		/* enum ct_state */
	__u8 reason;		/* enum drop_reason; not 0: revoked, both directions drop */
	__u8 flags;		/* enum ct_flag */
	/* what only records and a new judgement need */
	struct judgement egress;
	struct judgement ingress;
	__u32 source_identity;
	__u32 destination_identity;
	__u32 policy_key;	/* (protocol << 16) | port as the policy saw the first packet */
	__u32 owner;		/* id of the endpoint whose quota it counts against */
	__u64 counted_packets;	/* of `packets` and `bytes`: what rules were counted for */
	__u64 counted_bytes;
	struct addr frontend;	/* CT_TRANSLATED */
	__be16 frontend_port;
	__u8 service;		/* enum ct_service */
	__u8 pad;
	__u32 device;		/* CT_TRANSLATED, of a client outside: where it came in */
	__u64 socket[2];	/* of key.addr[i], where the kernel has it (sockmap.c); 0: it takes packets */
	__u16 unread[2];	/* messages to that end since its queue was seen empty; CT_PROXIED: the first has units of 16 bytes since Envoy's last answer */
	__u16 proxy_port;	/* CT_PROXIED */
	__u8 pad2[2];
};

/* Key: an endpoint's id. The connections that count against its quota: those it opens, and those that come to it from no endpoint here. */
struct usage {
	__u32 connections;
	__u32 quota;
	__u64 refused;		/* new connections */
};

/* How packets go to other nodes. */
struct overlay {
	__u32 ifindex;		/* of the VXLAN device; 0: by plain routes */
	__be16 port;		/* UDP, where the tunnels end */
	__u8 pad[2];
};

#include "dns_types.h"
#include "fragment_types.h"
#include "nat_types.h"
#include "proxy_types.h"
#include "service_types.h"
#include "sockmap_types.h"
