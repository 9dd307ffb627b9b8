/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The other way: what a backend answers comes from the frontend again, and ICMP errors quote what their receiver knows. After conntrack
 * and policy, so that they see the backend. */
#pragma once
#include "service_nat.h"

/* As the client sees it. Less than 0: it could not be rewritten. */
__noinline int from_backend(struct __sk_buff *skb)
{
	struct work *w = this_work();

	if (!w)
		return -1;
	if (w->observation.service & SERVICE_HAIRPIN && rewrite_destination(skb, w, &w->packet.saddr, w->packet.dport))
		return -1;
	return rewrite_source(skb, w, &w->frontend, w->frontend_port);
}

/* An error about what the frontend sent to a client, from the client or on its way there, is for the backend. 1: it was one; w->inner
 * is what the backend sent. 0: not; else minus the reason. */
__noinline int error_to_backend(struct __sk_buff *skb)
{
	struct work *w = this_work();
	struct translation *known;
	struct packet *p, *inner;

	if (!w)
		return 0;
	p = &w->packet;
	inner = &w->inner;
	if (!addr_equal(&p->daddr, &inner->saddr) || !has_ports(inner->protocol))
		return 0;
	__builtin_memset(&w->translation_key, 0, sizeof(w->translation_key));
	w->translation_key.client = inner->daddr;
	w->translation_key.frontend = inner->saddr;
	w->translation_key.client_port = inner->dport;
	w->translation_key.frontend_port = inner->sport;
	w->translation_key.protocol = inner->protocol;
	known = bpf_map_lookup_elem(&translations, &w->translation_key);
	if (!known || addr_equal(&known->addr, &inner->daddr))
		return 0;
	w->nat_inside.addr = known->addr;
	w->nat_inside.port = known->port;
	if (rewrite_quote(skb, p, inner, 1, &w->nat_inside) || rewrite_address(skb, p, 0, &p->daddr, &w->nat_inside.addr))
		return -DROP_INVALID_PACKET;
	p->daddr = w->nat_inside.addr;
	inner->saddr = w->nat_inside.addr;
	inner->sport = w->nat_inside.port;
	return 1;
}

/* An error about what a client sent to a backend quotes what it sent to the frontend. */
__noinline int error_from_backend(struct __sk_buff *skb)
{
	struct work *w = this_work();
	struct packet *p, *inner;

	if (!w)
		return -1;
	p = &w->packet;
	inner = &w->inner;
	w->nat_inside.addr = w->frontend;
	w->nat_inside.port = w->frontend_port;
	if (rewrite_quote(skb, p, inner, 0, &w->nat_inside))
		return -1;
	if (!addr_equal(&p->saddr, &inner->daddr))
		return 0;	/* a router's */
	if (rewrite_address(skb, p, 1, &p->saddr, &w->frontend))
		return -1;
	p->saddr = w->frontend;
	return 0;
}
