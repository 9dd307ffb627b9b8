/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* tc ingress on the VXLAN device: what other nodes send to this one's workloads. The VNI is the identity of the source, and it counts only
 * when the tunnel begins at the very node that has that address, and that node's own table says the same.
 * What a node sends for clients of services has the identity of nodes: under its own address (SNAT), or the client's (DSR). */
#include "lib/network.h"
#include "lib/service_reset.h"

/* Where the tunnel begins. */
static __always_inline int outer_source(struct __sk_buff *skb, struct tunnel_key *key, struct addr *outer)
{
	struct tunnel_key ipv6;

	if (bpf_skb_get_tunnel_key(skb, (void *)key, sizeof(*key), 0) == 0) {
		addr_from_ipv4(outer, bpf_htonl(key->remote.ipv4));
		return 0;
	}
	if (bpf_skb_get_tunnel_key(skb, (void *)&ipv6, sizeof(ipv6), BPF_F_TUNINFO_IPV6))
		return -1;
	key->id = ipv6.id;
	__builtin_memcpy(outer->word, ipv6.remote.ipv6, sizeof(outer->word));
	return 0;
}

/* w->source: where the tunnel begins. */
static __noinline enum drop_reason verify_node(struct __sk_buff *skb, struct work *w)
{
	struct ipcache_value *node = ipcache_lookup(&w->source), *from = ipcache_lookup(&w->packet.saddr);
	int taken;

	if (!node || !(node->flags & IPCACHE_NODE) || !from)
		return DROP_UNKNOWN_SENDER;
	if (from->flags & IPCACHE_NODE) {
		w->observation.service |= SERVICE_FROM_NODE;
		return addr_equal(&from->node, &w->source) ? DROP_NONE : DROP_UNKNOWN_SENDER;
	}
	if (from->ifindex || from->flags)
		return DROP_INVALID_SOURCE_IP;
	taken = take_dsr(skb);
	return taken > 0 ? DROP_NONE : taken < 0 ? -taken : DROP_UNKNOWN_SENDER;
}

/* An answer to a client of this node's. */
static __noinline enum drop_reason admit_for_client(struct __sk_buff *skb, struct work *w)
{
	int ours;

	if (w->packet.fragment == FRAGMENT_LATER && fragment_recall(w))
		return DROP_FRAGMENT_WITHOUT_FIRST;
	ours = from_masqueraded(skb);
	if (ours < 0)
		return -ours;
	if (!ours || !is_for_client(w))
		return DROP_NO_WORKLOAD_HERE;
	w->observation.direction = DIRECTION_INGRESS;
	return DROP_NONE;
}

/* Whether the source is what the packet says it is. An address that its node has not told of yet is nobody's. */
static __noinline enum drop_reason verify_sender(struct __sk_buff *skb, struct work *w)
{
	struct ipcache_value *from = ipcache_lookup(&w->packet.saddr);
	struct tunnel_key key = {};

	if (outer_source(skb, &key, &w->source))
		return DROP_TUNNEL_KEY;
	if (key.id == IDENTITY_REMOTE_NODE)
		return verify_node(skb, w);
	if (!from)
		return DROP_EP_NOT_READY;
	if (from->ifindex || from->flags & IPCACHE_HOST)
		return DROP_INVALID_SOURCE_IP;
	if (!(from->flags & IPCACHE_REMOTE) || !addr_equal(&from->node, &w->source))
		return DROP_UNKNOWN_SENDER;
	if (!is_workload_identity(key.id) || key.id != identity_of(from, current_generation()))
		return DROP_INVALID_IDENTITY;
	return DROP_NONE;
}

/* The opener of a connection that cannot go through Envoy, or not any more, is told where it is. */
static __noinline int refuse_node(struct __sk_buff *skb, struct work *w)
{
	struct ipcache_value *from = ipcache_lookup(&w->packet.saddr);
	struct addr node;

	if (!(w->observation.service & SERVICE_RESET) || !from)
		return TC_ACT_SHOT;
	node = from->node;
	w->from_identity = w->observation.is_reply ? w->connection.source_identity : w->connection.destination_identity;
	return to_reset(skb) || set_tunnel(skb, w, &node) ? TC_ACT_SHOT : (int)bpf_redirect(skb->ifindex, 0);
}

SEC("tc")
int from_overlay(struct __sk_buff *skb)
{
	enum drop_reason reason;
	struct ipcache_value *to;
	__be16 ether_type;
	struct work *w = begin(skb, &ether_type);
	__u32 ifindex;

	if (!w)
		return TC_ACT_SHOT;
	w->observation.ifindex = skb->ifindex;
	w->device = 0;
	reason = is_tagged(skb, ether_type) ? DROP_VLAN_FILTERED : parse(skb, ether_type, &w->packet);
	if (!reason)
		reason = verify_sender(skb, w);
	if (reason)
		return drop_unjudged(w, DIRECTION_INGRESS, reason);
	to = ipcache_lookup(&w->packet.daddr);
	if (!to || (!to->ifindex && !(to->flags & IPCACHE_HOST)))
		return drop_unjudged(w, DIRECTION_INGRESS, DROP_NO_WORKLOAD_HERE);
	/* The frame was addressed to nobody's MAC address in particular. */
	if (bpf_skb_change_type(skb, 0))	/* PACKET_HOST */
		return drop_unjudged(w, DIRECTION_INGRESS, DROP_INVALID_PACKET);
	ifindex = to->ifindex;
	reason = ifindex ? admit_from_node(w, ifindex) : admit_for_client(skb, w);
	if (reason)
		return drop_unjudged(w, DIRECTION_INGRESS, reason);
	if (judge_packet(skb, w))
		return refuse_node(skb, w);
	if (w->to.proxy)
		return hand_to_proxy(skb);
	return ifindex ? hand_over(skb, w, ifindex) : hand_to_network(skb, w);
}
