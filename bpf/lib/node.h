/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Between the nodes of a cluster: a packet goes under the workload's own address, by the host's routes or in VXLAN (RFC 7348) whose
 * VNI is the identity of its source. Each node judges the end that it has.
 * By plain routes the source address is taken from the network as it is: whoever sits on the network between the nodes can forge it. */
#pragma once
#include "deliver.h"

#define TUNNEL_TTL 64
#define FIRST_WORKLOAD_IDENTITY 256
#define LAST_WORKLOAD_IDENTITY 65535

/* The part of struct bpf_tunnel_key that every kernel from 5.10 on takes. */
struct tunnel_key { __u32 id; union { __u32 ipv4; __be32 ipv6[4]; } remote; __u8 tos, ttl; __u16 pad; __u32 label; };

/* A tunnel of a workload's own would leave under the node's address, and other nodes would believe it. */
static __always_inline int is_tunnel(const struct packet *p)
{
	__u32 key = 0;
	struct overlay *overlay = bpf_map_lookup_elem(&overlays, &key);

	return overlay && overlay->ifindex && p->protocol == IPPROTO_UDP && p->dport == overlay->port;
}

/* Others, those of address prefixes and of the node, are known to one node alone: they never travel. */
static __always_inline int is_workload_identity(__u32 identity)
{
	return identity >= FIRST_WORKLOAD_IDENTITY && identity <= LAST_WORKLOAD_IDENTITY;
}

/* The VNI is that of the packet's own connection; an ICMP error's own is asked for. */
static __noinline enum drop_reason set_tunnel(struct __sk_buff *skb, const struct work *w, const struct addr *node)
{
	struct tunnel_key key = { .id = w->from_identity, .ttl = TUNNEL_TTL };
	__u64 flags = BPF_F_ZERO_CSUM_TX;
	struct ipcache_value *from;

	if (!key.id) {
		from = ipcache_lookup(&w->packet.saddr);
		if (from)
			key.id = identity_of(from, w->observation.generation);
	}
	/* For clients of services, the node speaks for itself. */
	if (!is_workload_identity(key.id) && key.id != IDENTITY_REMOTE_NODE)
		return DROP_INVALID_IDENTITY;
	if (node->word[0] || node->word[1] || node->word[2] != bpf_htonl(0xffff)) {
		__builtin_memcpy(key.remote.ipv6, node->word, sizeof(key.remote.ipv6));
		flags = BPF_F_TUNINFO_IPV6;	/* UDP over IPv6 has a checksum (RFC 8200, 8.1) */
	} else {
		key.remote.ipv4 = bpf_ntohl(node->word[3]);
	}
	return bpf_skb_set_tunnel_key(skb, (void *)&key, sizeof(key), flags) ? DROP_NO_TUNNEL : DROP_NONE;
}

/* The host's own route for the packet: what bpf_fib_lookup says. */
static __always_inline long route_of(struct __sk_buff *skb, const struct packet *p, struct bpf_fib_lookup *fib)
{
	fib->ifindex = skb->ifindex;
	fib->family = p->ipv4 ? 2 : 10;	/* AF_INET, AF_INET6 */
	if (p->ipv4) {
		fib->ipv4_src = p->saddr.word[3];
		fib->ipv4_dst = p->daddr.word[3];
	} else {
		__builtin_memcpy(fib->ipv6_src, p->saddr.word, 16);
		__builtin_memcpy(fib->ipv6_dst, p->daddr.word, 16);
	}
	return bpf_fib_lookup(skb, fib, sizeof(*fib), 0);
}

/* To the next hop that route_of found, so that the route is not looked up again. The kernel's neighbour table has its MAC address. */
static __always_inline int redirect_to_hop(const struct bpf_fib_lookup *fib)
{
	struct bpf_redir_neigh hop = { .nh_family = fib->family };

	__builtin_memcpy(hop.ipv6_nh, fib->ipv6_dst, sizeof(hop.ipv6_nh));	/* IPv4: its first word */
	return bpf_redirect_neigh(fib->ifindex, &hop, sizeof(hop), 0);
}

/* Between devices of the node that do not forward by themselves the kernel gives no route (BPF_FIB_LKUP_RET_FWD_DISABLED): out where the
 * client came in, by whatever hop leads there. 0: for nobody outside. */
static __always_inline __u32 device_for_client(const struct work *w, long found)
{
	return found == BPF_FIB_LKUP_RET_FWD_DISABLED && w->observation.service & (SERVICE_TO_BACKEND | SERVICE_REPLY | SERVICE_ERROR) ? w->device : 0;
}

static __noinline int route_to_node(struct __sk_buff *skb, struct work *w)
{
	struct bpf_fib_lookup fib = {};
	enum drop_reason reason;
	long found = route_of(skb, &w->packet, &fib);
	__u32 device = device_for_client(w, found);

	if (!device && found != BPF_FIB_LKUP_RET_SUCCESS && found != BPF_FIB_LKUP_RET_NO_NEIGH)
		return found == BPF_FIB_LKUP_RET_NOT_FWDED ? TC_ACT_OK : drop_unjudged(w, DIRECTION_EGRESS, DROP_FIB_LOOKUP_FAILED);
	reason = decrement_ttl(skb, &w->packet);
	if (reason)
		return drop_unjudged(w, DIRECTION_EGRESS, reason);
	return device ? (int)bpf_redirect_neigh(device, 0, 0, 0) : redirect_to_hop(&fib);
}

/* Judged already as far as this node has a say. */
static __noinline int hand_to_node(struct __sk_buff *skb, struct work *w)
{
	__u32 device = overlay_ifindex();
	struct ipcache_value *to;
	enum drop_reason reason;
	struct addr node;

	if (!device)
		return route_to_node(skb, w);
	to = ipcache_lookup(&w->packet.daddr);
	if (!to)
		return drop_unjudged(w, DIRECTION_EGRESS, DROP_EP_NOT_READY);
	node = to->node;
	reason = decrement_ttl(skb, &w->packet);
	if (!reason)
		reason = set_tunnel(skb, w, &node);
	return reason ? drop_unjudged(w, DIRECTION_EGRESS, reason) : (int)bpf_redirect(device, 0);
}

/* Comes to a workload of this node, by its own address, from another node whose word for the source counts. */
static __always_inline enum drop_reason admit_from_node(struct work *w, __u32 ifindex)
{
	struct observation *o = &w->observation;

	o->ifindex = ifindex;
	o->direction = DIRECTION_INGRESS;
	o->point = TO_ENDPOINT;
	if (is_neighbour_discovery(&w->packet))
		return DROP_FORBIDDEN_ICMPV6_MESSAGE;
	return w->packet.fragment ? join_fragment(w) : DROP_NONE;
}

/* On a device of the node: what other nodes send by plain routes. What others send is left to the host, as all that is not weir's.
 * TC_ACT_OK: it is for the workload. */
static __noinline int from_network(struct work *w, __u32 ifindex)
{
	struct ipcache_value *from = ipcache_lookup(&w->packet.saddr);
	enum drop_reason reason = DROP_NONE;

	if (!from)
		return TC_ACT_UNSPEC;
	w->observation.ifindex = ifindex;
	if (from->ifindex)
		reason = DROP_INVALID_SOURCE_IP;
	else if (!(from->flags & IPCACHE_REMOTE))
		return TC_ACT_UNSPEC;
	else if (overlay_ifindex())	/* past the tunnel, where nobody vouches for the source */
		reason = DROP_UNKNOWN_SENDER;
	else
		reason = admit_from_node(w, ifindex);
	return reason ? drop_unjudged(w, DIRECTION_INGRESS, reason) : TC_ACT_OK;
}
