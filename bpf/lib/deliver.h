/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Last step: judge the packet at both ends, tell of it, and hand it on. Every path to a workload comes through here. */
#pragma once
#include "audit.h"
#include "conntrack.h"
#include "count.h"
#include "fragment.h"
#include "maps.h"
#include "nat.h"
#include "packet.h"
#include "record.h"
#include "related.h"
#include "service_reply.h"
#include "work.h"

/* service_reset.h. 0: the packet is a reset now, and goes where it went. */
int reset_on(struct __sk_buff *skb);

/* One judgement for both ends; writes the record that is due. Where the packet passes to is in w->to. */
static __noinline enum drop_reason judge_packet(struct __sk_buff *skb, struct work *w)
{
	struct observation *o = &w->observation;
	int related;

	o->generation = current_generation();
	related = w->packet.icmp_error && !parse_inner(skb, &w->packet, &w->inner);
	if (related && o->service & SERVICE_ASK)
		error_to_backend(skb);
	related = related && conntrack_judge_related(w);
	if (!related)
		conntrack_judge(skb, w);
	if (o->service & SERVICE_REFUSED) {
		drop_unjudged(w, o->direction, o->reason);
		return o->reason;
	}
	if (o->event) {
		if (!o->reason && (!o->point || w->to.proxy))
			o->point = w->to.proxy ? TO_PROXY : w->to.ifindex ? TO_ENDPOINT : w->to.host ? TO_HOST : w->to.remote && overlay_ifindex() ? TO_OVERLAY : TO_NETWORK;
		write_record(w);
		if (!related)
			count_rules(w);
	}
	if (o->reason)
		count_drop(o);
	else
		count(COUNTER_FORWARDED);
	/* What is about a connection goes as that does. */
	if ((o->event || o->judged_again) && !related && audits())
		audit_packet(o->reason);
	if (o->service & SERVICE_RESET_ON && !reset_on(skb))
		o->reason = DROP_NONE;
	if (!o->reason && o->service & (SERVICE_REPLY | SERVICE_ERROR) && (o->service & SERVICE_REPLY ? from_backend(skb) : error_from_backend(skb))) {
		drop_unjudged(w, o->direction, DROP_INVALID_PACKET);
		return DROP_INVALID_PACKET;
	}
	return o->reason;
}

/* A routed hop: RFC 1812, 5.3.1 and RFC 8200, 3. The checksum follows (RFC 1624, 3). */
static __always_inline enum drop_reason decrement_ttl(struct __sk_buff *skb, const struct packet *p)
{
	struct ipv6hdr *ip6;
	struct iphdr *ip4;
	__u32 sum;

	if ((void *)(long)skb->data + ETH_HLEN + sizeof(*ip4) > (void *)(long)skb->data_end)
		bpf_skb_pull_data(skb, ETH_HLEN + sizeof(*ip4));
	ip4 = (void *)(long)skb->data + ETH_HLEN;
	ip6 = (void *)ip4;
	if ((void *)(ip4 + 1) > (void *)(long)skb->data_end)
		return DROP_INVALID_PACKET;
	if (!p->ipv4) {
		if (ip6->hop_limit <= 1)
			return DROP_TTL_EXCEEDED;
		ip6->hop_limit--;
		return DROP_NONE;
	}
	if (ip4->ttl <= 1)
		return DROP_TTL_EXCEEDED;
	sum = ip4->check + bpf_htons(0x0100);
	ip4->check = sum + (sum >= 0xffff);
	ip4->ttl--;
	return DROP_NONE;
}

/* Up the stack, to a socket of Envoy's: by a device of weir's own, so that no reverse path filter minds where the packet came in. */
__noinline int hand_to_proxy(struct __sk_buff *skb)
{
	struct proxy *proxy = proxy_row();
	struct work *w = this_work();
	__u32 ifindex;
	__u8 mac[6];

	if (!w)
		return TC_ACT_SHOT;
	if (!proxy)
		return drop_unjudged(w, w->observation.direction, DROP_SOCKET_LOOKUP_FAILED);
	ifindex = proxy->ifindex;
	mac_copy(mac, proxy->mac);
	skb->mark = proxy->to_proxy;
	return bpf_skb_store_bytes(skb, 0, mac, sizeof(mac), 0) ? TC_ACT_SHOT : (int)bpf_redirect(ifindex, BPF_F_INGRESS);
}

/* Straight into the workload's namespace: past the host's stack and past to_workload. */
static __always_inline int hand_to_workload(struct __sk_buff *skb, struct work *w, __u32 ifindex)
{
	struct endpoint *end = bpf_map_lookup_elem(&endpoints, &ifindex);
	enum drop_reason reason;
	struct ethhdr *eth;

	if (!end)
		return drop_unjudged(w, DIRECTION_INGRESS, DROP_EP_NOT_READY);
	reason = decrement_ttl(skb, &w->packet);
	if (reason)
		return drop_unjudged(w, DIRECTION_INGRESS, reason);
	eth = (void *)(long)skb->data;
	if ((void *)(eth + 1) > (void *)(long)skb->data_end)
		return drop_unjudged(w, DIRECTION_INGRESS, DROP_INVALID_PACKET);
	mac_copy(eth->h_dest, end->mac);
	mac_copy(eth->h_source, end->host_mac);
	return bpf_redirect_peer(ifindex, 0);
}

/* A packet that may pass goes to the workload at `ifindex`; an answer to a query that a rule named is read before. */
static __always_inline int hand_over(struct __sk_buff *skb, struct work *w, __u32 ifindex)
{
	if (!w->observation.dns)
		return hand_to_workload(skb, w, ifindex);
	bpf_tail_call(skb, &dns_programs, DNS_ANSWER);
	return drop_unjudged(w, DIRECTION_INGRESS, DROP_MISSED_TAIL_CALL);
}
