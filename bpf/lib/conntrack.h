/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Connection tracking: one row per connection for both directions. A row holds the generation in which it was judged;
 * when that has moved, the connection's original direction is judged again, so a policy change reaches what is established. */
#pragma once
#include <linux/errno.h>
#include "ct_row.h"
#include "maps.h"
#include "packet.h"
#include "proxy.h"
#include "proxy_share.h"
#include "service_ct.h"
#include "ticks.h"
#include "verdict.h"
#include "work.h"

#define RST_DOUBT TICKS(1)

static __always_inline void connection_from_entry(const struct ct_entry *entry, struct connection *c)
{
	c->egress = entry->egress;
	c->ingress = entry->ingress;
	c->source_identity = entry->source_identity;
	c->destination_identity = entry->destination_identity;
	c->refused = DIRECTION_UNKNOWN;
}

static __always_inline __u8 place_flags(const struct place *place)
{
	return (place->host ? CT_HOST : 0) | (place->remote ? CT_REMOTE : 0);
}

static __always_inline void judgement_to_entry(struct ct_entry *entry, const struct connection *c, __u32 generation, enum drop_reason reason)
{
	__u8 kept = (entry->flags & (CT_FINS | CT_SERVICE)) | (c->egress.action == ACTION_DNS && !c->proxy_port ? CT_DNS : 0);

	entry->egress = c->egress;
	entry->ingress = c->ingress;
	entry->source_identity = c->source_identity;
	entry->destination_identity = c->destination_identity;
	if (entry->origin) {
		entry->ifindex[0] = c->destination.ifindex;
		entry->ifindex[1] = c->source.ifindex;
		entry->flags = kept | place_flags(&c->destination) | place_flags(&c->source) << 1;
	} else {
		entry->ifindex[0] = c->source.ifindex;
		entry->ifindex[1] = c->destination.ifindex;
		entry->flags = kept | place_flags(&c->source) | place_flags(&c->destination) << 1;
	}
	entry->reason = reason;
	entry->generation = generation;
}

/* Where end `end` of a connection is, as long as the generation in which it was judged holds. */
static __always_inline void place_in_entry(const struct ct_entry *entry, __u8 end, struct place *place)
{
	place->ifindex = end ? entry->ifindex[1] : entry->ifindex[0];
	place->host = entry->flags >> (end & 1) & CT_HOST;
	place->remote = entry->flags >> (end & 1) & CT_REMOTE;
	place->proxy = 0;
}

/* Nobody's rows go for those of another: what is beyond the quota, or finds the table full, is not opened. `held`: whose row of
 * the same tuple is over; -1: there is none. */
static __noinline enum drop_reason ct_insert(struct work *w, __s32 held)
{
	__u32 owner = w->ct_entry.owner, before = held;
	struct usage *used;
	long failed;

	/* Its place is paid for. The sweeper may have been faster. */
	if (before == owner && !bpf_map_update_elem(&conntrack, &w->ct_key, &w->ct_entry, BPF_EXIST))
		return DROP_NONE;
	if (held >= 0 && !bpf_map_delete_elem(&conntrack, &w->ct_key)) {
		used = bpf_map_lookup_elem(&usage, &before);
		if (used)
			__sync_fetch_and_add(&used->connections, -1);
	}
	used = bpf_map_lookup_elem(&usage, &owner);
	if (!used)
		return DROP_CT_MAP_INSERTION_FAILED;
	if ((__s32)used->connections < (__s32)used->quota) {
		__sync_fetch_and_add(&used->connections, 1);
		failed = bpf_map_update_elem(&conntrack, &w->ct_key, &w->ct_entry, BPF_NOEXIST);
		if (!failed)
			return DROP_NONE;
		__sync_fetch_and_add(&used->connections, -1);
		if (failed == -EEXIST)	/* another CPU has opened it meanwhile */
			return DROP_NONE;
	}
	__sync_fetch_and_add(&used->refused, 1);
	count(COUNTER_CT_REFUSED);
	return DROP_CT_MAP_INSERTION_FAILED;
}

/* From w->source to w->destination, into w->connection. What goes from a workload to itself is no policy's business.
 * `service`: enum ct_service of the connection. Global, so that the verifier walks it once. */
__noinline int judge_ends(__u32 key, __u32 service)
{
	struct work *w = this_work();
	enum drop_reason reason;

	if (!w)
		return DROP_INVALID_PACKET;
	if (service & CT_HAIRPIN)
		w->source = w->destination;
	reason = judge_connection(w->observation.generation, &w->source, &w->destination, key, &w->connection);
	if (reason == DROP_EP_NOT_READY)
		return reason;
	if (service & (CT_HAIRPIN | CT_EGRESS_DONE | CT_BOTH_DONE)) {
		__builtin_memset(&w->connection.egress, 0, sizeof(w->connection.egress));
		if (!(service & CT_EGRESS_DONE))
			__builtin_memset(&w->connection.ingress, 0, sizeof(w->connection.ingress));
		reason = denial(&w->connection.ingress);
	}
	if (reason || (w->connection.egress.action != ACTION_PROXY && w->connection.ingress.action != ACTION_PROXY && !is_dns_by_tcp(&w->connection.egress, key)))
		return reason;
	return proxy_port_of(w, key);
}

/* First packet of a connection: judged, and remembered when it may pass. */
static __noinline enum drop_reason ct_open(struct work *w, __s32 held, __u8 from)
{
	struct observation *o = &w->observation;
	struct ct_entry *entry = &w->ct_entry;

	w->source = w->packet.saddr;
	w->destination = w->packet.daddr;
	o->reason = judge_ends(policy_key(&w->packet), o->proxy | (o->service & SERVICE_HAIRPIN ? CT_HAIRPIN : 0));
	o->event = FLOW_DROP;
	if (o->reason) {
		if (o->reason != DROP_EP_NOT_READY)
			o->direction = denied_at(&w->connection);
		return o->reason;
	}
	entry->seen = ticks();
	entry->recorded = entry->seen;
	entry->packets = 1;
	entry->bytes = o->length;
	entry->counted_packets = 1;
	entry->counted_bytes = o->length;
	entry->policy_key = policy_key(&w->packet);
	entry->owner = w->connection.owner;
	entry->origin = from;
	entry->state = w->packet.tcp_flags & TCP_RST ? CT_CLOSING : CT_NEW;
	entry->flags = w->packet.protocol == IPPROTO_UDP ? CT_FIN : w->packet.tcp_flags & TCP_FIN ? CT_FIN << from : 0;
	service_to_entry(w, entry);
	proxy_to_entry(w, entry);
	judgement_to_entry(entry, &w->connection, o->generation, DROP_NONE);
	if (o->service & SERVICE_TO_BACKEND)
		o->reason = translation_keep(w);
	if (!o->reason && is_envoys(entry) && proxy_opens(entry->owner))
		o->reason = DROP_RATE_LIMITED;
	if (!o->reason)
		o->reason = ct_insert(w, held);
	if (o->reason) {
		if (o->service & SERVICE_TO_BACKEND)
			bpf_map_delete_elem(&translations, &w->translation_key);
		return o->reason;
	}
	w->to = w->connection.destination;
	w->to.proxy = !!entry->proxy_port;
	if (w->to.proxy)
		count(COUNTER_PROXY_CONNECTIONS);
	if (entry->state == CT_NEW)
		proxy_holds(entry, 1);
	w->from_identity = w->connection.source_identity;
	o->dns = entry->flags & CT_DNS;
	o->packets = 1;
	o->bytes = o->length;
	o->fresh_packets = 1;
	o->fresh_bytes = o->length;
	o->event = FLOW_NEW;
	return DROP_NONE;
}

/* The row's verdict, taken again when the generation has moved since. w->connection is only filled when it was, or denied. */
static __noinline enum drop_reason ct_judge_again(struct work *w, struct ct_entry *entry)
{
	struct observation *o = &w->observation;
	__u8 origin = entry->origin & 1;
	enum drop_reason was = entry->reason;

	if (entry->generation == o->generation) {
		connection_from_entry(entry, &w->connection);
		return o->reason = entry->reason;
	}
	w->source = w->ct_key.addr[origin];
	w->destination = w->ct_key.addr[!origin];
	o->judged_again = 1;
	o->reason = judge_ends(entry->policy_key, entry->service);
	/* Neither end would know what the other means. */
	if (!o->reason && w->connection.proxy_port != entry->proxy_port)
		o->reason = DROP_UNKNOWN_CT_STATE;
	judgement_to_entry(entry, &w->connection, o->generation, o->reason);
	if (o->reason != was)
		o->event = FLOW_CHANGE;
	return o->reason;
}

static __always_inline enum drop_reason ct_verdict(struct work *w, struct ct_entry *entry)
{
	return entry->generation == w->observation.generation && !entry->reason ? DROP_NONE : ct_judge_again(w, entry);
}

/* Neither sequence numbers nor windows are followed: an RST or FIN counts when its tuple is the connection's. One that the receiver did not
 * believe does no harm: who goes on talking a second after it is established again. */
static __always_inline __u8 ct_next_state(struct ct_entry *entry, const struct packet *p, __u8 from, int is_reply, __u32 now)
{
	__u8 was = entry->state;

	if (p->protocol != IPPROTO_TCP)
		return was == CT_NEW && is_reply ? CT_ESTABLISHED : was;
	if (p->tcp_flags & TCP_RST)
		return CT_CLOSING;
	if (p->tcp_flags & TCP_FIN)
		entry->flags |= CT_FIN << (from & 1);
	if ((entry->flags & CT_FINS) == CT_FINS)
		return CT_CLOSING;
	if (was == CT_CLOSING && (__s32)(now - entry->recorded) <= (__s32)RST_DOUBT)
		return CT_CLOSING;
	if (entry->flags & CT_FINS)
		return CT_HALF_CLOSED;
	return was == CT_NEW && (!is_reply || !(p->tcp_flags & TCP_ACK)) ? CT_NEW : CT_ESTABLISHED;
}

/* Follows the states and says which record is due for a packet that passes. */
static __always_inline void ct_pass(struct work *w, struct ct_entry *entry, __u8 from, __u32 now)
{
	struct observation *o = &w->observation;
	__u32 length = o->length;
	__u8 was = entry->state, is = ct_next_state(entry, &w->packet, from, o->is_reply, now);

	__sync_fetch_and_add(&entry->packets, 1);
	__sync_fetch_and_add(&entry->bytes, length);
	if (is != was) {
		entry->state = is;
		if (was == CT_CLOSING || is == CT_CLOSING)
			proxy_holds(entry, is == CT_CLOSING ? -1 : 1);
	}
	if (w->packet.protocol == IPPROTO_UDP)
		ct_count_waiting(entry, o->is_reply);
	if (is >= CT_CLOSING && was < CT_CLOSING)
		o->event = FLOW_CLOSE;
	else if (is == CT_CLOSING && was != CT_CLOSING)
		entry->recorded = now;	/* as the time of the RST */
	else if (!o->event && (__s32)(now - entry->recorded) > (__s32)RECORD_INTERVAL)
		o->event = FLOW_ACTIVE;
	if (!o->event)
		return;
	connection_from_entry(entry, &w->connection);
	entry->recorded = now;
	o->packets = entry->packets;
	o->bytes = entry->bytes;
	o->fresh_packets = o->packets - entry->counted_packets;
	o->fresh_bytes = o->bytes - entry->counted_bytes;
	entry->counted_packets = o->packets;
	entry->counted_bytes = o->bytes;
}

/* Both ends of a connection that has another way now are told, its opener first. */
static __noinline void lose_way(struct work *w, struct ct_entry *entry, __u8 from)
{
	struct observation *o = &w->observation;

	if (o->is_reply && entry->state != CT_CLOSING) {
		place_in_entry(entry, !from, &w->to);
		service_of_entry(w, entry);
		proxy_of_entry(w, entry);
		o->service |= SERVICE_RESET_ON;
	} else {
		o->service |= SERVICE_RESET;
	}
	proxy_lets_go(entry);
	entry->state = CT_CLOSING;
}

/* Finds or opens the connection of the packet; DROP_NONE: it may pass, to w->to. Services are asked for where none is known, so that others
 * pay nothing for them. */
static __noinline enum drop_reason conntrack_judge(struct __sk_buff *skb, struct work *w)
{
	__u8 from = ct_key_of(&w->packet, &w->ct_key);
	struct ct_entry *entry = bpf_map_lookup_elem(&conntrack, &w->ct_key);
	__u32 now = ticks();
	int asked, gone = !entry || ct_is_over(entry, &w->packet, from, now);

	if (w->observation.proxy | w->observation.leg || ((gone || entry->reason || (is_proxied(entry) && from != entry->origin)) && proxy_row())) {
		if (!choose_leg(from)) {
			w->observation.service |= SERVICE_REFUSED;
			return w->observation.reason = DROP_UNKNOWN_CT_STATE;
		}
		entry = bpf_map_lookup_elem(&conntrack, &w->ct_key);
		gone = !entry || ct_is_over(entry, &w->packet, from, now);
	}
	if (w->observation.service & SERVICE_ASK && gone) {
		asked = to_backend(skb, SCOPE_CLUSTER);
		if (asked < 0) {
			w->observation.service |= SERVICE_REFUSED;
			return w->observation.reason = -asked;
		}
		if (asked) {
			from = ct_key_of(&w->packet, &w->ct_key);
			entry = bpf_map_lookup_elem(&conntrack, &w->ct_key);
			gone = !entry || ct_is_over(entry, &w->packet, from, now);
		}
	}
	if (!entry || gone) {
		if (entry && entry->flags & CT_SERVICE) {
			translation_forget(&w->ct_key, entry);
			proxy_lets_go(entry);
		}
		return ct_open(w, entry ? (__s32)entry->owner : -1, from);
	}
	w->observation.is_reply = from != entry->origin;
	entry->seen = now;
	if (!ct_verdict(w, entry)) {
		if (is_envoys(entry) && is_beyond_share(skb, entry, w->observation.is_reply)) {
			connection_from_entry(entry, &w->connection);
			w->observation.event = FLOW_DROP;
			return w->observation.reason = DROP_RATE_LIMITED;
		}
		place_in_entry(entry, !from, &w->to);
		w->observation.dns = entry->flags & CT_DNS;
		w->from_identity = w->observation.is_reply ? entry->destination_identity : entry->source_identity;
		ct_pass(w, entry, from, now);
		if (entry->flags & CT_SERVICE) {
			service_of_entry(w, entry);
			proxy_of_entry(w, entry);
		}
		return DROP_NONE;
	}
	w->observation.event = FLOW_DROP;
	if (w->observation.reason == DROP_UNKNOWN_CT_STATE)
		lose_way(w, entry, from);
	w->observation.direction = denied_at(&w->connection);
	return w->observation.reason;
}
