/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* tc egress on the node's devices: what processes of the node answer to clients outside, whom a service led to them (from_netdev.c), leaves
 * from that service. All else leaves as it is, for one look-up, and for that alone where no service ever led to such a process. */
#include "lib/deliver.h"
#include "lib/network.h"

static __always_inline int has_node_backends(void)
{
	__u32 zero = 0, *on = bpf_map_lookup_elem(&node_backends, &zero);

	return on && *on;
}

/* An answer of this node's to a client of a service, or an error about what that client sent. */
static __noinline int is_for_client_of_node(struct work *w)
{
	const struct packet *p = &w->packet;
	__u8 from;
	struct ct_entry *entry = service_entry_of(w, &from);

	return entry && (from != entry->origin) == !p->icmp_error && entry->flags >> !entry->origin & CT_HOST &&
	       !ct_is_idle(entry, p->icmp_error ? w->inner.protocol : p->protocol, ticks());
}

SEC("tc")
int to_netdev(struct __sk_buff *skb)
{
	__be16 ether_type;
	struct packet *p;
	struct work *w;

	if (!has_node_backends())
		return TC_ACT_UNSPEC;
	w = begin(skb, &ether_type);
	if (!w)
		return TC_ACT_UNSPEC;
	p = &w->packet;
	if (is_tagged(skb, ether_type) || parse(skb, ether_type, p))
		return TC_ACT_UNSPEC;
	w->device = 0;
	w->observation.direction = DIRECTION_EGRESS;
	w->observation.point = TO_NETWORK;
	if (p->fragment == FRAGMENT_LATER && fragment_recall(w))
		return TC_ACT_UNSPEC;
	if (p->icmp_error && parse_inner(skb, p, &w->inner))
		return TC_ACT_UNSPEC;
	if (!is_for_client_of_node(w)) {
		if (p->fragment == FRAGMENT_FIRST)
			fragment_forget(w);
		return TC_ACT_UNSPEC;
	}
	if (p->fragment == FRAGMENT_FIRST)
		fragment_remember(w);	/* under its name before it is the service's */
	return judge_packet(skb, w) ? TC_ACT_SHOT : TC_ACT_UNSPEC;
}
