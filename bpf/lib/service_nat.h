/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Services per packet: what sockets were not told at connect (raw packets, sockets older than the agent, clients outside). The destination
 * becomes a backend before conntrack and policy see the packet; answers and errors: service_reply.h.
 * A workload that is its own backend would drop packets from its own address: to it, the client has the frontend's. */
#pragma once
#include "conntrack.h"
#include "fragment.h"
#include "nat_error.h"
#include "sctp.h"
#include "service.h"

#define SERVICE_TRIES 4
#define DSR_LONGEST 1408	/* of a frame: with the option it still fits through a tunnel in Ethernet */

/* The same for a client's connection at every node; with affinity for the client, whatever it connects. */
static __always_inline __u32 client_hash(const struct translation_key *key, const struct frontend *frontend)
{
	__u32 hash = 0x9e3779b9, i;

#pragma clang loop unroll(full)
	for (i = 0; i < 4; i++) {
		hash = (hash ^ key->client.word[i]) * 0x85ebca6b;
		hash ^= hash >> 15;
	}
	hash = (hash ^ (frontend->affinity_seconds ? 0 : key->client_port) ^ (__u32)key->frontend_port << 16 ^ (__u32)key->protocol << 12) * 0xc2b2ae35;
	return hash ^ hash >> 16;
}

static __always_inline void translation_key_of(const struct packet *p, struct translation_key *key)
{
	__builtin_memset(key, 0, sizeof(*key));
	key->client = p->saddr;
	key->frontend = p->daddr;
	key->client_port = p->sport;
	key->frontend_port = p->dport;
	key->protocol = p->protocol;
}

/* The row of the client's connection to this backend, if it is in use. */
static __noinline struct ct_entry *connection_to(struct work *w, const struct addr *addr, __be16 port)
{
	const struct packet *p = &w->packet;
	struct ct_entry *entry;
	__u8 from;

	from = ct_key_between(addr_equal(&p->saddr, addr) ? &p->daddr : &p->saddr, p->sport, addr, port, p->protocol, &w->ct_key);
	entry = bpf_map_lookup_elem(&conntrack, &w->ct_key);
	return entry && !ct_is_over(entry, p, from, ticks()) ? entry : 0;
}

/* What the client was given before: it stays as long as that backend is there, and the connection was not opened anew. */
static __always_inline int translation_holds(struct work *w, const struct translation *known)
{
	struct backend *backend = backend_lookup(known->backend);

	if (!backend || backend->port != known->port || !addr_equal(&backend->addr, &known->addr))
		return 0;
	return !is_opening(&w->packet) || connection_to(w, &known->addr, known->port);
}

static __always_inline int is_from_source_range(struct work *w, __u32 service)
{
	w->source_range_key.prefixlen = 32 + 128;
	w->source_range_key.service = service;
	w->source_range_key.addr = w->packet.saddr;
	return !!bpf_map_lookup_elem(&source_ranges, &w->source_range_key);
}

/* A backend for a connection that is new. One that the client talks to under the same ports by another way is not the one: its answers
 * could not be told apart. */
static __noinline enum drop_reason choose(struct work *w, const struct frontend *frontend)
{
	struct translation *to = &w->translation;
	__u32 hash = frontend->maglev || frontend->affinity_seconds ? client_hash(&w->translation_key, frontend) : bpf_get_prandom_u32();
	struct backend *backend;
	int i;

	__builtin_memset(&w->affinity_key, 0, sizeof(w->affinity_key));
	w->affinity_key.client = w->packet.saddr;
	w->affinity_key.service = frontend->service;
	__builtin_memset(to, 0, sizeof(*to));
	for (i = 0; i < SERVICE_TRIES; i++) {
		to->backend = choose_backend(frontend, &w->affinity_key, hash);
		backend = backend_lookup(to->backend);
		if (!backend || w->packet.ipv4 != addr_is_mapped(&backend->addr))
			break;
		to->addr = backend->addr;
		to->port = backend->port;
		if (!connection_to(w, &to->addr, to->port))
			return DROP_NONE;
		hash = bpf_get_prandom_u32();
	}
	return i < SERVICE_TRIES ? DROP_NO_SERVICE : DROP_NO_MAPPING_FOR_NAT_MASQUERADE;
}

static __always_inline int may_carry_dsr(const struct work *w)
{
	const struct packet *p = &w->packet;

	return !p->fragment && p->l4 == ETH_HLEN + (p->ipv4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr)) && w->observation.length <= DSR_LONGEST;
}

/* A node's own process does not know what the packet would say: it would answer under its own address. */
static __always_inline int may_answer_itself(const struct addr *addr)
{
	struct ipcache_value *at = ipcache_lookup(addr);

	return at && at->flags & IPCACHE_REMOTE && identity_of(at, current_generation()) != IDENTITY_REMOTE_NODE;
}

/* The client's connection is over. */
static __always_inline void vanish(struct work *w, const struct translation *known)
{
	struct ct_entry *entry;

	w->observation.service |= SERVICE_VANISHED;
	entry = connection_to(w, &known->addr, known->port);
	if (entry)
		entry->state = CT_CLOSING;
}

/* Fills w->translation. 1: there is a backend; 0: no such service; else minus the reason. */
static __noinline int find_backend(struct work *w, __u32 scope)
{
	const struct packet *p = &w->packet;
	struct translation *known;
	struct frontend *frontend;
	enum drop_reason reason;

	translation_key_of(p, &w->translation_key);
	known = bpf_map_lookup_elem(&translations, &w->translation_key);
	if (known && translation_holds(w, known)) {
		w->translation = *known;
		return 1;
	}
	/* Another backend would not know what a TCP connection is about. */
	if (known && p->protocol == IPPROTO_TCP && !is_opening(p)) {
		vanish(w, known);
		return -DROP_NO_SERVICE;
	}
	w->frontend_key.addr = p->daddr;
	w->frontend_key.port = p->dport;
	w->frontend_key.protocol = p->protocol;
	w->frontend_key.scope = scope;
	frontend = frontend_lookup(&w->frontend_key);
	if (!frontend)
		return known ? -DROP_NO_SERVICE : 0;
	if (frontend->flags & FRONTEND_SOURCE_RANGES && !is_from_source_range(w, frontend->service))
		return -DROP_NOT_IN_SRC_RANGE;
	reason = choose(w, frontend);
	if (reason)
		return -(int)reason;
	/* A workload's own packets are answered through here anyway. */
	if (frontend->flags & FRONTEND_DSR && !(w->observation.service & SERVICE_ASK) && may_carry_dsr(w) && may_answer_itself(&w->translation.addr))
		w->observation.service |= SERVICE_ONE_WAY;
	return 1;
}

static __always_inline int rewrite_service_port(struct __sk_buff *skb, const struct packet *p, int source, __be16 from, __be16 to)
{
	if (p->protocol != IPPROTO_SCTP || from == to)
		return rewrite_port(skb, p, source, from, to);
	return rewrite_sctp_port(skb, source, to);
}

static __noinline int rewrite_destination(struct __sk_buff *skb, struct work *w, const struct addr *addr, __be16 port)
{
	struct packet *p = &w->packet;

	if (rewrite_address(skb, p, 0, &p->daddr, addr) || rewrite_service_port(skb, p, 0, p->dport, port))
		return -1;
	p->daddr = *addr;
	p->dport = port;
	return 0;
}

static __noinline int rewrite_source(struct __sk_buff *skb, struct work *w, const struct addr *addr, __be16 port)
{
	struct packet *p = &w->packet;

	if (rewrite_address(skb, p, 1, &p->saddr, addr) || rewrite_service_port(skb, p, 1, p->sport, port))
		return -1;
	p->saddr = *addr;
	p->sport = port;
	return 0;
}

/* Global, so that the verifier walks it once. */
__noinline int to_backend(struct __sk_buff *skb, __u32 scope)
{
	struct work *w = this_work();
	struct packet *p;
	int found;

	if (!w)
		return 0;
	p = &w->packet;
	if (!has_ports(p->protocol))
		return 0;
	found = find_backend(w, scope);
	if (found <= 0)
		return found;
	if (p->protocol == IPPROTO_SCTP && p->fragment && p->dport != w->translation.port)
		return -DROP_UNSUPPORTED_PROTOCOL_FOR_NAT;
	if (p->fragment == FRAGMENT_FIRST && !w->observation.ifindex)
		fragment_remember(w);	/* under its name on the wire; at a workload's veth it is already */
	w->frontend = p->daddr;
	w->frontend_port = p->dport;
	w->observation.service |= SERVICE_TO_BACKEND;
	if (addr_equal(&p->saddr, &w->translation.addr)) {
		w->observation.service |= SERVICE_HAIRPIN;
		if (rewrite_source(skb, w, &w->frontend, p->sport))
			return -DROP_INVALID_PACKET;
	}
	return rewrite_destination(skb, w, &w->translation.addr, w->translation.port) ? -DROP_INVALID_PACKET : 1;
}
