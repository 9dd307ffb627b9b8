/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* tc ingress on the far end of weir's own veth pair, where routes lead all that Envoy emits, by its marks: under the address of the client
 * (its own connections) or of who the client asked for (its answers). What is for Envoy's sockets passes here on its way up, see
 * hand_to_proxy. A mark does not come out of a workload's namespace, so nobody else speaks here; what bears none is dropped. */
#include "lib/deliver.h"
#include "lib/network.h"
#include "lib/service_reset.h"

static __always_inline __u32 side_of(const struct proxy *proxy, __u32 mark)
{
	if (mark == proxy->downstream)
		return PROXY_ANSWER;
	return mark == proxy->egress_done ? CT_EGRESS_DONE : mark == proxy->both_done ? CT_BOTH_DONE : 0;
}

static __always_inline int hand_from_proxy(struct __sk_buff *skb, struct work *w)
{
	if (w->to.proxy)
		return hand_to_proxy(skb);
	if (w->to.ifindex)
		return hand_to_workload(skb, w, w->to.ifindex);
	if (w->to.host)
		return drop_unjudged(w, w->observation.direction, DROP_NO_WORKLOAD_HERE);
	return w->to.remote ? hand_to_node(skb, w) : hand_to_network(skb, w);
}

SEC("tc")
int from_proxy(struct __sk_buff *skb)
{
	struct proxy *proxy = proxy_row();
	enum drop_reason reason;
	struct observation *o;
	__be16 ether_type;
	struct work *w;
	__u32 side;

	if (!proxy)
		return TC_ACT_SHOT;
	if (skb->mark == proxy->to_proxy)
		return TC_ACT_OK;
	side = side_of(proxy, skb->mark);
	if (!side)
		return TC_ACT_SHOT;
	w = begin(skb, &ether_type);
	if (!w)
		return TC_ACT_SHOT;
	o = &w->observation;
	skb->mark = 0;
	w->device = 0;
	o->proxy = side;
	o->ifindex = skb->ifindex;
	o->direction = side == CT_EGRESS_DONE ? DIRECTION_EGRESS : DIRECTION_INGRESS;
	reason = parse(skb, ether_type, &w->packet);
	if (!reason && (w->packet.protocol != IPPROTO_TCP || w->packet.fragment))
		reason = DROP_NOT_SUPPORTED_BY_PROXY;
	if (reason)
		return drop_unjudged(w, o->direction, reason);
	if (!judge_packet(skb, w))
		return hand_from_proxy(skb, w);
	/* Envoy is told as others are. */
	return o->service & SERVICE_RESET && !to_reset(skb) ? hand_to_proxy(skb) : TC_ACT_SHOT;
}
