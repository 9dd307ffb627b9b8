/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Last step: judge the packet at both ends, tell of it, and hand it on. Every path to a workload comes through here. */
#pragma once
#include "conntrack.h"
#include "fragment.h"
#include "maps.h"
#include "nat.h"
#include "packet.h"
#include "record.h"
#include "work.h"

/* One judgement for both ends; writes the record that is due. */
static __noinline enum drop_reason judge_packet(struct __sk_buff *skb, struct work *w)
{
	struct observation *o = &w->observation;

	o->generation = current_generation();
	if (!w->packet.icmp_error || parse_inner(skb, &w->packet, &w->inner) || !conntrack_judge_related(w))
		conntrack_judge(w, skb->len);
	if (o->event)
		write_record(w);
	count(o->reason ? COUNTER_DROPPED : COUNTER_FORWARDED);
	return o->reason;
}

/* A routed hop: RFC 1812, 5.3.1 and RFC 8200, 3. */
static __always_inline enum drop_reason decrement_ttl(struct __sk_buff *skb, const struct packet *p)
{
	__u8 ttl;

	if (bpf_skb_load_bytes(skb, ETH_HLEN + (p->ipv4 ? 8 : 7), &ttl, 1))
		return DROP_INVALID_PACKET;
	if (ttl <= 1)
		return DROP_TTL_EXCEEDED;
	if (p->ipv4) {
		if (bpf_l3_csum_replace(skb, ETH_HLEN + 10, bpf_htons((__u16)ttl << 8), bpf_htons((__u16)(ttl - 1) << 8), 2))
			return DROP_INVALID_PACKET;
	}
	ttl--;
	return bpf_skb_store_bytes(skb, ETH_HLEN + (p->ipv4 ? 8 : 7), &ttl, 1, 0) ? DROP_INVALID_PACKET : DROP_NONE;
}

/* Straight into the workload's namespace: past the host's stack and past to_workload. */
static __always_inline int hand_to_workload(struct __sk_buff *skb, struct work *w, __u32 ifindex)
{
	struct endpoint *end = bpf_map_lookup_elem(&endpoints, &ifindex);
	enum drop_reason reason;

	if (!end)
		return drop_unjudged(w, DIRECTION_INGRESS, DROP_EP_NOT_READY);
	reason = decrement_ttl(skb, &w->packet);
	if (reason)
		return drop_unjudged(w, DIRECTION_INGRESS, reason);
	if (bpf_skb_store_bytes(skb, 0, end->mac, 6, 0) || bpf_skb_store_bytes(skb, 6, end->host_mac, 6, 0))
		return drop_unjudged(w, DIRECTION_INGRESS, DROP_INVALID_PACKET);
	return bpf_redirect_peer(ifindex, 0);
}
