/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Flow records: one ring, drained by the agent on a timer, so nobody is woken per packet. */
#pragma once
#include "maps.h"
#include "packet.h"
#include "verdict.h"

static __noinline int write_record(const struct work *w)
{
	const struct packet *p = &w->packet;
	const struct connection *c = &w->connection;
	const struct observation *o = &w->observation;
	struct flow_record *r = bpf_ringbuf_reserve(&flows, sizeof(*r), 0);

	if (!r) {
		count(COUNTER_RECORDS_LOST);
		return -1;
	}
	r->time_ns = bpf_ktime_get_ns();
	r->saddr = p->saddr;
	r->daddr = p->daddr;
	r->egress = c->egress;
	r->ingress = c->ingress;
	r->packets = o->packets;
	r->bytes = o->bytes;
	r->sport = p->sport;
	r->dport = p->dport;
	if (p->protocol == IPPROTO_ICMP || p->protocol == IPPROTO_ICMPV6_) {
		r->sport = bpf_htons(p->icmp_code);
		r->dport = bpf_htons(p->icmp_type);
	}
	r->source_identity = o->is_reply ? c->destination_identity : c->source_identity;
	r->destination_identity = o->is_reply ? c->source_identity : c->destination_identity;
	r->generation = o->generation;
	r->ifindex = o->ifindex;
	mac_copy(r->smac, p->smac);
	mac_copy(r->dmac, p->dmac);
	r->protocol = p->protocol;
	r->tcp_flags = p->tcp_flags;
	r->event = o->event;
	r->reason = o->reason;
	r->direction = o->direction;
	r->is_reply = o->is_reply;
	r->observation_point = o->point;
	r->pad = 0;
	bpf_ringbuf_submit(r, BPF_RB_NO_WAKEUP);
	return 0;
}

/* A packet that is dropped before any verdict: with what is known of it. */
static __noinline int drop_unjudged(struct work *w, enum direction direction, enum drop_reason reason)
{
	struct ipcache_value *from = ipcache_lookup(&w->packet.saddr), *to = ipcache_lookup(&w->packet.daddr);
	struct observation *o = &w->observation;

	o->event = FLOW_DROP;
	o->reason = reason;
	o->direction = direction;
	o->generation = current_generation();
	__builtin_memset(&w->connection, 0, sizeof(w->connection));
	if (from)
		w->connection.source_identity = from->peer[(__s32)(o->generation - from->since) >= 0].identity;
	if (to)
		w->connection.destination_identity = to->peer[(__s32)(o->generation - to->since) >= 0].identity;
	write_record(w);
	count(COUNTER_DROPPED);
	return TC_ACT_SHOT;
}
