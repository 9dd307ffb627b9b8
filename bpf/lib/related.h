/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* ICMP errors: judged by the connection that they are about. */
#pragma once
#include "conntrack.h"

/* An ICMP error passes when the connection that it is about does (RFC 4443, 2.4), to the end that sent what it is about (RFC 1122, 3.2.2)
 * and nobody else. 0: it is about no connection that is known, and is judged like any other packet. */
static __noinline int conntrack_judge_related(struct work *w)
{
	struct observation *o = &w->observation;
	struct ct_entry *entry;
	__u8 end;

	if (!addr_equal(&w->packet.daddr, &w->inner.saddr))
		return 0;
	end = ct_key_of(&w->inner, &w->ct_key);
	entry = bpf_map_lookup_elem(&conntrack, &w->ct_key);
	/* What the opener of a first leg sends gets no further than to Envoy. */
	if ((!entry || (is_proxied(entry) && end == entry->origin)) && proxy_row()) {
		w->ct_key.leg = 1;
		entry = bpf_map_lookup_elem(&conntrack, &w->ct_key);
	}
	if (!entry || ct_is_idle(entry, w->inner.protocol, ticks()))
		return 0;
	o->is_reply = 1;
	o->event = FLOW_NEW;
	if (ct_verdict(w, entry)) {
		o->event = FLOW_DROP;
		o->direction = denied_at(&w->connection);
		return 1;
	}
	connection_from_entry(entry, &w->connection);
	place_in_entry(entry, end, &w->to);
	w->from_identity = 0;	/* whoever sends it need be no end of that connection */
	if (entry->flags & CT_SERVICE) {
		w->frontend = entry->frontend;
		w->frontend_port = entry->frontend_port;
		if (entry->service & CT_TRANSLATED && !(entry->service & CT_HAIRPIN) && end == entry->origin)
			o->service |= SERVICE_ERROR;
		w->device = entry->device;
		if (entry->service & CT_FROM_NODE && end == entry->origin)
			w->to.remote = 1;
		w->to.proxy = end == entry->origin ? w->ct_key.leg : !!(entry->service & CT_PROXIED);
	}
	return 1;
}
