/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* A TCP connection whose backend is gone, or that has no way through Envoy (any more): nobody could go on with it, so its client is told by a
 * reset (RFC 9293, 3.10.7.1) instead of waiting for its own timeouts. The packet that found out becomes the reset, and goes back where it came from. */
#pragma once
#include "dsr.h"

struct tcp_pseudo { __be32 source[4], destination[4]; __be16 zero, protocol, length, more; };

/* The packet ends behind a bare TCP header. `back`: addresses change places. */
static __always_inline int turn_ipv4(struct __sk_buff *skb, int back)
{
	struct iphdr ip;
	__be32 source;

	if (bpf_skb_load_bytes(skb, ETH_HLEN, &ip, sizeof(ip)) || ip.ihl != 5)
		return -1;
	if (back) {
		source = ip.saddr;
		ip.saddr = ip.daddr;
		ip.daddr = source;
	}
	ip.tot_len = bpf_htons(sizeof(ip) + sizeof(struct tcp_head));
	ip.ttl = 64;
	ip.check = 0;
	ip.check = folded(bpf_csum_diff(0, 0, (__be32 *)&ip, sizeof(ip), 0));
	return bpf_skb_store_bytes(skb, ETH_HLEN, &ip, sizeof(ip), 0);
}

static __always_inline int turn_ipv6(struct __sk_buff *skb, int back)
{
	struct in6_addr source;
	struct ipv6hdr ip;

	if (bpf_skb_load_bytes(skb, ETH_HLEN, &ip, sizeof(ip)) || ip.nexthdr != IPPROTO_TCP)
		return -1;
	if (back) {
		source = ip.saddr;
		ip.saddr = ip.daddr;
		ip.daddr = source;
	}
	ip.payload_len = bpf_htons(sizeof(struct tcp_head));
	ip.hop_limit = 64;
	return bpf_skb_store_bytes(skb, ETH_HLEN, &ip, sizeof(ip), 0);
}

/* `length`: of the segment before it was cut. The sum of addresses is the same both ways. Where a device still has to add the rest of a
 * checksum (CHECKSUM_PARTIAL), its field has the pseudo header alone: the second change is none there (inet_proto_csum_replace_by_diff). */
static __always_inline int store_reset(struct __sk_buff *skb, const struct packet *p, struct tcp_head *head, __u32 length)
{
	struct tcp_pseudo pseudo = { .protocol = bpf_htons(IPPROTO_TCP), .length = bpf_htons(sizeof(*head)) };
	__u32 at = p->l4 + 16;
	__be16 was;
	__s64 sum;

	head->flags |= TCP_RST;
	head->offset = sizeof(*head) / 4 << 4;
	/* Mapped, an IPv4 address is 0xffff more: nothing in this sum. */
	__builtin_memcpy(pseudo.source, p->saddr.word, sizeof(pseudo.source));
	__builtin_memcpy(pseudo.destination, p->daddr.word, sizeof(pseudo.destination));
	sum = bpf_csum_diff(0, 0, (__be32 *)&pseudo, sizeof(pseudo), 0);
	sum = bpf_csum_diff(0, 0, (__be32 *)head, sizeof(*head), sum);
	if (bpf_skb_store_bytes(skb, p->l4, head, 16, BPF_F_INVALIDATE_HASH) || bpf_skb_store_bytes(skb, at + 2, &head->urgent, 2, 0) ||
	    bpf_l4_csum_replace(skb, at, bpf_htons(length), bpf_htons(sizeof(*head)), BPF_F_PSEUDO_HDR | 2) || bpf_skb_load_bytes(skb, at, &was, sizeof(was)))
		return -1;
	return bpf_l4_csum_replace(skb, at, 0, (sum & 0xffff) + (sum >> 16 & 0xffff) + was, 0);
}

/* Its TCP header, and the packet cut behind that. */
static __always_inline int cut(struct __sk_buff *skb, const struct packet *p, struct tcp_head *asked)
{
	if (p->fragment || p->l4 != ETH_HLEN + (p->ipv4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr)) || bpf_skb_load_bytes(skb, p->l4, asked, sizeof(*asked)) ||
	    asked->flags & TCP_RST)
		return -1;
	return bpf_skb_change_tail(skb, p->l4 + sizeof(*asked), 0);
}

/* From whom it was sent to (the frontend, to a client of one) to its sender. What acknowledges nothing, a SYN, is acknowledged. 0: the
 * packet is the reset. */
__noinline int to_reset(struct __sk_buff *skb)
{
	__u32 length = skb->len;
	struct tcp_head asked, head = {};
	struct work *w = this_work();
	struct packet *p;
	__u8 mac[12];

	if (!w)
		return -1;
	p = &w->packet;
	if (w->observation.service & SERVICE_RESET && w->observation.service & SERVICE_TO_BACKEND &&
	    rewrite_destination(skb, w, &w->frontend, w->frontend_port))
		return -1;
	if (cut(skb, p, &asked))
		return -1;
	head.ports.source = p->dport;
	head.ports.destination = p->sport;
	if (asked.flags & TCP_ACK) {
		head.seq = asked.ack;
	} else if (asked.flags & TCP_SYN) {
		head.flags = TCP_ACK;
		head.ack = bpf_htonl(bpf_ntohl(asked.seq) + 1);
	} else {
		return -1;
	}
	if ((p->ipv4 ? turn_ipv4(skb, 1) : turn_ipv6(skb, 1)) || store_reset(skb, p, &head, length - p->l4))
		return -1;
	count(w->observation.service & SERVICE_RESET ? COUNTER_PROXY_RESETS : COUNTER_SERVICE_RESETS);
	mac_copy(mac, p->smac);
	mac_copy(mac + 6, p->dmac);
	return bpf_skb_store_bytes(skb, 0, mac, sizeof(mac), 0);
}

/* In place of what the other end sent. */
__noinline int reset_on(struct __sk_buff *skb)
{
	__u32 length = skb->len;
	struct tcp_head asked, head = {};
	struct work *w = this_work();
	struct packet *p;

	if (!w)
		return -1;
	p = &w->packet;
	if (cut(skb, p, &asked))
		return -1;
	head.ports = asked.ports;
	head.seq = asked.seq;
	head.ack = asked.ack;
	head.flags = asked.flags & TCP_ACK;
	if ((p->ipv4 ? turn_ipv4(skb, 0) : turn_ipv6(skb, 0)) || store_reset(skb, p, &head, length - p->l4))
		return -1;
	count(COUNTER_PROXY_RESETS);
	return 0;
}

/* What becomes of a packet that judge_packet or to_backend refused. `ifindex`: of the client's veth; 0: it is outside. */
static __always_inline int refuse(struct __sk_buff *skb, struct work *w, __u32 ifindex)
{
	if (!(w->observation.service & (SERVICE_VANISHED | SERVICE_RESET)) || to_reset(skb))
		return TC_ACT_SHOT;
	return ifindex ? bpf_redirect_peer(ifindex, 0) : bpf_redirect(skb->ifindex, 0);
}
