/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* IP fragments: only the first one carries ports, so they are remembered for those that follow it.
 * Every first fragment is judged by its own header, and a receiver takes the header from there: what is remembered decides over data
 * only. A row is found by the interface and direction where it was written, and a workload's source address is verified before, so no
 * workload rides on a datagram of another. Pieces that overlap are left to the receiver: from offset 8 on they cannot reach a port,
 * and where IPv6 options stand before the ports, receivers discard the whole datagram (RFC 5722). */
#pragma once
#include "conntrack.h"
#include "maps.h"
#include "packet.h"
#include "work.h"

#define FRAGMENT_TIMEOUT_NS (FRAGMENT_SECONDS * SECOND)

/* Senders count their identifications up, so the datagrams that are under way at one time have slots of their own. The node's devices
 * have no endpoint: pieces of one datagram may come in on several. */
static __always_inline void fragment_key_of(struct work *w)
{
	const struct packet *p = &w->packet;
	struct fragment_key *key = &w->fragment_key;
	__u32 mixed = p->fragment_id ^ p->saddr.word[3] ^ p->daddr.word[3];

	mixed ^= mixed >> 16;
	mixed ^= mixed >> 8;
	__builtin_memset(key, 0, sizeof(*key));
	key->ifindex = w->observation.ifindex;
	key->direction = w->observation.direction;
	key->slot = mixed & (key->ifindex ? FRAGMENT_SLOTS - 1 : FRAGMENT_SLOTS_NODE - 1);
}

/* The row of w->packet's own datagram. */
static __always_inline struct fragment_value *fragment_find(struct work *w)
{
	const struct packet *p = &w->packet;
	struct fragment_value *value;

	fragment_key_of(w);
	value = bpf_map_lookup_elem(&fragments, &w->fragment_key);
	if (!value || value->id != p->fragment_id || value->wire_protocol != (p->ipv4 ? p->protocol : 0) ||
	    !addr_equal(&value->saddr, &p->saddr) || !addr_equal(&value->daddr, &p->daddr))
		return 0;
	return value;
}

/* Where there is no room, the fragments that follow drop with their reason. */
static __always_inline void fragment_remember(struct work *w)
{
	const struct packet *p = &w->packet;
	struct fragment_value *value = &w->fragment_value;

	fragment_key_of(w);
	__builtin_memset(value, 0, sizeof(*value));
	value->time_ns = bpf_ktime_get_ns();
	value->saddr = p->saddr;
	value->daddr = p->daddr;
	value->id = p->fragment_id;
	value->wire_protocol = p->ipv4 ? p->protocol : 0;
	value->sport = p->sport;
	value->dport = p->dport;
	value->protocol = p->protocol;
	value->icmp_type = p->icmp_type;
	value->icmp_code = p->icmp_code;
	bpf_map_update_elem(&fragments, &w->fragment_key, value, BPF_ANY);
}

/* A first fragment of the same name that is the host's: what follows it is not for the workload that had the name before. */
static __always_inline void fragment_forget(struct work *w)
{
	if (fragment_find(w))
		bpf_map_delete_elem(&fragments, &w->fragment_key);
}

/* Gives a later fragment what its first one said. An ICMP error's quote is in the first alone: the rest is judged by its type. */
static __always_inline enum drop_reason fragment_recall(struct work *w)
{
	struct fragment_value *value = fragment_find(w);
	struct packet *p = &w->packet;
	__u64 now = bpf_ktime_get_ns();

	if (!value || (now > value->time_ns && now - value->time_ns > FRAGMENT_TIMEOUT_NS))
		return DROP_FRAGMENT_WITHOUT_FIRST;
	p->sport = value->sport;
	p->dport = value->dport;
	p->protocol = value->protocol;
	p->icmp_type = value->icmp_type;
	p->icmp_code = value->icmp_code;
	return DROP_NONE;
}

/* At a workload's veth, after its source address is verified: first fragments are remembered, later ones know their ports. */
static __noinline enum drop_reason join_fragment(struct work *w)
{
	if (w->packet.fragment == FRAGMENT_LATER)
		return fragment_recall(w);
	fragment_remember(w);
	return DROP_NONE;
}
