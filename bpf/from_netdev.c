/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* tc ingress on the node's devices: what clients outside send to services, answers to masqueraded connections, and errors about them, go
 * to their workload, and so does what other nodes of the cluster send by plain routes. All else is not weir's:
 * TC_ACT_UNSPEC leaves it to the programs after this one, such as another agent's. */
#include "lib/deliver.h"
#include "lib/network.h"
#include "lib/service_reset.h"
#include "lib/nat_error.h"

/* Masquerading never took this port (or echo id). SCTP keeps any; a first fragment may have the name of one before, and errors quote another. */
static __always_inline int is_port_of_host(const struct packet *p)
{
	return !p->fragment && !p->icmp_error && p->protocol != IPPROTO_SCTP && bpf_ntohs(p->dport) < NAT_PORT_FIRST;
}

/* Clients in the cluster see what those outside do not. */
static __always_inline __u32 scope_of(const struct addr *client)
{
	struct ipcache_value *from = ipcache_lookup(client);

	return from && (from->ifindex || from->flags || identity_of(from, current_generation()) == IDENTITY_REMOTE_NODE) ? SCOPE_CLUSTER : SCOPE_EXTERNAL;
}

/* 1: it was for a service, and is for a backend now; or it is an error about what a service answered. */
static __noinline int for_service(struct __sk_buff *skb, struct work *w)
{
	struct packet *p = &w->packet;

	if (p->icmp_error)
		return parse_inner(skb, p, &w->inner) ? 0 : error_to_backend(skb);
	return to_backend(skb, scope_of(&p->saddr));
}

/* The node's own processes answer by to_netdev. */
static __always_inline void expect_answers(void)
{
	__u32 zero = 0, *on = bpf_map_lookup_elem(&node_backends, &zero);

	if (on && !*on)
		*on = 1;
}

/* What was for an address of this node is for `p->daddr` now. TC_ACT_OK: it is for the workload at `ifindex`, or (0) a process of the node or nobody here. */
static __always_inline int for_workload(struct work *w, __u32 *ifindex)
{
	struct ipcache_value *to = ipcache_lookup(&w->packet.daddr);
	struct observation *o = &w->observation;

	o->direction = DIRECTION_INGRESS;
	if (to && to->ifindex) {
		*ifindex = to->ifindex;
		o->ifindex = to->ifindex;
		o->point = TO_ENDPOINT;
		return TC_ACT_OK;
	}
	if (to && to->flags & IPCACHE_HOST && (o->service & SERVICE_TO_BACKEND || (w->packet.icmp_error && is_about_answer(w)))) {
		expect_answers();
		o->point = TO_HOST;
		return TC_ACT_OK;
	}
	if (o->service & SERVICE_TO_BACKEND)
		return to ? TC_ACT_OK : drop_unjudged(w, DIRECTION_INGRESS, DROP_NO_WORKLOAD_HERE);
	if (w->packet.icmp_error && to && to->flags & IPCACHE_REMOTE && is_about_answer(w)) {
		o->service |= SERVICE_ERROR_BACK;
		return TC_ACT_OK;
	}
	return is_for_client(w) ? TC_ACT_OK : drop_unjudged(w, DIRECTION_INGRESS, DROP_EP_NOT_READY);
}

/* For a service, or an answer to what was masqueraded, or an error about one of these. */
static __noinline int from_outside(struct __sk_buff *skb, struct work *w, __u32 *ifindex)
{
	struct packet *p = &w->packet;
	int ours;

	/* Without its first fragment nobody can tell whose it is: the host waits for that one in vain and drops it. */
	if (p->fragment == FRAGMENT_LATER && fragment_recall(w))
		return TC_ACT_UNSPEC;
	ours = for_service(skb, w);
	if (!ours) {
		if (is_port_of_host(p))
			return TC_ACT_UNSPEC;
		ours = from_masqueraded(skb);
	}
	if (!ours) {
		if (p->fragment == FRAGMENT_FIRST)
			fragment_forget(w);
		return TC_ACT_UNSPEC;
	}
	if (ours > 0)
		return for_workload(w, ifindex);
	drop_unjudged(w, DIRECTION_INGRESS, -ours);
	return refuse(skb, w, 0);
}

/* From a client, which another node has sent here as it is (DSR). */
static __always_inline int for_answer_here(struct __sk_buff *skb, struct work *w, __u32 ifindex)
{
	struct ipcache_value *from = ipcache_lookup(&w->packet.saddr);
	int taken;

	if (!from || from->ifindex || from->flags || overlay_ifindex())
		return TC_ACT_UNSPEC;
	w->observation.ifindex = ifindex;
	w->observation.direction = DIRECTION_INGRESS;
	w->observation.point = TO_ENDPOINT;
	taken = take_dsr(skb);
	return taken > 0 ? TC_ACT_OK : taken < 0 ? drop_unjudged(w, DIRECTION_INGRESS, -taken) : TC_ACT_UNSPEC;
}

SEC("tc")
int from_netdev(struct __sk_buff *skb)
{
	struct ipcache_value *to;
	__be16 ether_type;
	struct work *w = begin(skb, &ether_type);
	__u32 ifindex = 0;
	struct packet *p;
	int verdict;

	if (!w)
		return TC_ACT_UNSPEC;
	p = &w->packet;
	w->device = skb->ifindex;
	/* A tagged frame is for the VLAN device on top of this one. */
	if (is_tagged(skb, ether_type) || parse(skb, ether_type, p))
		return TC_ACT_UNSPEC;
	to = ipcache_lookup(&p->daddr);
	if (to && to->ifindex) {
		ifindex = to->ifindex;
		verdict = for_answer_here(skb, w, ifindex);
		if (verdict == TC_ACT_UNSPEC)
			verdict = from_network(w, ifindex);
	} else {
		verdict = from_outside(skb, w, &ifindex);
	}
	if (verdict != TC_ACT_OK)
		return verdict;
	if (judge_packet(skb, w))
		return refuse(skb, w, 0);
	if (w->to.proxy)
		return hand_to_proxy(skb);
	if (ifindex)
		return hand_over(skb, w, ifindex);
	if (w->observation.point == TO_HOST)
		return TC_ACT_UNSPEC;
	if (w->observation.service & SERVICE_ERROR_BACK)
		return forward_error(skb, w);
	return w->observation.service & SERVICE_TO_BACKEND ? forward_for_client(skb, w) : hand_to_network(skb, w);
}
