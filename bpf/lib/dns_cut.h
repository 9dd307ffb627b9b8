/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* An answer that the programs cannot read becomes one that is cut short (RFC 2181, 9): its question alone, TC set. The client asks again by
 * TCP, where there is a proxy that reads all of it. Of a fragmented one the first piece becomes the whole; those that follow are dropped. */
#pragma once
#include "dns_message.h"
#include "work.h"

#define DNS_QUESTION (DNS_HEAD + DNS_LONGEST + 4)	/* header and question, at most */

static __always_inline __u16 cut_sum(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (sum & 0xffff) + (sum >> 16);
}

/* The IP header says how long it is now, and that it is no piece. An IPv6 piece becomes an atomic fragment (RFC 6946). */
static __always_inline int shorten_ip(struct __sk_buff *skb, const struct packet *p, __u32 payload)
{
	struct fragment_head fragment;
	__be16 length, before[3];	/* tot_len, id, frag_off */

	if (!p->ipv4) {
		length = bpf_htons(p->l4 - ETH_HLEN - sizeof(struct ipv6hdr) + payload);
		if (bpf_skb_store_bytes(skb, ETH_HLEN + 4, &length, sizeof(length), 0))
			return -1;
		if (!p->fragment)
			return 0;
		if (bpf_skb_load_bytes(skb, p->l4 - sizeof(fragment), &fragment, sizeof(fragment)) || fragment.next != IPPROTO_UDP ||
		    fragment.id != p->fragment_id || fragment.offset != bpf_htons(1))
			return -1;	/* other headers stand between */
		fragment.offset = 0;
		return bpf_skb_store_bytes(skb, p->l4 - sizeof(fragment), &fragment, sizeof(fragment), 0);
	}
	if (bpf_skb_load_bytes(skb, ETH_HLEN + 2, before, sizeof(before)))
		return -1;
	length = bpf_htons(p->l4 - ETH_HLEN + payload);
	if (bpf_l3_csum_replace(skb, ETH_HLEN + 10, before[0], length, sizeof(length)) || bpf_l3_csum_replace(skb, ETH_HLEN + 10, before[2], 0, sizeof(length)))
		return -1;
	before[0] = length;
	before[2] = 0;
	return bpf_skb_store_bytes(skb, ETH_HLEN + 2, before, sizeof(before), 0);
}

/* Of the message in this row, whose question has been read. Returns 0, or -1: it cannot be done. */
__noinline int dns_cut(struct __sk_buff *skb)
{
	struct { struct ports ports; __be16 length, checksum; } udp = {};
	struct work *w = this_work();
	struct dns_work *d = dns_row();
	__u32 size, payload, l4;
	__u64 sum;

	if (!w || !d)
		return -1;
	size = d->at;
	if (size > DNS_QUESTION)
		return -1;
	/* clang drops what it can prove needless, and before 5.12 the verifier has forgotten why. */
	asm volatile("" : "+r"(size));
	size &= 511;
	if (size < DNS_SHORTEST)
		return -1;
	l4 = w->packet.l4;
	payload = sizeof(udp) + size;
	d->message[2] |= DNS_TC;
	__builtin_memset(&d->message[6], 0, 6);	/* answers, authorities, additions */
	__builtin_memset(&d->message[size], 0, 4);
	udp.ports.source = w->packet.sport;
	udp.ports.destination = w->packet.dport;
	udp.length = bpf_htons(payload);
	/* The words in front of an IPv4 address add up to nothing. */
	sum = bpf_csum_diff(0, 0, (__be32 *)&w->packet.saddr, 2 * sizeof(struct addr), 0);
	sum = bpf_csum_diff(0, 0, (__be32 *)&udp, sizeof(udp), sum);
	sum = bpf_csum_diff(0, 0, (__be32 *)d->message, (size + 3) & 508, sum);
	udp.checksum = ~cut_sum((sum & 0xffffffff) + bpf_htons(IPPROTO_UDP) + udp.length);
	if (!udp.checksum)
		udp.checksum = 0xffff;
	if (bpf_skb_change_tail(skb, l4 + payload, 0) || bpf_skb_store_bytes(skb, l4, &udp, sizeof(udp), 0) ||
	    bpf_skb_store_bytes(skb, l4 + sizeof(udp), d->message, size, 0))
		return -1;
	return shorten_ip(skb, &w->packet, payload);
}
