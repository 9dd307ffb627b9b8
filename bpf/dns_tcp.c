/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Run by the proxy of DNS by TCP (agent/dns/proxy), on no packet: may this query be asked, and, of an answer, its addresses, before the client
 * gets it. By the same names, maps and records as dns.c, whoever else runs or not. The frame holds a struct dns_by_tcp, and behind it the
 * query, or an answer cut into pieces of what dns.c reads. Before 6.0 a packet may interrupt a test run and take its rows: so no proxy there. */
#include "lib/dns_learn.h"
#include "lib/dns_match.h"
#include "lib/dns_message.h"
#include "lib/proxy.h"

/* The connection that the proxy speaks of; 0: it has none there. */
static __always_inline struct ct_entry *proxied_connection(struct work *w, const struct dns_by_tcp *of)
{
	__u8 from = ct_key_between(&of->client, of->client_port, &of->server, of->server_port, IPPROTO_TCP, &w->ct_key);
	struct ct_entry *entry = bpf_map_lookup_elem(&conntrack, &w->ct_key);
	struct proxy *proxy = proxy_row();

	return entry && proxy && entry->origin == from && is_proxied(entry) && entry->proxy_port == proxy->dns_port ? entry : 0;
}

/* As dns_load, from behind struct dns_by_tcp. */
static __always_inline int load_message(struct __sk_buff *skb, struct dns_work *d)
{
	__u32 length = skb->len - SWEEP_FIRST - sizeof(struct dns_by_tcp);

	d->length = length;
	asm volatile("" : "+r"(length));
	if (length < DNS_SHORTEST || length > DNS_MESSAGE)
		return -1;
	return bpf_skb_load_bytes(skb, SWEEP_FIRST + sizeof(struct dns_by_tcp), d->message, length);
}

static __noinline int learn_piece(struct dns_work *d, const struct ct_entry *entry)
{
	const struct dns_head *head = (const struct dns_head *)d->message;
	__u32 answers = bpf_ntohs(head->answers), i;

	d->record.rcode = head->flags[1] & DNS_RCODE;
	for (i = 0; i < DNS_ANSWERS; i++) {
		if (i >= answers)
			break;
		if (dns_read_record())
			return DNS_SAID_NO;
	}
	for (i = 0; i < DNS_ANSWERS; i++) {
		if (i >= d->record.addresses)
			break;
		d->record.learned += dns_learn(i);
	}
	dns_tell(d, DNS_ANSWERED, entry);
	return DNS_SAID_YES;
}

/* enum dns_said. */
SEC("tc")
int dns_by_tcp(struct __sk_buff *skb)
{
	struct dns_control *control = dns_control();
	struct dns_work *d = dns_row();
	struct ct_entry *entry;
	struct endpoint *end;
	struct dns_by_tcp of;
	__be16 ether_type;
	struct work *w;
	__u32 ifindex;
	int answer;

	w = begin(skb, &ether_type);
	if (!w || !d || !control || skb->len < SWEEP_FIRST + sizeof(of) || bpf_skb_load_bytes(skb, SWEEP_FIRST, &of, sizeof(of)) || load_message(skb, d))
		return DNS_SAID_NO;
	entry = proxied_connection(w, &of);
	if (!entry)
		return DNS_SAID_GONE;
	ifindex = entry->origin ? entry->ifindex[1] : entry->ifindex[0];
	end = bpf_map_lookup_elem(&endpoints, &ifindex);
	if (!end)
		return DNS_SAID_GONE;
	answer = d->message[2] & DNS_QR;
	w->observation.generation = current_generation();
	w->packet.protocol = IPPROTO_TCP;
	w->packet.saddr = answer ? of.server : of.client;
	w->packet.daddr = answer ? of.client : of.server;
	w->packet.sport = answer ? of.server_port : of.client_port;
	w->packet.dport = answer ? of.client_port : of.server_port;
	dns_begin(d, w, end, ifindex);
	if (dns_read_question(d) || (!answer && !is_query(d))) {
		dns_count(DNS_COUNT_MALFORMED);
		return DNS_SAID_NO;
	}
	d->version = control->version;
	dns_match();
	if (answer) {
		d->record.latency_ns = of.latency_ns;
		return learn_piece(d, entry);
	}
	dns_count(DNS_COUNT_TCP);
	if (may_ask_here(w, end))
		return DNS_SAID_YES;
	dns_count(DNS_COUNT_REFUSED);
	d->record.rcode = DNS_RCODE_REFUSED;
	dns_tell(d, DNS_REFUSED, entry);
	return DNS_SAID_NO;
}
