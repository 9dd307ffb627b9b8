/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* tc ingress on the node's devices: answers to masqueraded connections, and errors about them, go to their workload, and so does what other
 * nodes of the cluster send by plain routes. All else is not weir's:
 * TC_ACT_UNSPEC leaves it to the programs after this one, such as another agent's. */
#include "lib/deliver.h"
#include "lib/node.h"
#include "lib/nat_error.h"

/* Masquerading never took this port (or echo id). SCTP keeps any; a first fragment may have the name of one before, and errors quote another. */
static __always_inline int is_port_of_host(const struct packet *p)
{
	return !p->fragment && !p->icmp_error && p->protocol != IPPROTO_SCTP && bpf_ntohs(p->dport) < NAT_PORT_FIRST;
}

/* An answer to what was masqueraded, or an error about it. TC_ACT_OK: it is for the workload at `ifindex`. */
static __noinline int from_outside(struct __sk_buff *skb, struct work *w, __u32 *ifindex)
{
	struct packet *p = &w->packet;
	struct ipcache_value *to;
	int ours;

	if (is_port_of_host(p))
		return TC_ACT_UNSPEC;
	/* Without its first fragment nobody can tell whose it is: the host waits for that one in vain and drops it. */
	if (p->fragment == FRAGMENT_LATER && fragment_recall(w))
		return TC_ACT_UNSPEC;
	ours = p->icmp_error ? unmasquerade_error(skb, w) : has_ports(p->protocol) || is_echo(p) ? unmasquerade(skb, w) : 0;
	if (!ours) {
		if (p->fragment == FRAGMENT_FIRST)
			fragment_forget(w);
		return TC_ACT_UNSPEC;
	}
	if (ours < 0)
		return drop_unjudged(w, DIRECTION_INGRESS, DROP_INVALID_PACKET);
	to = ipcache_lookup(&p->daddr);
	if (!to || !to->ifindex)
		return drop_unjudged(w, DIRECTION_INGRESS, DROP_EP_NOT_READY);
	*ifindex = to->ifindex;
	w->observation.ifindex = *ifindex;
	w->observation.direction = DIRECTION_INGRESS;
	w->observation.point = TO_ENDPOINT;
	return TC_ACT_OK;
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
	/* A tagged frame is for the VLAN device on top of this one. */
	if (is_tagged(skb, ether_type) || parse(skb, ether_type, p))
		return TC_ACT_UNSPEC;
	to = ipcache_lookup(&p->daddr);
	if (to && to->ifindex) {
		ifindex = to->ifindex;
		verdict = from_network(w, ifindex);
	} else {
		verdict = from_outside(skb, w, &ifindex);
	}
	if (verdict != TC_ACT_OK)
		return verdict;
	return judge_packet(skb, w) ? TC_ACT_SHOT : hand_over(skb, w, ifindex);
}
