/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Layouts of DNS rules, a part of types.h: names and patterns, what was asked, what answers gave. Selectors (a name or a pattern that
 * some rule has) have numbers that are never used again, so what was learned keeps its meaning over any change of policies. */
#pragma once

/* How much fits; what goes beyond is refused by user space, or not learned and counted. */
enum dns_limit {
	DNS_STATES = 8192,	/* of the automaton of all patterns */
	DNS_EDGES = 16384,
	DNS_ACCEPTS = 2048,
	DNS_MATCHES = 15,	/* patterns that one name may match */
	DNS_SOURCES = 8,	/* names and patterns that one address is known by */
	DNS_ANSWERS = 24,
	DNS_MESSAGE = 1536,	/* bytes */
	MAX_DNS_NAMES = 65536,
	MAX_DNS_USES = 65536,
	MAX_DNS_ADDRESSES = 131072,
	DNS_WAIT_ROWS = 8192,	/* of 4 queries that wait; an answer takes its query away, so only what is lost or under way stands here */
	DNS_RING_BYTES = 1048576,
	DNS_TTL_FLOOR = 60,	/* seconds: who resolves once and connects later still may */
	DNS_TTL_CEILING = 604800,
	DNS_WAIT_SECONDS = 20,	/* for an answer: longer than resolvers do */
};

struct dns_state {
	__u16 base;		/* its edge for a character stands at base + character */
	__u16 other;		/* where any other letter of a label leads; another dot leads to 0 */
	__u16 accept;		/* first of `accepts`: who matches a name that ends here; 0: nobody */
	__u16 same;		/* 1: any letter leads back here, so the rest of the label need not be read */
};

/* A list of selectors; row 0 ends it. */
struct dns_accept {
	__u32 selector;
	__u32 next;
};

/* The automaton of all patterns; there are two, the one in force is dns_control.half. State 1 stands behind a name's final dot, 0 is dead.
 * An edge: the state whose it is (0: nobody's), 16 bits, and where it leads, 16 bits above; two in a word, the even one below. */
struct dns_automaton {
	struct dns_state states[DNS_STATES];
	__u64 edges[DNS_EDGES / 2];
	struct dns_accept accepts[DNS_ACCEPTS];
};

struct dns_control {
	__u32 half;		/* 0 or 1 */
	__u32 version;		/* moves when a name matches other selectors than before; never 0 */
	__u64 secret[2];	/* of the tags of queries that wait; the second is odd */
};

/* As on the wire, in lower case, zeros behind it. Value: the selector of exactly this name. Most are short, and a short key is hashed and
 * compared sooner: those of up to 63 bytes stand in a map of their own. */
struct dns_name {
	__u8 wire[256];
};

struct dns_short_name {
	__u8 wire[64];
};

enum dns_use_kind {
	DNS_USE_PEER = 0,	/* toFQDNs: addresses of the name are peers */
	DNS_USE_QUERY = 1,	/* rules.dns: the name may be asked for */
};

/* Value: the bits of a word of the policy that the selector sets. */
struct dns_use {
	__u32 policy;
	__u32 selector;
	__u16 word;
	__u16 use;		/* enum dns_use_kind */
};

/* An address that a workload may take for names. */
struct dns_address_key {
	struct addr addr;
	__u32 endpoint;		/* id */
};

struct dns_source {
	__u32 selector;		/* 0: free */
	__u32 expires;		/* ticks; behind that no connection begins by it */
};

/* Only user space frees a source, when it has expired and no connection is left that came by it. */
struct dns_address {
	struct dns_source source[8];
};

/* Key: an endpoint's id. */
struct dns_usage {
	__u32 addresses;
	__u32 quota;
	__u64 refused;		/* addresses beyond it */
};

/* A query that waits for its answer, known by its tag: a keyed hash of client, server, both ports, id, name, type and class. */
struct dns_slot {
	__u64 tag;		/* 0: free */
	__u64 time_ns;
	__u32 endpoint;		/* id of the client */
	__u32 version;		/* of the control row by which its name matched `selector`; 0: more than fit here, to be matched again */
	__u32 selector[2];
};

/* Where the tag says. With no place free a client's own oldest query goes, and that of another only where it has none here: so nobody who
 * floods the table takes more of a row than one place from others. */
struct dns_waiting {
	struct bpf_spin_lock lock;
	__u32 pad;
	struct dns_slot slot[4];
};

/* In dns_programs and dns_programs_out. */
enum dns_program {
	DNS_QUERY = 0,
	DNS_ANSWER = 1,
	DNS_PASSED = 2,		/* a query that may be sent */
	DNS_PROGRAMS = 3,
};

enum dns_counter {
	DNS_COUNT_LOST = 0,		/* DNS records that found the ring full */
	DNS_COUNT_REFUSED = 1,	/* queries */
	DNS_COUNT_MALFORMED = 2,	/* queries and answers that nobody could read */
	DNS_COUNT_UNREAD = 3,		/* queries of more bytes than the programs read, and pieces */
	DNS_COUNT_UNASKED = 4,	/* answers to no query that waits */
	DNS_COUNT_REBOUND = 5,	/* addresses inside the cluster or the machine: not learned */
	DNS_COUNT_CROWDED = 6,	/* addresses beyond a quota, or of more names than fit: not learned */
	DNS_COUNT_CUT = 7,		/* answers of more addresses or bytes than the programs read: handed on cut short, to be asked for by TCP */
	DNS_COUNT_TCP = 8,		/* queries by TCP */
	DNS_COUNTERS = 9,
};

enum dns_event {
	DNS_ANSWERED = 1,	/* an answer that was asked for: handed to the workload, its addresses learned before */
	DNS_REFUSED = 2,	/* no rule allows the name: answered REFUSED */
};

enum dns_said {
	DNS_SAID_NO = 0,
	DNS_SAID_YES = 1,	/* it may be asked; its addresses stand in the map */
	DNS_SAID_GONE = 2,	/* the proxy has no such connection */
};

/* Before the message that the proxy has looked at (bpf/dns_tcp.c): of which of its connections it is. */
struct dns_by_tcp {
	struct addr client;
	struct addr server;
	__be16 client_port;
	__be16 server_port;
	__u32 pad;
	__u64 latency_ns;	/* of an answer */
};

/* One ring entry for each answer and each refused query; as many addresses as there are. */
struct dns_record {
	__u64 time_ns;		/* CLOCK_MONOTONIC */
	__u64 latency_ns;	/* DNS_ANSWERED: since the query */
	struct addr saddr;	/* of the packet */
	struct addr daddr;
	__be16 sport;
	__be16 dport;
	__u32 source_identity;
	__u32 destination_identity;
	__u32 ifindex;		/* of the client */
	__u32 endpoint;		/* id of the client */
	__u32 ttl;		/* seconds: the shortest of the addresses, with the floor */
	__u16 length;		/* of the name on the wire */
	__u16 type;		/* what was asked for */
	__u8 event;		/* enum dns_event */
	__u8 rcode;
	__u8 addresses;
	__u8 learned;		/* of them */
	__u8 protocol;		/* IPPROTO_UDP, IPPROTO_TCP */
	__u8 pad[7];
	struct dns_name name;
	struct addr address[24];
};
