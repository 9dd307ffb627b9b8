/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* XDP on the node's devices: connections of clients outside whose backend is on another node, by plain routes, once from_netdev has opened,
 * judged and translated them: looked up, rewritten and sent on before there is an skb. It opens nothing. Whatever is not established, is to be
 * told of, judged again, closed or tunnelled, and all else, goes on to from_netdev (XDP_PASS), untouched. */
#include "lib/network.h"

#define UDP_HEADER 8

/* With the addresses in w->source and w->destination. */
struct xdp_ports { __be16 from, to; };

/* TCP that carries on, UDP; whole, without options. 0: not for here. */
static __always_inline int parse_xdp(void *data, void *end, struct packet *p)
{
	struct ethhdr *eth = data;
	struct tcp_head *head;

	__builtin_memset(p, 0, sizeof(*p));
	if ((void *)(eth + 1) > end)
		return 0;
	if (eth->h_proto == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = (void *)(eth + 1);

		head = (void *)(ip + 1);
		if ((void *)head > end || *(__u8 *)ip != 0x45 || ip->frag_off & bpf_htons(0x3fff) || ip->ttl <= 1)
			return 0;
		addr_from_ipv4(&p->saddr, ip->saddr);
		addr_from_ipv4(&p->daddr, ip->daddr);
		p->ipv4 = 1;
		p->protocol = ip->protocol;
	} else if (eth->h_proto == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *ip = (void *)(eth + 1);

		head = (void *)(ip + 1);
		if ((void *)head > end || ip->version != 6 || ip->hop_limit <= 1)
			return 0;
		addr_from_ipv6(&p->saddr, &ip->saddr);
		addr_from_ipv6(&p->daddr, &ip->daddr);
		p->protocol = ip->nexthdr;
		if (addr_is_mapped(&p->saddr) || addr_is_mapped(&p->daddr))
			return 0;
	} else {
		return 0;
	}
	p->l4 = (void *)head - data;
	if (p->protocol == IPPROTO_TCP) {
		if ((void *)(head + 1) > end || head->flags & (TCP_SYN | TCP_FIN | TCP_RST))
			return 0;
		p->tcp_flags = head->flags;
	} else if (p->protocol == IPPROTO_UDP) {
		if ((void *)head + UDP_HEADER > end)
			return 0;
	} else {
		return 0;
	}
	p->sport = head->ports.source;
	p->dport = head->ports.destination;
	return 1;
}

/* The connection of w->packet, when it may go on unseen: established, judged as of now, and no record is due. */
static __always_inline struct ct_entry *settled(struct work *w)
{
	__u8 from = ct_key_of(&w->packet, &w->ct_key);
	struct ct_entry *entry = bpf_map_lookup_elem(&conntrack, &w->ct_key);
	__u32 now = ticks();

	if (!entry || entry->state != CT_ESTABLISHED || entry->reason || entry->generation != current_generation() ||
	    !(entry->service & CT_TRANSLATED) || entry->service & CT_HAIRPIN || ct_is_idle(entry, w->packet.protocol, now) ||
	    (__s32)(now - entry->recorded) > (__s32)RECORD_INTERVAL)
		return 0;
	w->observation.is_reply = from != entry->origin;
	return entry;
}

static __always_inline int is_on_other_node(const struct addr *addr)
{
	struct ipcache_value *at = ipcache_lookup(addr);

	return at && at->flags & IPCACHE_REMOTE;
}

/* From a client: the backend into w->destination, the address that the connection has there into w->source. */
static __always_inline struct ct_entry *client_to_backend(struct work *w, struct xdp_ports *ports)
{
	struct packet *p = &w->packet;
	struct translation *to;
	struct backend *backend;
	struct ct_entry *entry;

	translation_key_of(p, &w->translation_key);
	to = bpf_map_lookup_elem(&translations, &w->translation_key);
	if (!to)
		return 0;
	backend = backend_lookup(to->backend);
	if (!backend || backend->port != to->port || !addr_equal(&backend->addr, &to->addr) || !is_on_other_node(&to->addr))
		return 0;
	w->destination = to->addr;
	ports->to = to->port;
	p->daddr = to->addr;
	p->dport = to->port;
	entry = settled(w);
	if (!entry || w->observation.is_reply)
		return 0;
	w->source = p->saddr;
	ports->from = p->sport;
	if (entry->service & CT_ONE_WAY)	/* others than TCP carry the option */
		return p->protocol == IPPROTO_TCP ? entry : 0;
	nat_key_of(p, DIRECTION_EGRESS, &w->nat_key);
	if (nat_find(w))
		return 0;
	w->source = w->nat_value.addr;
	ports->from = w->nat_value.port;
	return entry;
}

/* From a backend to this node's address: the client into w->destination, the frontend into w->source. */
static __always_inline struct ct_entry *backend_to_client(struct work *w, struct xdp_ports *ports)
{
	struct packet *p = &w->packet;
	struct nat_value *inside;
	struct ct_entry *entry;

	if (bpf_ntohs(p->dport) < NAT_PORT_FIRST)
		return 0;
	nat_key_of(p, DIRECTION_INGRESS, &w->nat_key);
	inside = bpf_map_lookup_elem(&nat, &w->nat_key);
	if (!inside)
		return 0;
	w->destination = inside->addr;
	ports->to = inside->port;
	p->daddr = inside->addr;
	p->dport = inside->port;
	entry = settled(w);
	if (!entry || !w->observation.is_reply)
		return 0;
	w->source = entry->frontend;
	ports->from = entry->frontend_port;
	return entry;
}

static __always_inline void replace16(__sum16 *sum, __be16 from, __be16 to)
{
	__u32 next = (__u16)~*sum + (__u16)~from + to;

	next = (next & 0xffff) + (next >> 16);
	*sum = ~(__u16)((next & 0xffff) + (next >> 16));
}

static __always_inline __sum16 with_difference(__sum16 sum, __s64 difference)
{
	__u64 next = (__u16)~sum + (__u32)difference;

	next = (next & 0xffff) + (next >> 16);
	next = (next & 0xffff) + (next >> 16);
	return ~(__u16)((next & 0xffff) + (next >> 16));
}

/* A routed hop under other addresses (RFC 1624). `was`: as the packet came. 0: done. */
static __always_inline int rewrite_xdp(struct xdp_md *ctx, struct work *w, const struct xdp_ports *was, const struct xdp_ports *ports, const struct bpf_fib_lookup *fib)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	__s64 difference;
	struct tcp_head *head;
	__sum16 *sum;

	if (w->packet.ipv4) {
		struct iphdr *ip = (void *)(eth + 1);
		__be32 before[2], after[2] = { w->source.word[3], w->destination.word[3] };

		head = (void *)(ip + 1);
		if ((void *)head + UDP_HEADER > end || (w->packet.protocol == IPPROTO_TCP && (void *)(head + 1) > end))
			return -1;
		before[0] = ip->saddr;
		before[1] = ip->daddr;
		difference = bpf_csum_diff(before, sizeof(before), after, sizeof(after), 0);
		ip->saddr = after[0];
		ip->daddr = after[1];
		ip->check = with_difference(ip->check, difference);
		replace16(&ip->check, bpf_htons(ip->ttl << 8 | ip->protocol), bpf_htons((ip->ttl - 1) << 8 | ip->protocol));
		ip->ttl--;
	} else {
		struct ipv6hdr *ip = (void *)(eth + 1);

		head = (void *)(ip + 1);
		if ((void *)head + UDP_HEADER > end || (w->packet.protocol == IPPROTO_TCP && (void *)(head + 1) > end))
			return -1;
		difference = bpf_csum_diff(ip->saddr.s6_addr32, 16, w->source.word, 16, 0);
		difference = bpf_csum_diff(ip->daddr.s6_addr32, 16, w->destination.word, 16, difference);
		__builtin_memcpy(&ip->saddr, w->source.word, 16);
		__builtin_memcpy(&ip->daddr, w->destination.word, 16);
		ip->hop_limit--;
	}
	if (w->packet.protocol == IPPROTO_TCP) {
		if ((void *)(head + 1) > end)
			return -1;
		sum = &head->checksum;
	} else {
		if ((void *)head + UDP_HEADER > end)
			return -1;
		sum = (void *)head + 6;
	}
	if (w->packet.protocol == IPPROTO_TCP || *sum) {
		*sum = with_difference(*sum, difference);
		replace16(sum, was->from, ports->from);
		replace16(sum, was->to, ports->to);
		if (w->packet.protocol == IPPROTO_UDP && !*sum)
			*sum = 0xffff;
	}
	head->ports.source = ports->from;
	head->ports.destination = ports->to;
	mac_copy(eth->h_source, fib->smac);
	mac_copy(eth->h_dest, fib->dmac);
	return 0;
}

/* The next hop, when the kernel knows it whole. */
static __always_inline int hop_of(struct xdp_md *ctx, struct work *w, struct bpf_fib_lookup *fib)
{
	fib->ifindex = ctx->ingress_ifindex;
	fib->family = w->packet.ipv4 ? 2 : 10;	/* AF_INET, AF_INET6 */
	fib->tot_len = ctx->data_end - ctx->data - ETH_HLEN;
	if (w->packet.ipv4) {
		fib->ipv4_src = w->source.word[3];
		fib->ipv4_dst = w->destination.word[3];
	} else {
		__builtin_memcpy(fib->ipv6_src, w->source.word, 16);
		__builtin_memcpy(fib->ipv6_dst, w->destination.word, 16);
	}
	return bpf_fib_lookup(ctx, fib, sizeof(*fib), 0) == BPF_FIB_LKUP_RET_SUCCESS;
}

static __always_inline int forward_xdp(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct work *w = this_work();
	struct bpf_fib_lookup fib = {};
	struct xdp_ports was, ports;
	struct ct_entry *entry;

	if (!w || !parse_xdp(data, end, &w->packet) || overlay_ifindex())
		return XDP_PASS;
	was.from = w->packet.sport;
	was.to = w->packet.dport;
	entry = client_to_backend(w, &ports);
	if (!entry) {
		/* As it came. */
		if (!parse_xdp(data, end, &w->packet))
			return XDP_PASS;
		entry = backend_to_client(w, &ports);
	}
	if (!entry || !hop_of(ctx, w, &fib) || rewrite_xdp(ctx, w, &was, &ports, &fib))
		return XDP_PASS;
	entry->seen = ticks();
	__sync_fetch_and_add(&entry->packets, 1);
	__sync_fetch_and_add(&entry->bytes, end - data);
	count(COUNTER_FORWARDED);
	return fib.ifindex == ctx->ingress_ifindex ? XDP_TX : (int)bpf_redirect(fib.ifindex, 0);
}

SEC("xdp")
int xdp_netdev(struct xdp_md *ctx)
{
	return forward_xdp(ctx);
}
