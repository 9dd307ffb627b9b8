/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* ICMP errors about masqueraded connections. A router or server quotes the packet as it left the node; on the way in the quote
 * becomes what the workload had sent, or the workload would not know its own connection (RFC 5508, 4.2; path MTU, RFC 1191). */
#pragma once
#include "nat.h"

/* Puts `difference` into the checksum at `at` of the quote, and what that changes into the error's own at `own`. */
static __always_inline int follow_in_quote(struct __sk_buff *skb, __u32 own, __u32 at, __s64 difference, __u64 flags)
{
	__be16 before, after;

	if (bpf_skb_load_bytes(skb, at, &before, 2) || bpf_l4_csum_replace(skb, at, 0, difference, flags) ||
	    bpf_skb_load_bytes(skb, at, &after, 2))
		return -1;
	return bpf_l4_csum_replace(skb, own, before, after, 2);
}

/* The source (or destination) of the quote becomes `inside`. Routers may cut a quote after 8 bytes of transport header (RFC 792), so its
 * checksum is only followed where it is there. */
static __always_inline int rewrite_quote(struct __sk_buff *skb, const struct packet *outer, const struct packet *inner, int source, const struct nat_value *inside)
{
	__u32 quote = outer->l4 + sizeof(struct icmp_head), own = outer->l4 + 2, at;
	__u32 from = source ? inner->sport : inner->dport, to = inside->port;
	const struct addr *was = source ? &inner->saddr : &inner->daddr;
	__s64 difference = bpf_csum_diff((__be32 *)was->word, 16, (__be32 *)inside->addr.word, 16, 0);
	__u64 flags;

	if (outer->ipv4) {
		if (follow_in_quote(skb, own, quote + 10, difference, 0) || bpf_skb_store_bytes(skb, quote + (source ? 12 : 16), &inside->addr.word[3], 4, 0))
			return -1;
	} else if (bpf_skb_store_bytes(skb, quote + (source ? 8 : 24), inside->addr.word, 16, 0)) {
		return -1;
	}
	if (bpf_l4_csum_replace(skb, own, 0, difference, 0) || bpf_l4_csum_replace(skb, own, from, to, 2) ||
	    bpf_skb_store_bytes(skb, inner->l4 + (!has_ports(inner->protocol) ? 4 : source ? 0 : 2), &inside->port, 2, 0))
		return -1;
	at = checksum_offset(inner->protocol, &flags);
	if (inner->protocol == IPPROTO_ICMP) {	/* without a pseudo header */
		at = 2;
		difference = 0;
	}
	if (!at || inner->l4 + at + 2 > skb->len)
		return 0;
	difference = bpf_csum_diff(&from, 4, &to, 4, difference);
	return follow_in_quote(skb, own, inner->l4 + at, difference, flags & BPF_F_MARK_MANGLED_0);
}

/* As unmasquerade, for the connection that the error is about: 1; 0: not weir's; else minus the reason. */
static __always_inline int unmasquerade_error(struct __sk_buff *skb, struct work *w)
{
	struct packet *p = &w->packet, *inner = &w->inner;
	struct nat_value *value;

	/* An error goes to the source of what it is about (RFC 1122, 3.2.2). */
	if (parse_inner(skb, p, inner) || !addr_equal(&p->daddr, &inner->saddr))
		return 0;
	if (!has_ports(inner->protocol) && !is_echo(inner))
		return 0;
	nat_key_of(inner, DIRECTION_EGRESS, &w->nat_key);
	w->nat_key.direction = DIRECTION_INGRESS;
	value = bpf_map_lookup_elem(&nat, &w->nat_key);
	if (!value)
		return 0;
	w->nat_inside = *value;
	if (rewrite_quote(skb, p, inner, 1, &w->nat_inside) || rewrite_address(skb, p, 0, &p->daddr, &w->nat_inside.addr))
		return -DROP_INVALID_PACKET;
	p->daddr = w->nat_inside.addr;
	inner->saddr = w->nat_inside.addr;
	inner->sport = w->nat_inside.port;
	return 1;
}

/* The other way: an error about what a masqueraded connection was answered, for the end that answered: under the node's address, and the quote is
 * what that end sent. Global, so that the verifier walks it once. */
__noinline int masquerade_error(struct __sk_buff *skb)
{
	struct work *w = this_work();
	struct packet *p, *inner;
	struct nat_value *value;

	if (!w)
		return DROP_INVALID_PACKET;
	p = &w->packet;
	inner = &w->inner;
	nat_key_of(inner, DIRECTION_INGRESS, &w->nat_key);
	w->nat_key.direction = DIRECTION_EGRESS;
	value = bpf_map_lookup_elem(&nat, &w->nat_key);
	if (!value)
		return DROP_NO_MAPPING_FOR_NAT_MASQUERADE;
	w->nat_inside = *value;
	if (rewrite_quote(skb, p, inner, 0, &w->nat_inside) || rewrite_address(skb, p, 1, &p->saddr, &w->nat_inside.addr))
		return DROP_INVALID_PACKET;
	p->saddr = w->nat_inside.addr;
	inner->daddr = w->nat_inside.addr;
	inner->dport = w->nat_inside.port;
	return DROP_NONE;
}

/* What comes from outside for this node's address: an answer to what was masqueraded, or an error about it. As unmasquerade.
 * Global, so that the verifier walks it once. */
__noinline int from_masqueraded(struct __sk_buff *skb)
{
	struct work *w = this_work();

	if (!w)
		return 0;
	if (w->packet.icmp_error)
		return unmasquerade_error(skb, w);
	return has_ports(w->packet.protocol) || is_echo(&w->packet) ? unmasquerade(skb, w) : 0;
}
