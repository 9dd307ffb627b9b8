/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* tc ingress on the host side of a workload's veth: everything that a workload sends. */
#include "lib/deliver.h"
#include "lib/network.h"
#include "lib/service_reset.h"

struct arp { __be16 hardware, protocol; __u8 hardware_length, protocol_length; __be16 operation; __u8 sha[6]; __be32 spa; __u8 tha[6]; __be32 tpa; } __attribute__((packed));

/* A workload may ask for others and answer for itself, never for others (RFC 826). */
static __always_inline int arp_from_workload(struct __sk_buff *skb, const struct endpoint *end, struct work *w)
{
	struct arp arp;

	if (bpf_skb_load_bytes(skb, ETH_HLEN, &arp, sizeof(arp)))
		return drop_unjudged(w, DIRECTION_EGRESS, DROP_INVALID_PACKET);
	if (!mac_equal(arp.sha, end->mac))
		return drop_unjudged(w, DIRECTION_EGRESS, DROP_INVALID_SOURCE_MAC);
	if (arp.spa != end->ipv4.word[3])
		return drop_unjudged(w, DIRECTION_EGRESS, DROP_INVALID_SOURCE_IP);
	return TC_ACT_OK;
}

static __always_inline int is_link_local(const struct addr *a)
{
	return (a->word[0] & bpf_htonl(0xffc00000)) == bpf_htonl(0xfe800000);
}

/* Router advertisements and redirects would steer the host; an advertisement may claim the workload's own address only. */
static __always_inline int discovery_from_workload(struct __sk_buff *skb, const struct endpoint *end, struct work *w)
{
	const struct packet *p = &w->packet;
	struct { struct icmp_head head; struct in6_addr target; } claim;
	struct addr target;

	if (p->icmp_type == ICMP6_ROUTER_ADVERTISEMENT || p->icmp_type == ICMP6_REDIRECT)
		return drop_unjudged(w, DIRECTION_EGRESS, DROP_FORBIDDEN_ICMPV6_MESSAGE);
	if (!addr_equal(&p->saddr, &end->ipv6) && !is_link_local(&p->saddr) && !addr_is_zero(&p->saddr))
		return drop_unjudged(w, DIRECTION_EGRESS, DROP_INVALID_SOURCE_IP);
	if (p->icmp_type != ICMP6_NEIGHBOUR_ADVERTISEMENT)
		return TC_ACT_OK;
	if (bpf_skb_load_bytes(skb, p->l4, &claim, sizeof(claim)))
		return drop_unjudged(w, DIRECTION_EGRESS, DROP_INVALID_PACKET);
	addr_from_ipv6(&target, &claim.target);
	if (!addr_equal(&target, &end->ipv6) && !is_link_local(&target))
		return drop_unjudged(w, DIRECTION_EGRESS, DROP_INVALID_SOURCE_IP);
	return TC_ACT_OK;
}

/* A packet that may pass. */
static __always_inline int hand_from_workload(struct __sk_buff *skb, struct work *w)
{
	if (w->to.proxy)
		return hand_to_proxy(skb);
	if (w->to.ifindex)
		return hand_to_workload(skb, w, w->to.ifindex);
	if (w->to.remote)
		return hand_to_node(skb, w);
	return w->to.host ? TC_ACT_OK : hand_to_network(skb, w);
}

SEC("tc")
int from_workload(struct __sk_buff *skb)
{
	__u32 ifindex = skb->ifindex;
	struct endpoint *end = bpf_map_lookup_elem(&endpoints, &ifindex);
	enum drop_reason reason;
	__be16 ether_type;
	struct work *w = begin(skb, &ether_type);
	struct packet *p;

	if (!w)
		return TC_ACT_SHOT;
	p = &w->packet;
	w->observation.ifindex = ifindex;
	w->observation.direction = DIRECTION_EGRESS;
	if (!end)
		return drop_unjudged(w, DIRECTION_EGRESS, DROP_EP_NOT_READY);
	if (!mac_equal(p->smac, end->mac))
		return drop_unjudged(w, DIRECTION_EGRESS, DROP_INVALID_SOURCE_MAC);
	if (is_tagged(skb, ether_type))
		return drop_unjudged(w, DIRECTION_EGRESS, DROP_VLAN_FILTERED);
	if (ether_type == bpf_htons(ETH_P_ARP))
		return arp_from_workload(skb, end, w);
	reason = parse(skb, ether_type, p);
	if (reason)
		return drop_unjudged(w, DIRECTION_EGRESS, reason);
	if (is_neighbour_discovery(p))
		return discovery_from_workload(skb, end, w);
	if (!addr_equal(&p->saddr, p->ipv4 ? &end->ipv4 : &end->ipv6))
		return drop_unjudged(w, DIRECTION_EGRESS, DROP_INVALID_SOURCE_IP);
	reason = p->fragment ? join_fragment(w) : DROP_NONE;
	if (reason)
		return drop_unjudged(w, DIRECTION_EGRESS, reason);

	w->observation.service = SERVICE_ASK;
	w->device = 0;
	if (judge_packet(skb, w))
		return refuse(skb, w, ifindex);
	if (w->observation.dns) {
		bpf_tail_call(skb, &dns_programs, w->observation.is_reply ? DNS_ANSWER : DNS_QUERY);
		return drop_unjudged(w, DIRECTION_EGRESS, DROP_MISSED_TAIL_CALL);
	}
	return hand_from_workload(skb, w);
}
