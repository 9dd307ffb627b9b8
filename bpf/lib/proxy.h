/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Connections that go through Envoy: the port that a judgement leads to, and which of a connection's two legs a packet is of
 * (proxy_types.h). The first leg is judged at both ends, and goes to Envoy where the first of them says so; the second at the end that
 * has not been yet. */
#pragma once
#include "ct_row.h"
#include "maps.h"
#include "packet.h"
#include "verdict.h"
#include "work.h"

static __always_inline int is_proxied(const struct ct_entry *entry)
{
	return entry->flags & CT_SERVICE && entry->service & CT_PROXIED;
}

/* DNS by TCP goes through a proxy, as UDP does through dns.c. */
static __always_inline int is_dns_by_tcp(const struct judgement *egress, __u32 key)
{
	return egress->action == ACTION_DNS && key >> 16 == IPPROTO_TCP;
}

static __always_inline int somebody_listens(__u32 port, int ipv4)
{
	struct proxy_listener key = { .port = port, .family = ipv4 ? 2 : 10 };	/* AF_INET, AF_INET6 */
	struct bpf_sock *socket = bpf_map_lookup_elem(&proxy_listeners, &key);

	if (!socket)
		return 0;
	bpf_sk_release(socket);
	return 1;
}

/* Envoy cannot accept both legs of two connections, as the second ends at a rule of the destination's, under the same ports. */
static __always_inline int port_is_taken(struct work *w)
{
	struct ct_entry *first;

	if (!w->ct_key.leg)
		return 0;
	w->ct_key.leg = 0;
	first = bpf_map_lookup_elem(&conntrack, &w->ct_key);
	w->ct_key.leg = 1;
	return first && is_proxied(first) && !ct_is_idle(first, IPPROTO_TCP, ticks());
}

/* The port of Envoy for w->connection, whose L7 rules are of one of its judgements; egress comes first. Else why it is refused: what cannot be
 * enforced does not pass. Envoy has no way to the node's own processes under another's address: what they answer would not come back. */
static __noinline enum drop_reason proxy_port_of(struct work *w, __u32 key)
{
	struct connection *c = &w->connection;
	int dns = is_dns_by_tcp(&c->egress, key), egress = dns || c->egress.action == ACTION_PROXY;
	const struct judgement *judgement = egress ? &c->egress : &c->ingress;
	struct ipcache_value *peer = ipcache_lookup(egress ? &w->destination : &w->source);
	struct proxy_key rules = { .bits = judgement->bits, .policy = judgement->policy, .interval = judgement->interval };
	struct proxy *proxy = proxy_row();
	__u32 *found, port = 0;

	c->refused = egress ? DIRECTION_EGRESS : DIRECTION_INGRESS;
	if (key >> 16 != IPPROTO_TCP || c->source.host || c->destination.host || !peer)
		return DROP_NOT_SUPPORTED_BY_PROXY;
	rules.class_id = peer->peer[(__s32)(w->observation.generation - peer->since) >= 0].class_id;
	found = dns ? 0 : bpf_map_lookup_elem(&proxy_ports, &rules);
	if (proxy)
		port = dns ? proxy->dns_port : found ? *found : 0;
	if (!port)
		return DROP_SOCKET_ASSIGN_FAILED;
	if (!w->observation.judged_again && is_opening(&w->packet) && !somebody_listens(port, w->packet.ipv4)) {
		w->observation.service |= SERVICE_RESET;
		return DROP_SOCKET_LOOKUP_FAILED;
	}
	if (!w->observation.judged_again && port_is_taken(w)) {
		w->observation.service |= SERVICE_RESET;
		return DROP_SOCKET_ASSIGN_FAILED;
	}
	c->proxy_port = port;
	c->refused = DIRECTION_UNKNOWN;
	return DROP_NONE;
}

/* Into the row of a connection that is new. */
static __always_inline void proxy_to_entry(const struct work *w, struct ct_entry *entry)
{
	entry->proxy_port = w->connection.proxy_port;
	if (!(entry->proxy_port | w->observation.proxy))
		return;
	entry->service |= w->observation.proxy | (entry->proxy_port ? CT_PROXIED : 0);
	entry->flags |= CT_SERVICE;
}

/* Where a packet of a row that has to do with Envoy goes: what the opener sends to Envoy, where it is proxied; what is sent to
 * the opener of a second leg always. */
static __always_inline void proxy_of_entry(struct work *w, const struct ct_entry *entry)
{
	w->to.proxy = w->observation.is_reply ? w->ct_key.leg : !!(entry->service & CT_PROXIED);
}

/* Of which leg the packet is (w->ct_key), where that is not plain: Envoy sends and answers on both, and its second leg may have the ports of a
 * first. 0: of none, and nobody waits for it. What the node's stack resets for a socket that is gone bears no mark. Global, so that the
 * verifier walks it once. */
__noinline int choose_leg(__u32 from)
{
	struct work *w = this_work();
	struct ct_entry *first, *second;
	struct observation *o;
	__u32 now = ticks();
	int reset;

	if (!w)
		return 0;
	o = &w->observation;
	reset = w->packet.tcp_flags & TCP_RST;
	first = bpf_map_lookup_elem(&conntrack, &w->ct_key);
	if (first && (ct_is_over(first, &w->packet, from, now) || !is_proxied(first) || from == first->origin))
		first = 0;
	if (first && (o->proxy == PROXY_ANSWER || reset))
		return 1;
	w->ct_key.leg = 1;
	if (o->proxy > PROXY_ANSWER)
		return 1;
	second = bpf_map_lookup_elem(&conntrack, &w->ct_key);
	if (second && !ct_is_over(second, &w->packet, from, now) &&
	    (reset || (from != second->origin && is_proxied(second) == (o->proxy == PROXY_ANSWER))))
		return 1;
	w->ct_key.leg = 0;
	return !first && !o->proxy && !o->leg;
}
