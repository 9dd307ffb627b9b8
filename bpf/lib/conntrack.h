/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Connection tracking: one row per connection for both directions. A row holds the generation in which it was judged;
 * when that has moved, the connection's original direction is judged again, so a policy change reaches what is established. */
#pragma once
#include "maps.h"
#include "packet.h"
#include "verdict.h"
#include "work.h"

#define SECOND 1000000000ULL
#define RECORD_INTERVAL_NS (5 * SECOND)

static __always_inline __u64 idle_timeout_ns(__u8 protocol, __u8 state)
{
	if (protocol == IPPROTO_TCP)
		return state == CT_CLOSING ? 10 * SECOND : state == CT_NEW ? 60 * SECOND : 8000 * SECOND;
	return state == CT_NEW ? 30 * SECOND : 180 * SECOND;
}

/* Orders the two ends; returns which of them (0, 1) the first named is. */
static __always_inline __u8 ct_key_between(const struct addr *saddr, __be16 sport, const struct addr *daddr, __be16 dport, __u8 protocol,
					   struct ct_key *key)
{
	__u8 from = 0;

#pragma unroll
	for (int i = 3; i >= 0; i--)
		if (saddr->word[i] != daddr->word[i]) {
			from = saddr->word[i] > daddr->word[i];
			goto ordered;
		}
	from = sport > dport;
ordered:
	__builtin_memset(key, 0, sizeof(*key));
	key->protocol = protocol;
	if (from) {
		key->addr[0] = *daddr;
		key->addr[1] = *saddr;
		key->port[0] = dport;
		key->port[1] = sport;
	} else {
		key->addr[0] = *saddr;
		key->addr[1] = *daddr;
		key->port[0] = sport;
		key->port[1] = dport;
	}
	return from;
}

/* The key of the packet's connection; returns which end (0, 1) it comes from. */
static __always_inline __u8 ct_key_of(const struct packet *p, struct ct_key *key)
{
	return ct_key_between(&p->saddr, p->sport, &p->daddr, p->dport, p->protocol, key);
}

/* A row that no longer stands for this packet: idle too long, or its tuple is opened anew. */
static __always_inline int ct_is_over(const struct ct_entry *entry, const struct packet *p, __u64 now)
{
	if (now - entry->last_seen_ns > idle_timeout_ns(p->protocol, entry->state) && now > entry->last_seen_ns)
		return 1;
	return p->protocol == IPPROTO_TCP && (p->tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN &&
	       (entry->state == CT_CLOSING || entry->reason);
}

static __always_inline void connection_from_entry(const struct ct_entry *entry, struct connection *c)
{
	c->egress = entry->egress;
	c->ingress = entry->ingress;
	c->source_identity = entry->source_identity;
	c->destination_identity = entry->destination_identity;
}

static __always_inline void judgement_to_entry(struct ct_entry *entry, const struct connection *c, __u32 generation, enum drop_reason reason)
{
	entry->egress = c->egress;
	entry->ingress = c->ingress;
	entry->source_identity = c->source_identity;
	entry->destination_identity = c->destination_identity;
	entry->reason = reason;
	entry->generation = generation;
}

/* First packet of a connection: judged, and remembered when it may pass. */
static __noinline enum drop_reason ct_open(struct work *w, __u8 from, __u64 now, __u32 length)
{
	struct observation *o = &w->observation;
	struct ct_entry *entry = &w->ct_entry;

	o->reason = judge_connection(o->generation, &w->packet.saddr, &w->packet.daddr, policy_key(&w->packet), &w->connection);
	if (o->reason) {
		o->event = FLOW_DROP;
		o->direction = denied_at(&w->connection);
		return o->reason;
	}
	__builtin_memset(entry, 0, sizeof(*entry));
	entry->last_seen_ns = now;
	entry->last_record_ns = now;
	entry->packets = 1;
	entry->bytes = length;
	entry->policy_key = policy_key(&w->packet);
	entry->origin = from;
	entry->state = w->packet.tcp_flags & TCP_RST ? CT_CLOSING : CT_NEW;
	judgement_to_entry(entry, &w->connection, o->generation, DROP_NONE);
	if (bpf_map_update_elem(&conntrack, &w->ct_key, entry, BPF_ANY)) {
		o->event = FLOW_DROP;
		return o->reason = DROP_CT_MAP_INSERTION_FAILED;
	}
	o->packets = 1;
	o->bytes = length;
	o->event = FLOW_NEW;
	return DROP_NONE;
}

/* The row's verdict, taken again when the generation has moved since. */
static __noinline enum drop_reason ct_verdict(struct work *w, struct ct_entry *entry)
{
	struct observation *o = &w->observation;
	__u8 origin = entry->origin & 1;
	enum drop_reason was = entry->reason;

	if (entry->generation == o->generation) {
		connection_from_entry(entry, &w->connection);
		return o->reason = entry->reason;
	}
	w->source = w->ct_key.addr[origin];
	w->destination = w->ct_key.addr[!origin];
	o->reason = judge_connection(o->generation, &w->source, &w->destination, entry->policy_key, &w->connection);
	judgement_to_entry(entry, &w->connection, o->generation, o->reason);
	if (o->reason != was)
		o->event = FLOW_CHANGE;
	return o->reason;
}

/* Follows the TCP states and says which record is due for a packet that passes. */
static __always_inline void ct_pass(struct work *w, struct ct_entry *entry, __u64 now, __u32 length)
{
	struct observation *o = &w->observation;
	__u8 was = entry->state;

	__sync_fetch_and_add(&entry->packets, 1);
	__sync_fetch_and_add(&entry->bytes, length);
	if (w->packet.tcp_flags & (TCP_FIN | TCP_RST))
		entry->state = CT_CLOSING;
	else if (o->is_reply && was == CT_NEW)
		entry->state = CT_ESTABLISHED;
	if (entry->state == CT_CLOSING && was != CT_CLOSING)
		o->event = FLOW_CLOSE;
	else if (!o->event && now - entry->last_record_ns > RECORD_INTERVAL_NS)
		o->event = FLOW_ACTIVE;
	if (!o->event)
		return;
	entry->last_record_ns = now;
	o->packets = entry->packets;
	o->bytes = entry->bytes;
}

/* Finds or opens the connection of the packet; DROP_NONE: it may pass. */
static __noinline enum drop_reason conntrack_judge(struct work *w, __u32 length)
{
	__u64 now = bpf_ktime_get_ns();
	__u8 from = ct_key_of(&w->packet, &w->ct_key);
	struct ct_entry *entry = bpf_map_lookup_elem(&conntrack, &w->ct_key);

	if (!entry || ct_is_over(entry, &w->packet, now))
		return ct_open(w, from, now, length);
	w->observation.is_reply = from != entry->origin;
	entry->last_seen_ns = now;
	if (!ct_verdict(w, entry)) {
		ct_pass(w, entry, now, length);
		return DROP_NONE;
	}
	w->observation.event = FLOW_DROP;
	w->observation.direction = denied_at(&w->connection);
	return w->observation.reason;
}

/* An ICMP error passes when the connection that it is about does (RFC 4443, 2.4; RFC 1122, 3.2.2).
 * 0: it is about no connection that is known, and is judged like any other packet. */
static __noinline int conntrack_judge_related(struct work *w)
{
	struct observation *o = &w->observation;
	struct ct_entry *entry;

	ct_key_of(&w->inner, &w->ct_key);
	entry = bpf_map_lookup_elem(&conntrack, &w->ct_key);
	if (!entry || ct_is_over(entry, &w->inner, bpf_ktime_get_ns()))
		return 0;
	o->is_reply = 1;
	o->event = FLOW_NEW;
	if (ct_verdict(w, entry)) {
		o->event = FLOW_DROP;
		o->direction = denied_at(&w->connection);
	}
	return 1;
}
