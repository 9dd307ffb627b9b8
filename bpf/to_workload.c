/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* tc egress on the host side of a workload's veth: what the host's stack sends to a workload. */
#include "lib/deliver.h"

SEC("tc")
int to_workload(struct __sk_buff *skb)
{
	__u32 ifindex = skb->ifindex;
	enum drop_reason reason;
	__be16 ether_type;
	struct work *w = begin(skb, &ether_type);

	if (!w)
		return TC_ACT_SHOT;
	w->observation.ifindex = ifindex;
	w->observation.direction = DIRECTION_INGRESS;
	w->observation.point = TO_ENDPOINT;
	if (!bpf_map_lookup_elem(&endpoints, &ifindex))
		return drop_unjudged(w, DIRECTION_INGRESS, DROP_EP_NOT_READY);
	if (is_tagged(skb, ether_type))
		return drop_unjudged(w, DIRECTION_INGRESS, DROP_VLAN_FILTERED);
	if (ether_type == bpf_htons(ETH_P_ARP))
		return TC_ACT_OK;
	reason = parse(skb, ether_type, &w->packet);
	if (reason)
		return drop_unjudged(w, DIRECTION_INGRESS, reason);
	if (is_neighbour_discovery(&w->packet))
		return TC_ACT_OK;
	reason = w->packet.fragment ? join_fragment(w) : DROP_NONE;
	if (reason)
		return drop_unjudged(w, DIRECTION_INGRESS, reason);
	if (judge_packet(skb, w))
		return TC_ACT_SHOT;
	if (w->to.proxy)
		return hand_to_proxy(skb);
	if (!w->observation.dns)
		return TC_ACT_OK;
	bpf_tail_call(skb, &dns_programs_out, DNS_ANSWER);
	return drop_unjudged(w, DIRECTION_INGRESS, DROP_MISSED_TAIL_CALL);
}
