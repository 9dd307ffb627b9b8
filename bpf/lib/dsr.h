/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Direct server return: the backend's own node answers a client, from the frontend's address. The packet says which that is, in an IPv4
 * option or IPv6 destination option of the experimental numbers (RFC 4727), which the backend's node takes off again. It travels inside
 * a tunnel too: VXLAN has no place of its own for it, and there is one way then for both.
 * The first packet has to carry it, so a connection that begins with a fragment or a very long packet is masqueraded instead. */
#pragma once
#include "node.h"

#define DSR_OPTION4 0x9e	/* copied into fragments, experiment */
#define DSR_OPTION6 0x1e	/* skipped by who does not know it */

struct dsr4 { __u8 type, length; __be16 port; __be32 addr; };
struct dsr6 { __u8 next, units, type, length; __be16 port, addr[8]; __u8 pad[2]; };
struct iphdr_dsr { struct iphdr ip; struct dsr4 dsr; };

static __always_inline __sum16 folded(__s64 sum)
{
	sum = (sum & 0xffff) + (sum >> 16 & 0xffff);
	return ~(__u16)((sum & 0xffff) + (sum >> 16));
}

static __always_inline int give_dsr4(struct __sk_buff *skb, struct work *w)
{
	struct iphdr_dsr head = {};

	if (bpf_skb_load_bytes(skb, ETH_HLEN, &head.ip, sizeof(head.ip)) || head.ip.ihl != 5)
		return -1;
	head.dsr.type = DSR_OPTION4;
	head.dsr.length = sizeof(head.dsr);
	head.dsr.port = w->frontend_port;
	head.dsr.addr = w->frontend.word[3];
	head.ip.ihl = sizeof(head) / 4;
	head.ip.tot_len = bpf_htons(bpf_ntohs(head.ip.tot_len) + sizeof(head.dsr));
	head.ip.check = 0;
	head.ip.check = folded(bpf_csum_diff(0, 0, (__be32 *)&head, sizeof(head), 0));
	if (bpf_skb_adjust_room(skb, sizeof(head.dsr), BPF_ADJ_ROOM_NET, 0))
		return -1;
	w->packet.l4 += sizeof(head.dsr);
	return bpf_skb_store_bytes(skb, ETH_HLEN, &head, sizeof(head), 0);
}

static __always_inline int give_dsr6(struct __sk_buff *skb, struct work *w)
{
	struct dsr6 option = { .units = 2, .type = DSR_OPTION6, .length = 18, .port = w->frontend_port, .pad = { 1, 0 } };
	struct ipv6hdr ip;

	if (bpf_skb_load_bytes(skb, ETH_HLEN, &ip, sizeof(ip)))
		return -1;
	option.next = ip.nexthdr;
	__builtin_memcpy(option.addr, w->frontend.word, sizeof(option.addr));
	ip.nexthdr = IPPROTO_DSTOPTS;
	ip.payload_len = bpf_htons(bpf_ntohs(ip.payload_len) + sizeof(option));
	if (bpf_skb_adjust_room(skb, sizeof(option), BPF_ADJ_ROOM_NET, 0))
		return -1;
	w->packet.l4 += sizeof(option);
	if (bpf_skb_store_bytes(skb, ETH_HLEN, &ip, sizeof(ip), BPF_F_RECOMPUTE_CSUM))
		return -1;
	return bpf_skb_store_bytes(skb, ETH_HLEN + sizeof(ip), &option, sizeof(option), BPF_F_RECOMPUTE_CSUM);
}

/* TCP says it once; others wherever it fits, for their first packet may be lost. Less than 0: it could not be put in. */
__noinline int give_dsr(struct __sk_buff *skb)
{
	struct work *w = this_work();

	if (!w)
		return -1;
	if (w->packet.protocol == IPPROTO_TCP ? !is_opening(&w->packet) : !may_carry_dsr(w))
		return 0;
	return w->packet.ipv4 ? give_dsr4(skb, w) : give_dsr6(skb, w);
}

/* A frontend of another node, or one that this node has too: nothing else may answer under an address of its choice. */
static __always_inline int is_frontend(struct work *w)
{
	struct ipcache_value *node = ipcache_lookup(&w->frontend);

	if (node && identity_of(node, current_generation()) == IDENTITY_REMOTE_NODE)
		return 1;
	w->frontend_key.addr = w->frontend;
	w->frontend_key.port = w->frontend_port;
	w->frontend_key.protocol = w->packet.protocol;
	w->frontend_key.scope = SCOPE_EXTERNAL;
	return !!bpf_map_lookup_elem(&frontends, &w->frontend_key);
}

static __always_inline int take_dsr4(struct __sk_buff *skb, struct work *w)
{
	struct iphdr_dsr head;

	if (w->packet.l4 != ETH_HLEN + sizeof(head) || bpf_skb_load_bytes(skb, ETH_HLEN, &head, sizeof(head)) ||
	    head.dsr.type != DSR_OPTION4 || head.dsr.length != sizeof(head.dsr))
		return 0;
	addr_from_ipv4(&w->frontend, head.dsr.addr);
	w->frontend_port = head.dsr.port;
	if (!is_frontend(w))
		return -DROP_UNKNOWN_SENDER;
	head.ip.ihl = sizeof(head.ip) / 4;
	head.ip.tot_len = bpf_htons(bpf_ntohs(head.ip.tot_len) - sizeof(head.dsr));
	head.ip.check = 0;
	head.ip.check = folded(bpf_csum_diff(0, 0, (__be32 *)&head.ip, sizeof(head.ip), 0));
	if (bpf_skb_adjust_room(skb, -(__s32)sizeof(head.dsr), BPF_ADJ_ROOM_NET, 0) || bpf_skb_store_bytes(skb, ETH_HLEN, &head.ip, sizeof(head.ip), 0))
		return -DROP_INVALID_PACKET;
	w->packet.l4 -= sizeof(head.dsr);
	return 1;
}

static __always_inline int take_dsr6(struct __sk_buff *skb, struct work *w)
{
	struct dsr6 option, none = {};
	struct ipv6hdr ip;

	if (w->packet.l4 != ETH_HLEN + sizeof(ip) + sizeof(option) || bpf_skb_load_bytes(skb, ETH_HLEN, &ip, sizeof(ip)) ||
	    bpf_skb_load_bytes(skb, ETH_HLEN + sizeof(ip), &option, sizeof(option)) || ip.nexthdr != IPPROTO_DSTOPTS ||
	    option.units != 2 || option.type != DSR_OPTION6 || option.length != 18)
		return 0;
	__builtin_memcpy(w->frontend.word, option.addr, sizeof(option.addr));
	w->frontend_port = option.port;
	if (!is_frontend(w))
		return -DROP_UNKNOWN_SENDER;
	ip.nexthdr = option.next;
	ip.payload_len = bpf_htons(bpf_ntohs(ip.payload_len) - sizeof(option));
	/* Bytes that are taken away have to be nothing in a checksum that the device took over all. */
	if (bpf_skb_store_bytes(skb, ETH_HLEN + sizeof(ip), &none, sizeof(none), BPF_F_RECOMPUTE_CSUM) ||
	    bpf_skb_adjust_room(skb, -(__s32)sizeof(option), BPF_ADJ_ROOM_NET, 0) ||
	    bpf_skb_store_bytes(skb, ETH_HLEN, &ip, sizeof(ip), BPF_F_RECOMPUTE_CSUM))
		return -DROP_INVALID_PACKET;
	w->packet.l4 -= sizeof(option);
	return 1;
}

/* Whether this node answers the client: the packet says so, or an earlier one of its connection did. Else minus the reason. */
__noinline int take_dsr(struct __sk_buff *skb)
{
	struct work *w = this_work();
	struct ct_entry *entry;
	int taken;
	__u8 from;

	if (!w || w->packet.fragment)
		return 0;
	taken = w->packet.ipv4 ? take_dsr4(skb, w) : take_dsr6(skb, w);
	if (taken > 0)
		w->observation.service |= SERVICE_DSR;
	if (taken)
		return taken;
	from = ct_key_of(&w->packet, &w->ct_key);
	entry = bpf_map_lookup_elem(&conntrack, &w->ct_key);
	return entry && entry->service & CT_TRANSLATED && from == entry->origin;
}
