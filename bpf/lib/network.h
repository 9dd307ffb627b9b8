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

/* A client's error, for a backend that is not here: as what that backend was sent, under this node's address. */
static __noinline int forward_error(struct __sk_buff *skb, struct work *w)
{
	enum drop_reason reason = masquerade_error(skb);

	if (reason)
		return drop_unjudged(w, DIRECTION_EGRESS, reason);
	w->from_identity = IDENTITY_REMOTE_NODE;
	return hand_to_node(skb, w);
}

/* Of the connection that the packet, or the error's quote, belongs to, where that is one to a service; 0: it is not. `from`: which end sent it. */
static __always_inline struct ct_entry *service_entry_of(struct work *w, __u8 *from)
{
	struct ct_entry *entry;

	*from = ct_key_of(w->packet.icmp_error ? &w->inner : &w->packet, &w->ct_key);
	entry = bpf_map_lookup_elem(&conntrack, &w->ct_key);
	return entry && entry->service & CT_TRANSLATED ? entry : 0;
}

/* Whether an error is about what a service answered through this node. With DSR that went past it. */
static __noinline int is_about_answer(struct work *w)
{
	__u8 from;
	struct ct_entry *entry = service_entry_of(w, &from);

	return entry && from != entry->origin && !(entry->service & CT_ONE_WAY);
}

/* Whether what was unmasqueraded is an answer to a client outside: its connection is one to a service. */
static __noinline int is_for_client(struct work *w)
{
	__u8 from;
	struct ct_entry *entry = service_entry_of(w, &from);

	return entry && (from != entry->origin) == !w->packet.icmp_error;
}
