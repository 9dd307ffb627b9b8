/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Out of this node: what workloads send outside, what clients outside send to services whose backend is elsewhere, and their answers. */
#pragma once
#include "dsr.h"

/* By the host's own routes, under the node's address; what a service answers has the frontend's. */
static __noinline int hand_to_network(struct __sk_buff *skb, struct work *w)
{
	const struct packet *p = &w->packet;
	struct bpf_fib_lookup fib = {};
	enum drop_reason reason;
	__u32 device;
	long found;

	if (is_tunnel(p))
		return drop_unjudged(w, DIRECTION_EGRESS, DROP_ENCAPSULATION_PROHIBITED);
	found = route_of(skb, p, &fib);
	device = device_for_client(w, found);
	if (!device && found != BPF_FIB_LKUP_RET_SUCCESS && found != BPF_FIB_LKUP_RET_NO_NEIGH)
		return found == BPF_FIB_LKUP_RET_NOT_FWDED ? TC_ACT_OK :
		       drop_unjudged(w, DIRECTION_EGRESS, DROP_FIB_LOOKUP_FAILED);
	reason = decrement_ttl(skb, p);
	if (!reason && !(w->observation.service & (SERVICE_REPLY | SERVICE_ERROR)))
		reason = masquerade(skb, device ? device : fib.ifindex);
	if (reason)
		return drop_unjudged(w, DIRECTION_EGRESS, reason);
	return device ? (int)bpf_redirect_neigh(device, 0, 0, 0) : redirect_to_hop(&fib);
}

/* A client's packet to a backend that is not here: under this node's address, by which the answer comes back, or (DSR) the client's own. */
static __noinline int forward_for_client(struct __sk_buff *skb, struct work *w)
{
	enum drop_reason reason;

	if (!w->to.remote)
		return hand_to_network(skb, w);
	if (w->observation.service & SERVICE_ONE_WAY)
		reason = give_dsr(skb) ? DROP_INVALID_PACKET : DROP_NONE;
	else
		reason = masquerade(skb, skb->ifindex);
	if (reason)
		return drop_unjudged(w, DIRECTION_EGRESS, reason);
	w->from_identity = IDENTITY_REMOTE_NODE;
	return hand_to_node(skb, w);
}

/* Whether what was unmasqueraded is an answer to a client outside: its connection is one to a service. */
static __noinline int is_for_client(struct work *w)
{
	const struct packet *p = w->packet.icmp_error ? &w->inner : &w->packet;
	struct ct_entry *entry;
	__u8 from = ct_key_of(p, &w->ct_key);

	entry = bpf_map_lookup_elem(&conntrack, &w->ct_key);
	return entry && entry->service & CT_TRANSLATED && (from != entry->origin) == !w->packet.icmp_error;
}
