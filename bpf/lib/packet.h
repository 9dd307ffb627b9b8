/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* First step of every hook: an Ethernet frame becomes a `struct packet`, or a reason to drop it. */
#pragma once
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include "addr.h"
#include "types.h"

#define IPPROTO_ICMPV6_ 58
#define MAX_EXTENSION_HEADERS 6

enum icmp4 { ICMP4_ECHO_REPLY = 0, ICMP4_UNREACHABLE = 3, ICMP4_ECHO = 8, ICMP4_TIME_EXCEEDED = 11, ICMP4_PARAMETER = 12 };
enum icmp6 { ICMP6_UNREACHABLE = 1, ICMP6_PARAMETER = 4, ICMP6_ECHO = 128, ICMP6_ECHO_REPLY = 129, ICMP6_MLD_QUERY = 130,
	     ICMP6_MLD_DONE = 132, ICMP6_ROUTER_SOLICITATION = 133, ICMP6_ROUTER_ADVERTISEMENT = 134,
	     ICMP6_NEIGHBOUR_SOLICITATION = 135, ICMP6_NEIGHBOUR_ADVERTISEMENT = 136, ICMP6_REDIRECT = 137, ICMP6_MLD2_REPORT = 143 };

enum tcp_flag { TCP_FIN = 0x01, TCP_SYN = 0x02, TCP_RST = 0x04, TCP_ACK = 0x10 };

/* A later fragment has no transport header: what it holds is data. */
enum fragment { FRAGMENT_NONE = 0, FRAGMENT_FIRST = 1, FRAGMENT_LATER = 2 };

struct packet {
	struct addr saddr;
	struct addr daddr;
	__be32 fragment_id;	/* of a fragment */
	__be16 sport;		/* ICMP echo: the id; other ICMP: 0 */
	__be16 dport;
	__u16 l4;		/* offset of the transport header from the start of the frame */
	__u8 smac[6];
	__u8 dmac[6];
	__u8 ipv4;		/* 1: IPv4, 0: IPv6 */
	__u8 protocol;
	__u8 tcp_flags;
	__u8 icmp_type;
	__u8 icmp_code;
	__u8 icmp_error;	/* carries the header of the packet it is about */
	__u8 fragment;		/* enum fragment */
	__u8 pad[3];
} __attribute__((aligned(8)));

struct ports { __be16 source, destination; };
struct tcp_head { struct ports ports; __be32 seq, ack; __u8 offset, flags; __be16 window, checksum, urgent; };
struct icmp_head { __u8 type, code; __be16 checksum, id, sequence; };
struct fragment_head { __u8 next, reserved; __be16 offset; __be32 id; };

/* Where the transport header begins and where the IP packet ends, from the start of the frame: a short frame is padded behind that. */
struct span { __u32 l4, end; };

static __always_inline void addr_from_ipv6(struct addr *to, const struct in6_addr *from)
{
	to->word[0] = from->s6_addr32[0];
	to->word[1] = from->s6_addr32[1];
	to->word[2] = from->s6_addr32[2];
	to->word[3] = from->s6_addr32[3];
}

static __always_inline int addr_equal(const struct addr *a, const struct addr *b)
{
	return a->word[3] == b->word[3] && a->word[2] == b->word[2] && a->word[1] == b->word[1] && a->word[0] == b->word[0];
}

static __always_inline int addr_is_mapped(const struct addr *a)
{
	return !(a->word[0] | a->word[1]) && a->word[2] == bpf_htonl(0xffff);
}

/* MAC addresses stand on even offsets in every struct and frame. */
static __always_inline int mac_equal(const __u8 *a, const __u8 *b)
{
	const __u16 *x = (const __u16 *)a, *y = (const __u16 *)b;

	return x[0] == y[0] && x[1] == y[1] && x[2] == y[2];
}

static __always_inline void mac_copy(__u8 *to, const __u8 *from)
{
	__u16 *x = (__u16 *)to;
	const __u16 *y = (const __u16 *)from;

	x[0] = y[0];
	x[1] = y[1];
	x[2] = y[2];
}

/* A VLAN tag: taken off into the packet's metadata by the device or the stack, or still in the frame (IEEE 802.1Q, 802.1ad). */
static __always_inline int is_tagged(const struct __sk_buff *skb, __be16 ether_type)
{
	return skb->vlan_present || ether_type == bpf_htons(ETH_P_8021Q) || ether_type == bpf_htons(ETH_P_8021AD);
}

static __always_inline int has_ports(__u8 protocol)
{
	return protocol == IPPROTO_TCP || protocol == IPPROTO_UDP || protocol == IPPROTO_SCTP;
}

/* The key of the policy's intervals: what the packet asks for. */
static __always_inline __u32 policy_key(const struct packet *p)
{
	int icmp = p->protocol == IPPROTO_ICMP || p->protocol == IPPROTO_ICMPV6_;

	return (__u32)p->protocol << 16 | (icmp ? p->icmp_type : bpf_ntohs(p->dport));
}

static __always_inline enum drop_reason parse_icmp(struct __sk_buff *skb, __u32 l4, struct packet *p)
{
	struct icmp_head icmp;
	int echo;

	if (bpf_skb_load_bytes(skb, l4, &icmp, sizeof(icmp)))
		return DROP_CT_TRUNCATED_OR_INVALID_HEADER;
	p->icmp_type = icmp.type;
	p->icmp_code = icmp.code;
	if (p->protocol == IPPROTO_ICMP) {
		echo = icmp.type == ICMP4_ECHO || icmp.type == ICMP4_ECHO_REPLY;
		p->icmp_error = icmp.type == ICMP4_UNREACHABLE || icmp.type == ICMP4_TIME_EXCEEDED || icmp.type == ICMP4_PARAMETER;
	} else {
		echo = icmp.type == ICMP6_ECHO || icmp.type == ICMP6_ECHO_REPLY;
		p->icmp_error = icmp.type >= ICMP6_UNREACHABLE && icmp.type <= ICMP6_PARAMETER;
	}
	p->sport = echo ? icmp.id : 0;
	p->dport = echo ? icmp.id : 0;
	return DROP_NONE;
}

/* Transport header at `l4`. Protocols without ports keep 0 and are judged by protocol alone. */
static __always_inline enum drop_reason parse_l4(struct __sk_buff *skb, __u32 l4, struct packet *p)
{
	struct tcp_head tcp;
	struct ports ports;

	p->l4 = l4;
	switch (p->protocol) {
	case IPPROTO_TCP:
		if (bpf_skb_load_bytes(skb, l4, &tcp, sizeof(tcp)))
			return DROP_CT_TRUNCATED_OR_INVALID_HEADER;
		p->sport = tcp.ports.source;
		p->dport = tcp.ports.destination;
		p->tcp_flags = tcp.flags;
		return DROP_NONE;
	case IPPROTO_UDP:
	case IPPROTO_SCTP:
		if (bpf_skb_load_bytes(skb, l4, &ports, sizeof(ports)))
			return DROP_CT_TRUNCATED_OR_INVALID_HEADER;
		p->sport = ports.source;
		p->dport = ports.destination;
		return DROP_NONE;
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6_:
		return parse_icmp(skb, l4, p);
	}
	/* Without a header to read nothing else would notice that the IP header is cut. */
	return l4 > skb->len ? DROP_CT_TRUNCATED_OR_INVALID_HEADER : DROP_NONE;
}

/* Bytes of the transport header at p->l4. */
static __always_inline __u32 transport_length(struct __sk_buff *skb, const struct packet *p)
{
	__u8 words = 0;

	switch (p->protocol) {
	case IPPROTO_TCP:
		bpf_skb_load_bytes(skb, p->l4 + 12, &words, 1);
		words >>= 4;
		return words < 5 ? sizeof(struct tcp_head) : words * 4;
	case IPPROTO_SCTP:
		return 12;
	case IPPROTO_UDP:
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6_:
		return 8;
	}
	return 0;
}

/* Neighbour discovery and multicast listener reports are never judged by policy (RFC 4861, RFC 3810). */
static __always_inline int is_neighbour_discovery(const struct packet *p)
{
	return p->protocol == IPPROTO_ICMPV6_ &&
	       ((p->icmp_type >= ICMP6_ROUTER_SOLICITATION && p->icmp_type <= ICMP6_REDIRECT) ||
		(p->icmp_type >= ICMP6_MLD_QUERY && p->icmp_type <= ICMP6_MLD_DONE) || p->icmp_type == ICMP6_MLD2_REPORT);
}

static __always_inline enum drop_reason parse_ipv4(struct __sk_buff *skb, __u32 l3, struct packet *p, struct span *span)
{
	struct iphdr ip;

	if (bpf_skb_load_bytes(skb, l3, &ip, sizeof(ip)) || ip.version != 4 || ip.ihl < 5)
		return DROP_INVALID_PACKET;
	addr_from_ipv4(&p->saddr, ip.saddr);
	addr_from_ipv4(&p->daddr, ip.daddr);
	p->ipv4 = 1;
	p->protocol = ip.protocol;
	if (ip.protocol == IPPROTO_ICMPV6_)
		return DROP_INVALID_PACKET;
	p->fragment_id = ip.id;
	p->fragment = ip.frag_off & bpf_htons(0x1fff) ? FRAGMENT_LATER : ip.frag_off & bpf_htons(0x2000) ? FRAGMENT_FIRST : FRAGMENT_NONE;
	span->l4 = l3 + ip.ihl * 4;
	span->end = l3 + bpf_ntohs(ip.tot_len);
	return DROP_NONE;
}

/* RFC 8200: walks the extension headers to the transport header; behind the fragment header of a later fragment stands data. */
static __always_inline enum drop_reason parse_ipv6(struct __sk_buff *skb, __u32 l3, struct packet *p, struct span *span)
{
	struct { __u8 next, length; } extension;
	__u32 offset = l3 + sizeof(struct ipv6hdr);
	struct fragment_head fragment;
	struct ipv6hdr ip;
	int i, fragmented = 0;

	if (bpf_skb_load_bytes(skb, l3, &ip, sizeof(ip)) || ip.version != 6)
		return DROP_INVALID_PACKET;
	addr_from_ipv6(&p->saddr, &ip.saddr);
	addr_from_ipv6(&p->daddr, &ip.daddr);
	p->ipv4 = 0;
	p->protocol = ip.nexthdr;
	p->fragment = FRAGMENT_NONE;
	span->end = l3 + sizeof(ip) + bpf_ntohs(ip.payload_len);
	/* A mapped address on the wire would take the place of an IPv4 one in every table. */
	if (p->saddr.word[0] == 0 && p->saddr.word[1] == 0 && p->saddr.word[2] == bpf_htonl(0xffff))
		return DROP_INVALID_PACKET;
	if (p->daddr.word[0] == 0 && p->daddr.word[1] == 0 && p->daddr.word[2] == bpf_htonl(0xffff))
		return DROP_INVALID_PACKET;
#pragma unroll
	for (i = 0; i < MAX_EXTENSION_HEADERS; i++) {
		if (p->protocol == IPPROTO_FRAGMENT) {
			/* Pieces of pieces: nobody sends them, and the inner ones would hide what they are. */
			if (fragmented || bpf_skb_load_bytes(skb, offset, &fragment, sizeof(fragment)))
				return DROP_INVALID_IPV6_EXTENSION_HEADER;
			fragmented = 1;
			p->protocol = fragment.next;
			p->fragment_id = fragment.id;
			offset += sizeof(fragment);
			if (fragment.offset & bpf_htons(0xfff8)) {
				p->fragment = FRAGMENT_LATER;
				return DROP_NONE;
			}
			/* Offset 0 and no more to come is a whole packet (RFC 6946). */
			p->fragment = fragment.offset & bpf_htons(1) ? FRAGMENT_FIRST : FRAGMENT_NONE;
			continue;
		}
		if (p->protocol != IPPROTO_HOPOPTS && p->protocol != IPPROTO_ROUTING && p->protocol != IPPROTO_DSTOPTS)
			break;
		if (bpf_skb_load_bytes(skb, offset, &extension, sizeof(extension)))
			return DROP_INVALID_IPV6_EXTENSION_HEADER;
		p->protocol = extension.next;
		offset += (extension.length + 1) * 8;
	}
	if (p->protocol == IPPROTO_FRAGMENT || p->protocol == IPPROTO_HOPOPTS || p->protocol == IPPROTO_ROUTING ||
	    p->protocol == IPPROTO_DSTOPTS || p->protocol == IPPROTO_ICMP)
		return DROP_INVALID_IPV6_EXTENSION_HEADER;
	span->l4 = offset;
	return DROP_NONE;
}

/* The frames that nearly all are: TCP or UDP in a whole packet without options before it, headers in the linear part. 0: read it the long way. */
static __always_inline int parse_plain(struct __sk_buff *skb, __be16 ether_type, struct packet *p)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct tcp_head *head;

	if (ether_type == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = data + ETH_HLEN;

		head = (void *)(ip + 1);
		if ((void *)(&head->ack) > end || *(__u8 *)ip != 0x45 || ip->frag_off & bpf_htons(0x3fff))
			return 0;
		addr_from_ipv4(&p->saddr, ip->saddr);
		addr_from_ipv4(&p->daddr, ip->daddr);
		p->ipv4 = 1;
		p->protocol = ip->protocol;
	} else if (ether_type == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *ip = data + ETH_HLEN;

		/* Mapped and other addresses of ::/64 go the long way. */
		head = (void *)(ip + 1);
		if ((void *)(&head->ack) > end || *(__u8 *)ip >> 4 != 6 || !(ip->saddr.s6_addr32[0] | ip->saddr.s6_addr32[1]) ||
		    !(ip->daddr.s6_addr32[0] | ip->daddr.s6_addr32[1]))
			return 0;
		addr_from_ipv6(&p->saddr, &ip->saddr);
		addr_from_ipv6(&p->daddr, &ip->daddr);
		p->protocol = ip->nexthdr;
	} else {
		return 0;
	}
	if (p->protocol == IPPROTO_TCP) {
		if ((void *)(head + 1) > end)
			return 0;
		p->tcp_flags = head->flags;
	} else if (p->protocol != IPPROTO_UDP) {	/* whose header is as long as TCP's is before `ack` */
		return 0;
	}
	p->sport = head->ports.source;
	p->dport = head->ports.destination;
	p->l4 = (void *)head - data;
	return 1;
}

static __noinline enum drop_reason parse(struct __sk_buff *skb, __be16 ether_type, struct packet *p)
{
	struct span span = {};
	enum drop_reason reason;

	if (parse_plain(skb, ether_type, p))
		return DROP_NONE;
	if (ether_type == bpf_htons(ETH_P_IP))
		reason = parse_ipv4(skb, ETH_HLEN, p, &span);
	else if (ether_type == bpf_htons(ETH_P_IPV6))
		reason = parse_ipv6(skb, ETH_HLEN, p, &span);
	else
		return DROP_UNSUPPORTED_L3_PROTOCOL;
	if (reason || p->fragment == FRAGMENT_LATER)
		return reason;
	reason = parse_l4(skb, span.l4, p);
	if (reason || p->fragment != FRAGMENT_FIRST)
		return reason;
	/* The rest of the header in a later fragment would pass unread (RFC 1858, 3; RFC 7112, 5). */
	if (span.l4 + transport_length(skb, p) > span.end)
		return DROP_CT_TRUNCATED_OR_INVALID_HEADER;
	/* Nobody may send these in fragments (RFC 6980, 5), where what they claim could not be checked. */
	return is_neighbour_discovery(p) ? DROP_FORBIDDEN_ICMPV6_MESSAGE : DROP_NONE;
}

/* The packet that an ICMP error is about (RFC 792, RFC 4443): addresses and ports as that packet had them.
 * At least 8 bytes of its transport header are there, so TCP flags are not; a later fragment has none of it. */
static __noinline int parse_inner(struct __sk_buff *skb, const struct packet *outer, struct packet *inner)
{
	__u32 l3 = outer->l4 + sizeof(struct icmp_head), l4;
	struct icmp_head icmp;
	struct span span = {};
	struct ports ports;

	if ((outer->ipv4 ? parse_ipv4(skb, l3, inner, &span) : parse_ipv6(skb, l3, inner, &span)) || inner->fragment == FRAGMENT_LATER)
		return -1;
	l4 = span.l4;
	inner->l4 = l4;
	if (inner->protocol == IPPROTO_ICMP || inner->protocol == IPPROTO_ICMPV6_) {
		if (bpf_skb_load_bytes(skb, l4, &icmp, sizeof(icmp)))
			return -1;
		inner->icmp_type = icmp.type;
		inner->sport = icmp.id;
		inner->dport = icmp.id;
		return 0;
	}
	inner->sport = 0;
	inner->dport = 0;
	if (!has_ports(inner->protocol))
		return 0;
	if (bpf_skb_load_bytes(skb, l4, &ports, sizeof(ports)))
		return -1;
	inner->sport = ports.source;
	inner->dport = ports.destination;
	return 0;
}
