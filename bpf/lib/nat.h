/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Masquerading: what leaves the node carries the node's address. Ports come from a range of weir's own, above the host's
 * ephemeral ports. SCTP keeps its port (its checksum covers ports but no address: RFC 9260, 6.8).
 * A first fragment's transport checksum covers the whole datagram and follows every change; a later fragment has only its address changed.
 * Limits: datagrams of two workloads to one server may meet in one identification, as behind any NAT (RFC 6864, 5.3.1), and an answer's
 * later fragment that comes before its first stays with the host; an ICMP error that a workload itself sends outside
 * is refused like any protocol without ports (its peer runs into a timeout instead). Errors from outside: nat_error.h. */
#pragma once
#include "conntrack.h"
#include "fragment.h"
#include "maps.h"
#include "packet.h"
#include "work.h"

#define NAT_TRIES 16

static __always_inline int is_echo(const struct packet *p)
{
	if (p->protocol == IPPROTO_ICMP)
		return p->icmp_type == ICMP4_ECHO || p->icmp_type == ICMP4_ECHO_REPLY;
	return p->protocol == IPPROTO_ICMPV6_ && (p->icmp_type == ICMP6_ECHO || p->icmp_type == ICMP6_ECHO_REPLY);
}

/* Offset of the transport checksum from `l4`; flags for bpf_l4_csum_replace; 0 where an address change needs none. */
static __always_inline __u32 checksum_offset(__u8 protocol, __u64 *flags)
{
	*flags = BPF_F_PSEUDO_HDR;
	switch (protocol) {
	case IPPROTO_TCP:
		return 16;
	case IPPROTO_UDP:
		*flags |= BPF_F_MARK_MANGLED_0;
		return 6;
	case IPPROTO_ICMPV6_:
		return 2;
	}
	return 0;
}

/* Writes address `to` where `from` stands at the source (or destination) of the IP header. */
static __always_inline int rewrite_address(struct __sk_buff *skb, const struct packet *p, int source, const struct addr *from, const struct addr *to)
{
	__u64 flags = 0;
	__u32 checksum = p->fragment == FRAGMENT_LATER ? 0 : checksum_offset(p->protocol, &flags);
	__u32 offset;
	__s64 difference;

	if (p->ipv4) {
		offset = ETH_HLEN + (source ? 12 : 16);
		if (checksum && bpf_l4_csum_replace(skb, p->l4 + checksum, from->word[3], to->word[3], flags | 4))
			return -1;
		if (bpf_l3_csum_replace(skb, ETH_HLEN + 10, from->word[3], to->word[3], 4))
			return -1;
		return bpf_skb_store_bytes(skb, offset, &to->word[3], 4, 0);
	}
	offset = ETH_HLEN + (source ? 8 : 24);
	difference = bpf_csum_diff((__be32 *)from->word, 16, (__be32 *)to->word, 16, 0);
	if (checksum && bpf_l4_csum_replace(skb, p->l4 + checksum, 0, difference, flags))
		return -1;
	/* Without a checksum in the packet to balance it, one that the device took over all of it has to follow. */
	return bpf_skb_store_bytes(skb, offset, to->word, 16, checksum ? 0 : BPF_F_RECOMPUTE_CSUM);
}

/* Writes the port (ICMP echo: the id) of the source or destination. */
static __always_inline int rewrite_port(struct __sk_buff *skb, const struct packet *p, int source, __be16 from, __be16 to)
{
	__u32 offset, checksum;
	__u64 flags;

	if (from == to || p->fragment == FRAGMENT_LATER)
		return 0;
	checksum = checksum_offset(p->protocol, &flags);
	flags &= ~(__u64)BPF_F_PSEUDO_HDR;
	if (has_ports(p->protocol)) {
		offset = source ? 0 : 2;
	} else {
		offset = 4;
		checksum = 2;
	}
	if (bpf_l4_csum_replace(skb, p->l4 + checksum, from, to, flags | 2))
		return -1;
	return bpf_skb_store_bytes(skb, p->l4 + offset, &to, 2, 0);
}

static __always_inline int addr_is_zero(const struct addr *a)
{
	return !(a->word[0] | a->word[1] | a->word[2] | a->word[3]);
}

/* Frees the port of w->nat_back when the connection that had it is over: when its port is wanted before the sweeper came by. */
static __noinline int nat_release(struct work *w)
{
	struct nat_value *inside = bpf_map_lookup_elem(&nat, &w->nat_back);
	struct ct_entry *entry;

	if (!inside)
		return 1;
	w->nat_gone = w->nat_back;
	w->nat_gone.local = inside->addr;
	w->nat_gone.local_port = inside->port;
	w->nat_gone.direction = DIRECTION_EGRESS;
	ct_key_between(&w->nat_gone.local, w->nat_gone.local_port, &w->nat_gone.remote,
		       has_ports(w->nat_gone.protocol) ? w->nat_gone.remote_port : w->nat_gone.local_port, w->nat_gone.protocol, &w->ct_key);
	w->nat_gone.leg = inside->leg;
	w->ct_key.leg = inside->leg;
	entry = bpf_map_lookup_elem(&conntrack, &w->ct_key);
	if (entry && !ct_is_idle(entry, w->nat_gone.protocol, ticks()))
		return 0;
	bpf_map_delete_elem(&nat, &w->nat_gone);
	bpf_map_delete_elem(&nat, &w->nat_back);
	return 1;
}

/* Takes a free port for a new connection: the row back is written first, and only where none stands. */
static __always_inline int nat_open(struct work *w)
{
	__u32 start = bpf_get_prandom_u32();
	int i;

	w->nat_back = w->nat_key;
	w->nat_back.local = w->nat_value.addr;
	w->nat_back.direction = DIRECTION_INGRESS;
	w->nat_back.leg = 0;
	w->nat_inside.addr = w->nat_key.local;
	w->nat_inside.port = w->nat_key.local_port;
	w->nat_inside.leg = w->nat_key.leg;
	for (i = 0; i < NAT_TRIES; i++) {
		__u32 slot = (start + i * 277) % NAT_PORT_COUNT;

		w->nat_value.port = w->packet.protocol == IPPROTO_SCTP ? w->nat_key.local_port : bpf_htons(NAT_PORT_FIRST + slot);
		w->nat_back.local_port = w->nat_value.port;
		if (!bpf_map_update_elem(&nat, &w->nat_back, &w->nat_inside, BPF_NOEXIST) ||
		    (nat_release(w) && !bpf_map_update_elem(&nat, &w->nat_back, &w->nat_inside, BPF_NOEXIST)))
			return bpf_map_update_elem(&nat, &w->nat_key, &w->nat_value, BPF_ANY) ? -1 : 0;
	}
	return -1;
}

/* The port that this connection has, as long as the row back is its own: an agent's end or the sweeper may have taken
 * that alone, and then another connection may hold it. */
static __always_inline int nat_find(struct work *w)
{
	struct nat_value *known = bpf_map_lookup_elem(&nat, &w->nat_key), *inside;

	if (!known)
		return -1;
	w->nat_back = w->nat_key;
	w->nat_back.local = known->addr;
	w->nat_back.local_port = known->port;
	w->nat_back.direction = DIRECTION_INGRESS;
	w->nat_back.leg = 0;
	inside = bpf_map_lookup_elem(&nat, &w->nat_back);
	if (!inside || inside->leg != w->nat_key.leg || inside->port != w->nat_key.local_port || !addr_equal(&inside->addr, &w->nat_key.local))
		return -1;
	w->nat_value = *known;
	return 0;
}

static __always_inline void nat_key_of(const struct packet *p, enum direction direction, struct nat_key *key)
{
	__builtin_memset(key, 0, sizeof(*key));
	key->remote = direction == DIRECTION_EGRESS ? p->daddr : p->saddr;
	key->local = direction == DIRECTION_EGRESS ? p->saddr : p->daddr;
	key->remote_port = direction == DIRECTION_EGRESS ? p->dport : p->sport;
	key->local_port = direction == DIRECTION_EGRESS ? p->sport : p->dport;
	if (!has_ports(p->protocol))
		key->remote_port = 0;
	key->protocol = p->protocol;
	key->direction = direction;
}

/* Gives the packet the node's address of `device`. Global, so that the verifier walks it once. */
__noinline int masquerade(struct __sk_buff *skb, __u32 device)
{
	struct netdev *netdev = bpf_map_lookup_elem(&netdevs, &device);
	struct work *w = this_work();
	struct packet *p;

	if (!w)
		return DROP_INVALID_PACKET;
	if (!netdev)
		return DROP_NONE;
	p = &w->packet;
	__builtin_memset(&w->nat_value, 0, sizeof(w->nat_value));
	w->nat_value.addr = p->ipv4 ? netdev->ipv4 : netdev->ipv6;
	if (addr_is_zero(&w->nat_value.addr))
		return DROP_NO_MAPPING_FOR_NAT_MASQUERADE;
	if (!has_ports(p->protocol) && !is_echo(p))
		return DROP_UNSUPPORTED_PROTOCOL_FOR_NAT;
	nat_key_of(p, DIRECTION_EGRESS, &w->nat_key);
	w->nat_key.leg = w->ct_key.leg;
	if (nat_find(w) && nat_open(w))
		return DROP_NO_MAPPING_FOR_NAT_MASQUERADE;
	if (rewrite_address(skb, p, 1, &p->saddr, &w->nat_value.addr) || rewrite_port(skb, p, 1, p->sport, w->nat_value.port))
		return DROP_INVALID_PACKET;
	return DROP_NONE;
}

/* What comes back for a masqueraded connection gets the workload's address again: 1; 0: not weir's; else minus the reason. */
static __noinline int unmasquerade(struct __sk_buff *skb, struct work *w)
{
	struct packet *p = &w->packet;
	struct nat_value *value;

	nat_key_of(p, DIRECTION_INGRESS, &w->nat_key);
	value = bpf_map_lookup_elem(&nat, &w->nat_key);
	if (!value)
		return 0;
	if (p->fragment == FRAGMENT_FIRST)
		fragment_remember(w);	/* under its name on the wire */
	if (rewrite_address(skb, p, 0, &p->daddr, &value->addr) || rewrite_port(skb, p, 0, p->dport, value->port))
		return -DROP_INVALID_PACKET;
	p->daddr = value->addr;
	p->dport = value->port;
	w->observation.leg = value->leg;
	if (!has_ports(p->protocol))
		p->sport = value->port;
	return 1;
}
